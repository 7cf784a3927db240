# frozen_string_literal: true

require_relative '../../puppet_x/login_duo/duoctl'

Puppet::Type.newtype(:login_duo_service) do
  @doc = <<~DOC
    Has sshd run login_duo, or services of PAM ask Duo. duoctl judges everything first, and takes
    all of it back if anything is not as it should be.

        login_duo_service { 'login':
          ensure    => enabled,
          ssh_group => 'duo-users',
        }
  DOC

  newproperty(:ensure) do
    desc 'Whether it is enabled.'
    newvalue(:enabled)
    newvalue(:disabled)
    defaultto :enabled

    # What duoctl says without doing it.
    def retrieve
      return :disabled unless resource.duoctl.installed?

      would_change? ? other : should
    rescue PuppetX::LoginDuo::Duoctl::Refused => e
      raise Puppet::Error, e.message unless resource.noop?

      # Nothing is done in this run: it may be about what the run would have mended before.
      warning("as it is now, duoctl would refuse: #{e.message}")
      other
    end

    def would_change?
      resource.duoctl.would(resource.arguments(should))['would_change']
    end

    def other
      should == :enabled ? :disabled : :enabled
    end

    def set(value)
      answer = resource.duoctl.run(resource.arguments(value))
      answer['warnings'].each { |line| warning(line) }
      left = answer['taken_back_in_seconds']
      warning("it is taken back in #{left} s, unless: duoctl confirm") if left
    rescue PuppetX::LoginDuo::Duoctl::Refused => e
      raise Puppet::Error, e.message
    end
  end

  newparam(:name, namevar: true) do
    desc 'A name; the usage, where that is not given.'
  end

  newparam(:usage) do
    defaultto { @resource[:name] }
    desc 'The style: login is login_duo behind sshd, pam is pam_duo.so, all is whatever is enabled.'
    newvalues(:login, :pam, :all)
  end

  newparam(:ssh_group) do
    desc 'Ask the members of this group only.'
  end

  newparam(:ssh_users) do
    desc 'Ask these accounts only.'
  end

  newparam(:ssh_exempt) do
    desc 'Leave these accounts out.'
  end

  newparam(:pam_services) do
    desc 'The services of PAM: sshd, sudo, su, login.'
  end

  newparam(:pam_with) do
    desc 'What sshd asks for before Duo.'
    newvalues(:keys, :passwords)
  end

  newparam(:confirm) do
    desc 'Take everything back after this time, such as 1h, unless somebody confirms from a login of their own.'
  end

  newparam(:test_user) do
    desc 'First ask Duo for this account; it may ring a phone, and Duo must say yes.'
  end

  newparam(:accept) do
    desc 'Findings of duoctl that shall not keep it from going on, by their ids.'
  end

  newparam(:duoctl) do
    desc 'The program.'
    defaultto '/usr/sbin/duoctl'
  end

  validate do
    if self[:usage] == :all && self[:ensure] == :enabled
      raise Puppet::Error, "'all' can only be disabled: enable 'login' or 'pam'"
    end
  end

  def duoctl
    PuppetX::LoginDuo::Duoctl.new(self[:duoctl], self[:accept])
  end

  # The command line of duoctl that makes it so.
  def arguments(state)
    return disable_arguments if state == :disabled

    command = self[:usage] == :login ? ssh_arguments : pam_arguments
    command += ['--confirm', self[:confirm]] if self[:confirm]
    command += ['--test-user', self[:test_user]] if self[:test_user]
    command
  end

  def disable_arguments
    services = Array(self[:pam_services])
    what = { login: ['ssh'], pam: ['pam'] + (services.empty? ? ['all'] : services), all: ['all'] }
    ['disable', '--yes'] + what.fetch(self[:usage])
  end

  def ssh_arguments
    command = ['enable', 'ssh', '--yes']
    command += ['--group', self[:ssh_group]] if self[:ssh_group]
    users = Array(self[:ssh_users])
    command += ['--user-list', users.join(',')] unless users.empty?
    command + Array(self[:ssh_exempt]).flat_map { |user| ['--exempt', user] }
  end

  def pam_arguments
    command = ['enable', 'pam', '--yes'] + Array(self[:pam_services])
    command += ['--with', self[:pam_with].to_s] if self[:pam_with]
    command
  end
end
