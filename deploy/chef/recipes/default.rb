# frozen_string_literal: true

wanted = node['login_duo']
secret = node.run_state.dig('login_duo', 'skey') || wanted['skey']
state = wanted['state']
unless %w(present enabled disabled absent).include?(state)
  raise ArgumentError, "node['login_duo']['state'] is none of present, enabled, disabled, absent"
end

if %w(present enabled).include?(state)
  include_recipe 'login_duo::install'

  login_duo_config "/etc/duo/#{wanted['usage']}_duo.conf" do
    LoginDuo::KEYS.each do |key|
      value = key == :skey ? secret : wanted[key.to_s]
      public_send(key, value) unless value.nil?
    end
    accept wanted['accept'].to_a
    duoctl wanted['duoctl']
  end
end

if state == 'enabled'
  login_duo_service wanted['usage'] do
    ssh_group wanted['ssh_group'] if wanted['ssh_group']
    ssh_users wanted['ssh_users'].to_a
    ssh_exempt wanted['ssh_exempt'].to_a
    pam_services wanted['pam_services'].to_a
    pam_with wanted['pam_with'] if wanted['pam_with']
    confirm wanted['confirm'] if wanted['confirm']
    test_user wanted['test_user'] if wanted['test_user']
    accept wanted['accept'].to_a
    duoctl wanted['duoctl']
    action :enable
  end

  # The new style is enabled before the old one is disabled.
  login_duo_service 'the other usage' do
    usage wanted['usage'] == 'login' ? 'pam' : 'login'
    duoctl wanted['duoctl']
    action :disable
  end

  unwanted = %w(sshd sudo su login) - wanted['pam_services'].to_a
  login_duo_service 'unwanted services' do
    usage 'pam'
    pam_services unwanted
    duoctl wanted['duoctl']
    action :disable
    not_if { wanted['usage'] == 'login' || unwanted.empty? }
  end
end

if %w(disabled absent).include?(state)
  login_duo_service 'all' do
    duoctl wanted['duoctl']
    action :disable
  end
end

include_recipe 'login_duo::remove' if state == 'absent'
