# frozen_string_literal: true

# Has sshd run login_duo (login), or services of PAM ask Duo (pam). duoctl judges everything first,
# and takes all of it back if anything is not as it should be.

provides :login_duo_service
unified_mode true

property :usage, String, name_property: true, equal_to: %w(login pam all),
         description: 'The style; all is whatever is enabled, and can only be disabled.'
property :ssh_group, String, description: 'Ask the members of this group only.'
property :ssh_users, Array, default: [], description: 'Ask these accounts only.'
property :ssh_exempt, Array, default: [], description: 'Leave these accounts out.'
property :pam_services, Array, default: [], description: 'The services of PAM: sshd, sudo, su, login.'
property :pam_with, String, equal_to: %w(keys passwords), description: 'What sshd asks for before Duo.'
property :confirm, String, regex: /\A[0-9]+[smh]\z/,
         description: 'Take everything back after this time, unless somebody confirms from a login of their own.'
property :test_user, String, description: 'First ask Duo for this account; it may ring a phone.'
property :accept, Array, default: [],
         description: 'Findings of duoctl that shall not keep it from going on, by their ids.'
property :duoctl, String, default: '/usr/sbin/duoctl', description: 'The program.'

action :enable do
  raise ArgumentError, "'all' can only be disabled: enable 'login' or 'pam'" if new_resource.usage == 'all'

  command = new_resource.usage == 'login' ? ssh_arguments : pam_arguments
  command += ['--confirm', new_resource.confirm] if new_resource.confirm
  command += ['--test-user', new_resource.test_user] if new_resource.test_user
  change("enable #{new_resource.usage}", command) if duoctl.installed?
  converge_by("enable #{new_resource.usage}") { duoctl.run(command) } unless duoctl.installed?
rescue LoginDuo::Duoctl::Refused => e
  raise unless whyrun_mode?

  # It may be about what this run would have mended before, such as the configuration.
  converge_by("enable #{new_resource.usage}; as it is now, duoctl would refuse: #{e.message}") { raise }
end

action :disable do
  services = new_resource.pam_services
  what = { 'login' => %w(ssh), 'pam' => ['pam'] + (services.empty? ? %w(all) : services), 'all' => %w(all) }
  change("disable #{new_resource.usage}", ['disable', '--yes'] + what.fetch(new_resource.usage)) if duoctl.installed?
end

action_class do
  def duoctl
    LoginDuo::Duoctl.new(new_resource.duoctl, new_resource.accept)
  end

  def change(text, command)
    converge_by(text) { duoctl.run(command) } if duoctl.would(command)['would_change']
  end

  def ssh_arguments
    command = %w(enable ssh --yes)
    command += ['--group', new_resource.ssh_group] if new_resource.ssh_group
    command += ['--user-list', new_resource.ssh_users.join(',')] unless new_resource.ssh_users.empty?
    command + new_resource.ssh_exempt.flat_map { |user| ['--exempt', user] }
  end

  def pam_arguments
    command = %w(enable pam --yes) + new_resource.pam_services
    command += ['--with', new_resource.pam_with] if new_resource.pam_with
    command
  end
end
