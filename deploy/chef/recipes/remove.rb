# frozen_string_literal: true

wanted = node['login_duo']

# Before the packages: duoctl says whether anything still reads the configurations, and without its
# record no purge takes a file.
login_duo_written '/var/lib/login_duo/written' do
  duoctl wanted['duoctl']
  action :delete
end

if wanted['install'] == 'binary'
  execute 'uninstall login_duo' do
    command [wanted['install_script'], '--uninstall']
    only_if { ::File.exist?('/usr/sbin/login_duo') }
  end
else
  # The policy comes with the others, where dnf takes what they recommend.
  policy = platform_family?('debian') ? [] : %w(login-duo-selinux)
  package policy + wanted['packages'].to_a do
    action platform_family?('debian') ? :purge : :remove
  end
end
