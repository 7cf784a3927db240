# frozen_string_literal: true

require 'spec_helper'

describe 'login_duo' do
  let(:facts) { { 'os' => { 'family' => family } } }
  let(:family) { 'Debian' }
  let(:keys) { { 'ikey' => 'DI', 'skey' => sensitive('a secret'), 'host' => 'api-1.duosecurity.com' } }
  let(:params) { keys }

  it { is_expected.to compile.with_all_deps }

  context 'without more than the keys' do
    it { is_expected.to contain_package('login-duo-rs').with_ensure('present') }
    it { is_expected.to contain_package('libpam-duo-rs') }
    it { is_expected.to contain_login_duo_config('/etc/duo/login_duo.conf').with_skey(sensitive('a secret')) }
    it { is_expected.to contain_login_duo_service('login').with_ensure('enabled') }

    it 'enables the new style before it disables the other one' do
      is_expected.to contain_login_duo_service('pam')
        .with_ensure('disabled').that_requires('Login_duo_service[login]')
    end

    it 'configures before it enables' do
      is_expected.to contain_class('login_duo::config').that_comes_before('Class[login_duo::service]')
    end
  end

  context 'with a plain secret, as a manifest for the module of Duo has it' do
    let(:params) do
      { 'usage' => 'login', 'ikey' => 'DI', 'skey' => 'plain', 'host' => 'h', 'group' => 'duo', 'pushinfo' => 'yes' }
    end

    it { is_expected.to compile }
    it { is_expected.to contain_login_duo_config('/etc/duo/login_duo.conf').with_group('duo').with_pushinfo('yes') }
  end

  context 'with the usage pam' do
    let(:params) { keys.merge('usage' => 'pam', 'failmode' => 'secure') }

    it { is_expected.to contain_login_duo_config('/etc/duo/pam_duo.conf').with_failmode('secure') }
    it { is_expected.to contain_login_duo_service('pam').with_pam_services(%w[sudo su]) }
    it { is_expected.to contain_login_duo_service('login').with_ensure('disabled') }

    it 'disables the services that are not wanted' do
      is_expected.to contain_login_duo_service('unwanted services').with_pam_services(%w[sshd login])
    end
  end

  context 'without manage_ssh' do
    let(:params) { keys.merge('manage_ssh' => false) }

    it { is_expected.to contain_class('login_duo::config') }
    it { is_expected.not_to contain_class('login_duo::service') }
  end

  context 'when it is disabled' do
    let(:params) { { 'ensure' => 'disabled' } }

    it 'does nothing else, so that it works without Duo' do
      is_expected.to contain_login_duo_service('all').with_ensure('disabled')
      is_expected.not_to contain_class('login_duo::config')
      is_expected.not_to contain_class('login_duo::install')
    end
  end

  context 'when it is absent' do
    let(:params) { { 'package_ensure' => 'absent' } }

    let(:record) { '/var/lib/login_duo/written' }

    it 'asks who reads the configurations while duoctl is still there' do
      is_expected.to contain_login_duo_written(record).that_requires('Login_duo_service[all]')
      is_expected.to contain_package('login-duo-rs')
        .with_ensure('purged').that_requires("Login_duo_written[#{record}]")
    end

    it 'removes no file by itself' do
      is_expected.to have_file_resource_count(0)
    end
  end

  context 'when it is absent on the family RedHat' do
    let(:family) { 'RedHat' }
    let(:params) { { 'ensure' => 'absent' } }

    it { is_expected.to contain_package('login-duo-selinux').with_ensure('purged') }
  end

  context 'when it is absent, and install.sh has installed it' do
    let(:params) { { 'ensure' => 'absent', 'install' => 'binary', 'install_script' => '/srv/install.sh' } }

    it 'leaves the configurations to what knows who reads them' do
      is_expected.to contain_exec('uninstall login_duo').with_command('/srv/install.sh --uninstall')
    end
  end

  context 'when programs are given' do
    let(:given) { { 'install' => 'binary', 'binary' => '/srv/login_duo', 'install_script' => '/srv/install.sh' } }
    let(:params) { keys.merge(given) }
    let(:all_are_the_same) { %r{\Ash -c 'cmp -s [^&]+ && cmp -s [^&]+ && cmp -s [^&]+'\z} }

    it 'installs where one of them is another' do
      is_expected.to contain_exec('install login_duo').with_unless(all_are_the_same)
    end
  end

  context 'on the family RedHat' do
    let(:family) { 'RedHat' }

    it { is_expected.to contain_package('pam-duo-rs') }
  end

  context 'with a misspelt failmode' do
    let(:params) { keys.merge('failmode' => 'Secure') }

    it { is_expected.to compile.and_raise_error(%r{failmode}) }
  end

  context 'with a value that would become another line' do
    let(:params) { keys.merge('groups' => "duo\nfailmode = safe") }

    it { is_expected.to compile.and_raise_error(%r{would not fit on a line of its own}) }
  end
end
