# frozen_string_literal: true

# The whole file is handed to duoctl by standard input; duoctl asks Duo whether it takes the keys,
# and only then the file takes the place of the old one.

provides :login_duo_config
unified_mode true

property :path, String, name_property: true, description: 'The file.'
property :ikey, String,
         description: 'The integration key, from the Duo Admin Panel.'
property :skey, String, sensitive: true,
         description: 'The secret key. It goes to duoctl by standard input alone.'
property :host, String,
         description: 'The API host name, such as api-1a2b3c4d.duosecurity.com.'
property :failmode, String, equal_to: ['safe', 'secure', 'codes'],
         description: 'Whether a login is allowed while Duo cannot be reached.'
property :groups, String,
         description: 'Who is asked. Pattern-lists of group names, as in the file; blanks separate them.'
property :group, String,
         description: 'The same key by its other name; both add up.'
property :pushinfo, [TrueClass, FalseClass, String], equal_to: [true, false, 'yes', 'no'],
         description: 'Show the command in the push.'
property :autopush, [TrueClass, FalseClass, String], equal_to: [true, false, 'yes', 'no'],
         description: 'The first attempt takes the default factor, without a menu.'
property :accessible, [TrueClass, FalseClass, String], equal_to: [true, false, 'yes', 'no'],
         description: 'Plain lines alone, for screen readers.'
property :verified_push, [TrueClass, FalseClass, String], equal_to: [true, false, 'yes', 'no'],
         description: 'Tell Duo that the code of a Verified Push can be shown here.'
property :prompts, Integer, callbacks: { 'is 1 to 10' => ->(value) { (1..10).cover?(value) } },
         description: 'Attempts, 1 to 10.'
property :motd, [TrueClass, FalseClass, String], equal_to: [true, false, 'yes', 'no'],
         description: 'Print /etc/motd after success.'
property :accept_env_factor, [TrueClass, FalseClass, String], equal_to: [true, false, 'yes', 'no'],
         description: 'Take the first answer from DUO_PASSCODE, if the client sends it.'
property :fallback_local_ip, [TrueClass, FalseClass, String], equal_to: [true, false, 'yes', 'no'],
         description: 'Where the address of the client is unknown, tell Duo the one of this host.'
property :https_timeout, Integer,
         description: 'Seconds to wait for one answer of Duo; 0 for no limit.'
property :http_proxy, String, sensitive: true,
         description: 'The way to Duo. It may hold a password, and goes the way of the secret key.'
property :cafile, String, regex: %r{\A/},
         description: 'Trust the certificates of this PEM file instead of the built-in roots.'
property :noverify, [TrueClass, FalseClass, String], equal_to: [true, false, 'yes', 'no'],
         description: 'Do not check the certificate of Duo. For tests only.'
property :min_tls, String, equal_to: ['1.0', '1.1', '1.2', '1.3'],
         description: 'The oldest version of TLS that is spoken; 1.0 and 1.1 mean 1.2.'
property :prompt_for_commands, [TrueClass, FalseClass, String], equal_to: [true, false, 'yes', 'no'],
         description: 'Show the menu also on a terminal that came with a command.'
property :signature, String, equal_to: ['sha512', 'sha1'],
         description: 'The hash in the signature of a request.'
property :sandbox, [TrueClass, FalseClass, String], equal_to: [true, false, 'yes', 'no'],
         description: 'Shut in the process that talks to Duo.'
property :remember, String, equal_to: ['no', 'connection'],
         description: 'What one yes of a person counts for: this login, or all sessions of this connection.'
property :remember_max, String,
         description: 'How long one yes counts at most, from 1m to 24h.'
property :syslog_facility, String,
         equal_to: ['authpriv', 'auth', 'user', 'local0', 'local1', 'local2', 'local3', 'local4', 'local5', 'local6', 'local7'],
         description: 'Where syslog and the journal sort the lines of a login.'
property :send_gecos, [TrueClass, FalseClass, String], equal_to: [true, false, 'yes', 'no'],
         description: 'The Duo user name is the whole GECOS field.'
property :gecos_delim, String,
         description: 'What stands between the parts of the GECOS field.'
property :gecos_username_pos, Integer,
         description: 'The Duo user name is this part of the GECOS field, from 1.'
property :gecos_parsed, [TrueClass, FalseClass, String], equal_to: [true, false, 'yes', 'no'],
         description: 'Deprecated. It does nothing.'
property :dev_fips_mode, [TrueClass, FalseClass, String], equal_to: [true, false, 'yes', 'no'],
         description: 'Deprecated. It does nothing.'
property :accept, Array, default: [],
         description: 'Findings of duoctl that shall not keep it from going on, by their ids.'
property :duoctl, String, default: '/usr/sbin/duoctl', description: 'The program.'

action :create do
  duoctl = LoginDuo::Duoctl.new(new_resource.duoctl, new_resource.accept)
  arguments = ['configure', '-c', new_resource.path, '-']
  if duoctl.installed?
    answer = duoctl.would(arguments, file)
    names = answer['keys'].to_a.join(', ')
    converge_by("replace #{new_resource.path}, with other values of: #{names}") { duoctl.run(arguments, file) } if answer['would_change']
  else
    converge_by("have duoctl put #{new_resource.path} in place") { duoctl.run(arguments, file) }
  end
end

action_class do
  # The file.
  def file
    given = LoginDuo::KEYS.reject { |key| new_resource.public_send(key).nil? }
    lines = given.map { |key| line(key, new_resource.public_send(key)) }
    "; Written by Chef, and replaced by its next run.\n[duo]\n#{lines.join}"
  end

  # One line of it. A value cannot become another line, or a comment.
  def line(key, value)
    written = { true => 'yes', false => 'no' }.fetch(value, value).to_s
    begins_a_comment = written.start_with?(';') && key != :gecos_delim
    raise ArgumentError, "the value of '#{key}' would not fit on a line of its own" if begins_a_comment || written.match?(/[\n\r\0]|[ \t];/)

    "#{key} = #{written}\n"
  end
end
