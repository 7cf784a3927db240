# @summary Nothing of it is left
#
# @api private
class login_duo::remove {
  $pam_package = $facts['os']['family'] ? {
    'Debian' => 'libpam-duo-rs',
    default  => 'pam-duo-rs',
  }
  $packages = $login_duo::packages ? {
    undef   => [$pam_package, 'login-duo-rs', 'login-duo-common'],
    default => $login_duo::packages,
  }

  login_duo_service { 'all':
    ensure => disabled,
    duoctl => $login_duo::duoctl,
  }

  if $login_duo::install == 'binary' {
    exec { 'uninstall login_duo':
      command => "${login_duo::install_script} --uninstall --purge",
      onlyif  => 'test -e /usr/sbin/login_duo',
      path    => ['/usr/sbin', '/usr/bin', '/sbin', '/bin'],
      require => Login_duo_service['all'],
    }
    -> Login_duo::Forgotten['/etc/duo']
  } else {
    package { $packages:
      ensure  => purged,
      require => Login_duo_service['all'],
    }
    -> Login_duo::Forgotten['/etc/duo']
  }

  # The configuration goes with its secret key.
  login_duo::forgotten { '/etc/duo': }
}
