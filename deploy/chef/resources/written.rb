# frozen_string_literal: true

# The configurations that duoctl has made, by its own record, and what it keeps beside each. They stay
# where duoctl says that something reads them, or where there is no duoctl to ask: Duo's C program lets
# everybody in without its configuration. The record goes in any case, so that no purge of the packages
# takes a file that stays. It fails where login_duo or the module is in use.

provides :login_duo_written
unified_mode true

property :record, String, name_property: true, description: 'The record of duoctl.'
property :duoctl, String, default: '/usr/sbin/duoctl', description: 'The program.'

action :delete do
  converge_by('take away the configurations that duoctl has made') { take_away } if ::File.exist?(new_resource.record)
end

action_class do
  def take_away
    files = recorded
    why = who_reads_them
    if why.nil?
      files.each { |file| ::File.delete(file) }
    elsif !files.empty?
      Chef::Log.warn("#{files.join(', ')} stay: #{why}. Remove them by hand, once nothing reads them.")
    end
    ::File.delete(new_resource.record)
  end

  # The files that are there of what the record names, with what duoctl keeps beside each.
  def recorded
    names = ::File.readlines(new_resource.record, chomp: true).select { |name| name.start_with?('/') }
    files = names.product(['', '.before', '.undone']).map(&:join).uniq
    files.select { |file| ::File.exist?(file) || ::File.symlink?(file) }
  end

  # Why they must stay; nil, where duoctl says that nobody reads them.
  def who_reads_them
    duoctl = LoginDuo::Duoctl.new(new_resource.duoctl, [])
    return "#{new_resource.duoctl}, which knows who reads them, is not installed" unless duoctl.installed?

    %w(program module).each do |what|
      why = duoctl.who_uses(what)
      raise LoginDuo::Duoctl::Refused, "still in use, and nothing was removed: #{why}" if why
    end
    duoctl.who_uses('configuration')
  end
end
