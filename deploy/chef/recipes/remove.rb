# frozen_string_literal: true

wanted = node['login_duo']

if wanted['install'] == 'binary'
  execute 'uninstall login_duo' do
    command [wanted['install_script'], '--uninstall', '--purge']
    only_if { ::File.exist?('/usr/sbin/login_duo') }
  end
else
  package wanted['packages'].to_a do
    action platform_family?('debian') ? :purge : :remove
  end
end

# The configuration goes with its secret key, and no copy of it is kept.
%w(login_duo.conf pam_duo.conf).product(['', '.before', '.undone']).each do |file, ending|
  file "/etc/duo/#{file}#{ending}" do
    action :delete
    backup false
    sensitive true
  end
end
