# frozen_string_literal: true

# Every key of the configuration file (login_duo.conf(5)) by its name; one that is nil is not in the file.
# Keep skey out of attributes, which the server stores in the clear: node.run_state['login_duo']['skey'],
# from an encrypted data bag or a vault, wins over it.
default['login_duo']['ikey'] = nil
default['login_duo']['skey'] = nil
default['login_duo']['host'] = nil
default['login_duo']['failmode'] = nil
default['login_duo']['groups'] = nil
default['login_duo']['group'] = nil
default['login_duo']['pushinfo'] = nil
default['login_duo']['autopush'] = nil
default['login_duo']['accessible'] = nil
default['login_duo']['verified_push'] = nil
default['login_duo']['prompts'] = nil
default['login_duo']['motd'] = nil
default['login_duo']['accept_env_factor'] = nil
default['login_duo']['fallback_local_ip'] = nil
default['login_duo']['https_timeout'] = nil
default['login_duo']['http_proxy'] = nil
default['login_duo']['cafile'] = nil
default['login_duo']['noverify'] = nil
default['login_duo']['min_tls'] = nil
default['login_duo']['prompt_for_commands'] = nil
default['login_duo']['signature'] = nil
default['login_duo']['sandbox'] = nil
default['login_duo']['remember'] = nil
default['login_duo']['remember_max'] = nil
default['login_duo']['syslog_facility'] = nil
default['login_duo']['send_gecos'] = nil
default['login_duo']['gecos_delim'] = nil
default['login_duo']['gecos_username_pos'] = nil
default['login_duo']['gecos_parsed'] = nil
default['login_duo']['dev_fips_mode'] = nil

# present, enabled, disabled, absent
default['login_duo']['state'] = 'present'
# login: login_duo behind sshd; pam: pam_duo.so
default['login_duo']['usage'] = 'login'

default['login_duo']['ssh_group'] = nil
default['login_duo']['ssh_users'] = []
default['login_duo']['ssh_exempt'] = []
default['login_duo']['pam_services'] = %w(sudo su)
default['login_duo']['pam_with'] = nil
default['login_duo']['confirm'] = nil
default['login_duo']['test_user'] = nil
default['login_duo']['accept'] = []

# repository, files, binary, nothing
default['login_duo']['install'] = 'repository'
# present, latest
default['login_duo']['package_ensure'] = 'present'
# Other names, such as those of docs/fips.md.
default['login_duo']['packages'] = ['login-duo-common', 'login-duo-rs', platform_family?('debian') ? 'libpam-duo-rs' : 'pam-duo-rs']
default['login_duo']['package_files'] = {}
default['login_duo']['binary'] = nil
default['login_duo']['install_script'] = nil
default['login_duo']['duoctl'] = '/usr/sbin/duoctl'
