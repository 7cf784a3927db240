# @summary Install, configure and enable login_duo or pam_duo.so
#
# Everything is done by duoctl; no file of sshd or PAM is touched by this module. The parameters have the names of
# the configuration file (login_duo.conf(5)), and those of Duo's own module where it had the same thing.
#
# @example ssh, for the members of a group
#   class { 'login_duo':
#     ikey      => 'DIXXXXXXXXXXXXXXXXXX',
#     skey      => Sensitive('...'),
#     host      => 'api-1a2b3c4d.duosecurity.com',
#     ssh_group => 'duo-users',
#   }
#
# @param ikey
#   The integration key, from the Duo Admin Panel.
# @param skey
#   The secret key. It goes to duoctl by standard input alone.
# @param host
#   The API host name, such as api-1a2b3c4d.duosecurity.com.
# @param failmode
#   Whether a login is allowed while Duo cannot be reached.
# @param groups
#   Who is asked. Pattern-lists of group names, as in the file; blanks separate them.
# @param group
#   The same key by its other name; both add up. It is not ssh_group.
# @param pushinfo
#   Show the command in the push.
# @param autopush
#   The first attempt takes the default factor, without a menu.
# @param accessible
#   Plain lines alone, for screen readers.
# @param verified_push
#   Tell Duo that the code of a Verified Push can be shown here.
# @param prompts
#   Attempts, 1 to 10.
# @param motd
#   Print /etc/motd after success.
# @param accept_env_factor
#   Take the first answer from DUO_PASSCODE, if the client sends it.
# @param fallback_local_ip
#   Where the address of the client is unknown, tell Duo the one of this host.
# @param https_timeout
#   Seconds to wait for one answer of Duo; 0 for no limit.
# @param http_proxy
#   The way to Duo. It may hold a password, and goes the way of the secret key.
# @param cafile
#   Trust the certificates of this PEM file instead of the built-in roots.
# @param noverify
#   Do not check the certificate of Duo. For tests only.
# @param min_tls
#   The oldest version of TLS that is spoken; 1.0 and 1.1 mean 1.2.
# @param prompt_for_commands
#   Show the menu also on a terminal that came with a command.
# @param signature
#   The hash in the signature of a request.
# @param sandbox
#   Shut in the process that talks to Duo.
# @param remember
#   What one yes of a person counts for: this login, or all sessions of this connection.
# @param remember_max
#   How long one yes counts at most, from 1m to 24h.
# @param syslog_facility
#   Where syslog and the journal sort the lines of a login.
# @param send_gecos
#   The Duo user name is the whole GECOS field.
# @param gecos_delim
#   What stands between the parts of the GECOS field.
# @param gecos_username_pos
#   The Duo user name is this part of the GECOS field, from 1.
# @param gecos_parsed
#   Deprecated. It does nothing.
# @param dev_fips_mode
#   Deprecated. It does nothing.
# @param usage
#   Who asks: login is login_duo behind sshd, pam is pam_duo.so.
# @param ensure
#   What shall be: present is installed and configured, and changes nothing that is enabled; disabled takes away what
#   was enabled, and does nothing else; absent removes the packages too, and the configurations that duoctl has
#   made, unless something else reads them. Without it, enabled or present, as manage_ssh and manage_pam say.
# @param manage_ssh
#   With the usage login, whether sshd is made to run login_duo.
# @param manage_pam
#   With the usage pam, whether the services of PAM are made to ask.
# @param ssh_group
#   With the usage login, ask the members of this group only.
# @param ssh_users
#   With the usage login, ask these accounts only.
# @param ssh_exempt
#   With the usage login, leave these accounts out.
# @param pam_services
#   With the usage pam, the services that ask; any other one of these four is disabled.
# @param pam_with
#   With sshd among the services, what sshd asks for before Duo.
# @param confirm
#   Take everything back after this time, unless somebody logs in and says duoctl confirm. See docs/fleet.md first.
# @param test_user
#   First ask Duo for this account; it may ring a phone, and Duo must say yes.
# @param accept
#   Findings of duoctl that shall not keep it from going on, by their ids.
# @param install
#   Where the programs come from: packages from the repositories that the host has; package_files; binary with
#   install_script; or an image that has them already.
# @param packages
#   Other names of the packages, such as those of docs/fips.md.
# @param package_ensure
#   present, latest or a version; absent is the same as ensure => absent.
# @param package_files
#   With install => files, a package file on the host for each package.
# @param binary
#   With install => binary, the built login_duo on the host. What is beside it is installed too.
# @param install_script
#   With install => binary, the install.sh of the same release on the host.
# @param duoctl
#   The program.
class login_duo (
  Enum['login', 'pam']                                         $usage               = 'login',
  Optional[String[1]]                                          $ikey                = undef,
  Optional[Login_duo::Secret]                                  $skey                = undef,
  Optional[String[1]]                                          $host                = undef,
  Optional[Enum['safe', 'secure', 'codes']]                    $failmode            = undef,
  Optional[String[1]]                                          $groups              = undef,
  Optional[String[1]]                                          $group               = undef,
  Optional[Login_duo::Switch]                                  $pushinfo            = undef,
  Optional[Login_duo::Switch]                                  $autopush            = undef,
  Optional[Login_duo::Switch]                                  $accessible          = undef,
  Optional[Login_duo::Switch]                                  $verified_push       = undef,
  Optional[Variant[Integer[1, 10], Pattern[/\A([1-9]|10)\z/]]] $prompts             = undef,
  Optional[Login_duo::Switch]                                  $motd                = undef,
  Optional[Login_duo::Switch]                                  $accept_env_factor   = undef,
  Optional[Login_duo::Switch]                                  $fallback_local_ip   = undef,
  Optional[Integer]                                            $https_timeout       = undef,
  Optional[Login_duo::Secret]                                  $http_proxy          = undef,
  Optional[Pattern[/\A\//]]                                    $cafile              = undef,
  Optional[Login_duo::Switch]                                  $noverify            = undef,
  Optional[Enum['1.0', '1.1', '1.2', '1.3']]                   $min_tls             = undef,
  Optional[Login_duo::Switch]                                  $prompt_for_commands = undef,
  Optional[Enum['sha512', 'sha1']]                             $signature           = undef,
  Optional[Login_duo::Switch]                                  $sandbox             = undef,
  Optional[Enum['no', 'connection']]                           $remember            = undef,
  Optional[String[1]]                                          $remember_max        = undef,
  Optional[Login_duo::Facility]                                $syslog_facility     = undef,
  Optional[Login_duo::Switch]                                  $send_gecos          = undef,
  Optional[Pattern[/\A[[:punct:]]\z/]]                         $gecos_delim         = undef,
  Optional[Integer[1]]                                         $gecos_username_pos  = undef,
  Optional[Login_duo::Switch]                                  $gecos_parsed        = undef,
  Optional[Login_duo::Switch]                                  $dev_fips_mode       = undef,
  Optional[Enum['present', 'enabled', 'disabled', 'absent']]   $ensure              = undef,
  Boolean                                                      $manage_ssh          = true,
  Boolean                                                      $manage_pam          = true,
  Optional[String[1]]                                          $ssh_group           = undef,
  Array[String[1]]                                             $ssh_users           = [],
  Array[String[1]]                                             $ssh_exempt          = [],
  Array[Enum['sshd', 'sudo', 'su', 'login'], 1]                $pam_services        = ['sudo', 'su'],
  Optional[Enum['keys', 'passwords']]                          $pam_with            = undef,
  Optional[Pattern[/\A[0-9]+[smh]\z/]]                         $confirm             = undef,
  Optional[String[1]]                                          $test_user           = undef,
  Array[String[1]]                                             $accept              = [],
  Enum['repository', 'files', 'binary', 'nothing']             $install             = 'repository',
  Optional[Array[String[1]]]                                   $packages            = undef,
  String[1]                                                    $package_ensure      = 'present',
  Hash[String[1], String[1]]                                   $package_files       = {},
  Optional[String[1]]                                          $binary              = undef,
  Optional[String[1]]                                          $install_script      = undef,
  String[1]                                                    $duoctl              = '/usr/sbin/duoctl',
) {
  if $ssh_group and !$ssh_users.empty {
    fail('login_duo: ssh_group and ssh_users exclude each other')
  }
  $is_managed = $usage ? {
    'login' => $manage_ssh,
    default => $manage_pam,
  }
  $default_state = $is_managed ? {
    true    => 'enabled',
    default => 'present',
  }
  $asked = $ensure ? {
    undef   => $default_state,
    default => $ensure,
  }
  $state = $package_ensure ? {
    'absent' => 'absent',
    default  => $asked,
  }
  case $state {
    'absent': {
      contain login_duo::remove
    }
    'disabled': {
      class { 'login_duo::disabled':
        duoctl => $duoctl,
      }
      contain login_duo::disabled
    }
    default: {
      contain login_duo::install
      contain login_duo::config
      Class['login_duo::install'] -> Class['login_duo::config']
      if $state == 'enabled' {
        contain login_duo::service
        Class['login_duo::config'] -> Class['login_duo::service']
      }
    }
  }
}
