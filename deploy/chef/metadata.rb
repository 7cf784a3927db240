# frozen_string_literal: true

name 'login_duo'
maintainer 'The login_duo contributors'
maintainer_email 'see SECURITY.md'
license 'MIT'
description 'Duo two-factor authentication for ssh, sudo and su with login_duo and pam_duo.so'
version '0.2.0'
chef_version '>= 16.0'

# What it is written for: no client has converged it, on any of these.
%w(debian ubuntu redhat almalinux fedora).each { |platform| supports platform }
