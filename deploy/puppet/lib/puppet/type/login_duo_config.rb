# frozen_string_literal: true

require_relative '../../puppet_x/login_duo/duoctl'

Puppet::Type.newtype(:login_duo_config) do
  @doc = <<~DOC
    A configuration of login_duo or pam_duo. The whole file is handed to duoctl by standard input;
    duoctl asks Duo whether it takes the keys, and only then the file takes the place of the old one.

        login_duo_config { '/etc/duo/login_duo.conf':
          ikey => 'DIXXXXXXXXXXXXXXXXXX',
          skey => Sensitive('...'),
          host => 'api-1a2b3c4d.duosecurity.com',
        }
  DOC

  # The keys of the file, in the order in which they stand there: the same settings are the same bytes.
  const_set(:KEYS, {
    ikey: 'The integration key, from the Duo Admin Panel.',
    skey: 'The secret key. It goes to duoctl by standard input alone.',
    host: 'The API host name, such as api-1a2b3c4d.duosecurity.com.',
    failmode: 'Whether a login is allowed while Duo cannot be reached.',
    groups: 'Who is asked. Pattern-lists of group names, as in the file; blanks separate them.',
    group: 'The same key by its other name; both add up.',
    pushinfo: 'Show the command in the push.',
    autopush: 'The first attempt takes the default factor, without a menu.',
    accessible: 'Plain lines alone, for screen readers.',
    verified_push: 'Tell Duo that the code of a Verified Push can be shown here.',
    prompts: 'Attempts, 1 to 10.',
    motd: 'Print /etc/motd after success.',
    accept_env_factor: 'Take the first answer from DUO_PASSCODE, if the client sends it.',
    fallback_local_ip: 'Where the address of the client is unknown, tell Duo the one of this host.',
    https_timeout: 'Seconds to wait for one answer of Duo; 0 for no limit.',
    http_proxy: 'The way to Duo. It may hold a password, and goes the way of the secret key.',
    cafile: 'Trust the certificates of this PEM file instead of the built-in roots.',
    noverify: 'Do not check the certificate of Duo. For tests only.',
    min_tls: 'The oldest version of TLS that is spoken; 1.0 and 1.1 mean 1.2.',
    prompt_for_commands: 'Show the menu also on a terminal that came with a command.',
    signature: 'The hash in the signature of a request.',
    sandbox: 'Shut in the process that talks to Duo.',
    remember: 'What one yes of a person counts for: this login, or all sessions of this connection.',
    remember_max: 'How long one yes counts at most, from 1m to 24h.',
    syslog_facility: 'Where syslog and the journal sort the lines of a login.',
    send_gecos: 'The Duo user name is the whole GECOS field.',
    gecos_delim: 'What stands between the parts of the GECOS field.',
    gecos_username_pos: 'The Duo user name is this part of the GECOS field, from 1.',
    gecos_parsed: 'Deprecated. It does nothing.',
    dev_fips_mode: 'Deprecated. It does nothing.'
  }.freeze)

  # These values are in no message, and Puppet keeps no parameter.
  const_set(:SECRETS, [:skey, :http_proxy].freeze)

  newproperty(:ensure) do
    desc 'Whether the file says this.'
    newvalue(:present)
    defaultto :present

    def retrieve
      return :absent unless resource.duoctl.installed?

      answer = resource.duoctl.would(resource.arguments, resource.text)
      @keys = answer['keys']
      answer['would_change'] ? :different : :present
    rescue PuppetX::LoginDuo::Duoctl::Refused => e
      raise Puppet::Error, e.message
    end

    def set(_value)
      resource.duoctl.run(resource.arguments, resource.text)
    rescue PuppetX::LoginDuo::Duoctl::Refused => e
      raise Puppet::Error, e.message
    end

    # Keys by their names alone: a value may be the secret key.
    def is_to_s(value) # rubocop:disable Naming/PredicateName
      names = Array(@keys)
      names.empty? ? value : "#{value} (#{names.join(', ')})"
    end

    def change_to_s(_current, _wanted)
      names = Array(@keys)
      names.empty? ? 'replaced' : "replaced, with other values of #{names.join(', ')}"
    end
  end

  newparam(:path, namevar: true) do
    desc 'The file.'
    validate do |value|
      raise ArgumentError, "'#{value}' is not an absolute path" unless Puppet::Util.absolute_path?(value)
    end
  end

  const_get(:KEYS).each do |key, text|
    newparam(key) do
      desc text

      # A value cannot become another line, or a comment.
      validate do |value|
        written = value.to_s
        begins_a_comment = written.start_with?(';') && key != :gecos_delim
        if begins_a_comment || written.match?(%r{[\n\r\0]|[ \t];})
          raise ArgumentError, "the value of '#{key}' would not fit on a line of its own"
        end
      end

      munge do |value|
        case value
        when true then 'yes'
        when false then 'no'
        else value.to_s
        end
      end
    end
  end

  newparam(:accept) do
    desc 'Findings of duoctl that shall not keep it from going on, by their ids.'
  end

  newparam(:duoctl) do
    desc 'The program.'
    defaultto '/usr/sbin/duoctl'
  end

  # Puppet redacts properties; a parameter is neither logged nor reported.
  def set_sensitive_parameters(names) # rubocop:disable Naming/AccessorMethodName
    super(names - self.class.const_get(:SECRETS))
  end

  def duoctl
    PuppetX::LoginDuo::Duoctl.new(self[:duoctl], self[:accept])
  end

  def arguments
    ['configure', '-c', self[:path], '-']
  end

  # The file.
  def text
    lines = self.class.const_get(:KEYS).keys.filter_map { |key| "#{key} = #{self[key]}" unless self[key].nil? }
    "; Written by Puppet, and replaced by its next run.\n[duo]\n#{lines.join("\n")}\n"
  end
end
