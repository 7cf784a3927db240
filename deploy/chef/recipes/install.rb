# frozen_string_literal: true

wanted = node['login_duo']

case wanted['install']
when 'repository'
  package wanted['packages'].to_a do
    action wanted['package_ensure'] == 'latest' ? :upgrade : :install
  end
when 'files'
  wanted['package_files'].each do |name, path|
    if platform_family?('debian')
      dpkg_package(name) { source path }
    else
      rpm_package(name) { source path }
    end
  end
when 'binary'
  folder = ::File.dirname(wanted['binary'])
  places = {
    'login_duo' => '/usr/sbin/login_duo',
    'duoctl' => '/usr/sbin/duoctl',
    'pam-duo-helper' => '/usr/libexec/login_duo/pam-duo-helper',
  }
  execute 'install login_duo' do
    command [wanted['install_script'], '--binary', wanted['binary']]
    not_if { places.all? { |name, place| ::File.exist?(place) && ::FileUtils.identical?(::File.join(folder, name), place) } }
  end
end
