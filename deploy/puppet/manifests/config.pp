# @summary The configuration, as duoctl and Duo take it
#
# @api private
class login_duo::config {
  $keys = {
    'ikey'                => $login_duo::ikey,
    'skey'                => $login_duo::skey,
    'host'                => $login_duo::host,
    'failmode'            => $login_duo::failmode,
    'groups'              => $login_duo::groups,
    'group'               => $login_duo::group,
    'pushinfo'            => $login_duo::pushinfo,
    'autopush'            => $login_duo::autopush,
    'accessible'          => $login_duo::accessible,
    'verified_push'       => $login_duo::verified_push,
    'prompts'             => $login_duo::prompts,
    'motd'                => $login_duo::motd,
    'accept_env_factor'   => $login_duo::accept_env_factor,
    'fallback_local_ip'   => $login_duo::fallback_local_ip,
    'https_timeout'       => $login_duo::https_timeout,
    'http_proxy'          => $login_duo::http_proxy,
    'cafile'              => $login_duo::cafile,
    'noverify'            => $login_duo::noverify,
    'min_tls'             => $login_duo::min_tls,
    'prompt_for_commands' => $login_duo::prompt_for_commands,
    'signature'           => $login_duo::signature,
    'sandbox'             => $login_duo::sandbox,
    'remember'            => $login_duo::remember,
    'remember_max'        => $login_duo::remember_max,
    'syslog_facility'     => $login_duo::syslog_facility,
    'send_gecos'          => $login_duo::send_gecos,
    'gecos_delim'         => $login_duo::gecos_delim,
    'gecos_username_pos'  => $login_duo::gecos_username_pos,
    'gecos_parsed'        => $login_duo::gecos_parsed,
    'dev_fips_mode'       => $login_duo::dev_fips_mode,
  }
  login_duo_config { "/etc/duo/${login_duo::usage}_duo.conf":
    ensure => present,
    accept => $login_duo::accept,
    duoctl => $login_duo::duoctl,
    *      => $keys.filter |$key, $value| { $value =~ NotUndef },
  }
}
