# frozen_string_literal: true

require 'json'
require 'open3'

module LoginDuo
  # The keys of the file, in the order in which they stand there: the same settings are the same bytes.
  KEYS = %i(
    ikey
    skey
    host
    failmode
    groups
    group
    pushinfo
    autopush
    accessible
    verified_push
    prompts
    motd
    accept_env_factor
    fallback_local_ip
    https_timeout
    http_proxy
    cafile
    noverify
    min_tls
    prompt_for_commands
    signature
    sandbox
    remember
    remember_max
    syslog_facility
    send_gecos
    gecos_delim
    gecos_username_pos
    gecos_parsed
    dev_fips_mode
  ).freeze

  # One run of duoctl and its answer. What duoctl decides is not decided again here.
  class Duoctl
    # duoctl did not do what was asked for, and says why.
    class Refused < StandardError; end

    def initialize(program, accepted)
      @program = program
      @accepted = accepted.flat_map { |id| ['--accept', id] }
    end

    def installed?
      ::File.executable?(@program)
    end

    # The object that duoctl prints. The text goes to standard input: an argument could be read by
    # every user of the host (ps).
    def run(arguments, text = '')
      command = [@program] + arguments + @accepted + ['--json']
      out, err, status = Open3.capture3({ 'LC_ALL' => 'C.UTF-8' }, *command, stdin_data: text)
      answer = parsed(out) || raise(Refused, "duoctl #{arguments.first}: #{err.strip}")
      raise Refused, reason(answer) unless status.success?

      answer
    end

    # What a run would do.
    def would(arguments, text = '')
      run(arguments + ['--dry-run'], text)
    end

    # Who would be locked out, or let in without Duo, if that were removed; nil for nobody. Only
    # the exit status 0 is a yes of duoctl.
    def who_uses(what)
      said, status = Open3.capture2e({ 'LC_ALL' => 'C.UTF-8' }, @program, 'check', '--unused', what)
      return if status.success?

      said.strip.empty? ? "duoctl check --unused #{what} failed" : said.split("\n").join('; ')
    end

    private

    def parsed(text)
      JSON.parse(text)
    rescue JSON::ParserError
      nil
    end

    def reason(answer)
      back = answer['way_back']
      back ? "#{answer['error']}. The way back: #{back}" : answer['error']
    end
  end
end
