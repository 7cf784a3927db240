# @summary Nothing of it is left
#
# @api private
class login_duo::remove {
  $pam_package = $facts['os']['family'] ? {
    'Debian' => 'libpam-duo-rs',
    default  => 'pam-duo-rs',
  }
  # The policy comes with the others, where dnf takes what they recommend.
  $policy = $facts['os']['family'] ? {
    'Debian' => [],
    default  => ['login-duo-selinux'],
  }
  $packages = $login_duo::packages ? {
    undef   => $policy + [$pam_package, 'login-duo-rs', 'login-duo-common'],
    default => $login_duo::packages,
  }

  login_duo_service { 'all':
    ensure => disabled,
    duoctl => $login_duo::duoctl,
  }

  # Before the packages: duoctl says whether anything still reads the configurations, and without its record no purge
  # takes a file.
  login_duo_written { '/var/lib/login_duo/written':
    ensure  => absent,
    duoctl  => $login_duo::duoctl,
    require => Login_duo_service['all'],
  }

  if $login_duo::install == 'binary' {
    exec { 'uninstall login_duo':
      command => "${login_duo::install_script} --uninstall",
      onlyif  => 'test -e /usr/sbin/login_duo',
      path    => ['/usr/sbin', '/usr/bin', '/sbin', '/bin'],
      require => Login_duo_written['/var/lib/login_duo/written'],
    }
  } else {
    package { $packages:
      ensure  => purged,
      require => Login_duo_written['/var/lib/login_duo/written'],
    }
  }
}
