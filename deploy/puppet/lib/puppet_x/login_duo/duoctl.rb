# frozen_string_literal: true

require 'json'
require 'open3'

module PuppetX
  # What belongs to login_duo.
  module LoginDuo
    # One run of duoctl and its answer. What duoctl decides is not decided again here.
    class Duoctl
      # duoctl did not do what was asked for, and says why.
      class Refused < StandardError; end

      def initialize(program, accepted)
        @program = program
        @accepted = Array(accepted).flat_map { |id| ['--accept', id] }
      end

      def installed?
        File.executable?(@program)
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
end
