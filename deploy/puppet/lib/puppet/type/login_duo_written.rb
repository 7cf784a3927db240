# frozen_string_literal: true

require_relative '../../puppet_x/login_duo/duoctl'

Puppet::Type.newtype(:login_duo_written) do
  @doc = <<~DOC
    The configurations that duoctl has made, by its own record, and what it keeps beside each. They
    stay where duoctl says that something reads them, or where there is no duoctl to ask: Duo's C
    program lets everybody in without its configuration. The record goes in any case, so that no
    purge of the packages takes a file that stays. It fails where login_duo or the module is in use.

        login_duo_written { '/var/lib/login_duo/written':
          ensure => absent,
        }
  DOC

  newproperty(:ensure) do
    desc 'They are gone.'
    newvalue(:absent)
    defaultto :absent

    def retrieve
      File.exist?(resource[:record]) ? :present : :absent
    end

    def set(_value)
      resource.take_away
    rescue PuppetX::LoginDuo::Duoctl::Refused => e
      raise Puppet::Error, e.message
    end
  end

  newparam(:record, namevar: true) do
    desc 'The record of duoctl.'
  end

  newparam(:duoctl) do
    desc 'The program.'
    defaultto '/usr/sbin/duoctl'
  end

  def take_away
    files = recorded
    why = who_reads_them
    if why.nil?
      files.each { |file| File.delete(file) }
    elsif !files.empty?
      warning("#{files.join(', ')} stay: #{why}. Remove them by hand, once nothing reads them.")
    end
    File.delete(self[:record])
  end

  # The files that are there of what the record names, with what duoctl keeps beside each.
  def recorded
    names = File.readlines(self[:record], chomp: true).select { |name| name.start_with?('/') }
    files = names.product(['', '.before', '.undone']).map(&:join).uniq
    files.select { |file| File.exist?(file) || File.symlink?(file) }
  end

  # Why they must stay; nil, where duoctl says that nobody reads them.
  def who_reads_them
    duoctl = PuppetX::LoginDuo::Duoctl.new(self[:duoctl], [])
    return "#{self[:duoctl]}, which knows who reads them, is not installed" unless duoctl.installed?

    %w[program module].each do |what|
      why = duoctl.who_uses(what)
      raise PuppetX::LoginDuo::Duoctl::Refused, "still in use, and nothing was removed: #{why}" if why
    end
    duoctl.who_uses('configuration')
  end
end
