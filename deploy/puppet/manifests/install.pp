# @summary The programs
#
# @api private
class login_duo::install {
  $pam_package = $facts['os']['family'] ? {
    'Debian' => 'libpam-duo-rs',
    default  => 'pam-duo-rs',
  }
  $packages = $login_duo::packages ? {
    undef   => ['login-duo-common', 'login-duo-rs', $pam_package],
    default => $login_duo::packages,
  }
  case $login_duo::install {
    'repository': {
      package { $packages:
        ensure => $login_duo::package_ensure,
      }
    }
    'files': {
      $provider = $facts['os']['family'] ? {
        'Debian' => 'dpkg',
        default  => 'rpm',
      }
      $login_duo::package_files.each |$name, $file| {
        package { $name:
          ensure   => $login_duo::package_ensure,
          provider => $provider,
          source   => $file,
        }
      }
      # In the order of the hash: the package that the others need stands first.
      $names = $login_duo::package_files.keys
      $names.each |$at, $name| {
        if $at > 0 {
          Package[$names[$at - 1]] -> Package[$name]
        }
      }
    }
    'binary': {
      $folder = regsubst($login_duo::binary, '/[^/]*\z', '')
      $same = [
        "cmp -s ${folder}/login_duo /usr/sbin/login_duo",
        "cmp -s ${folder}/duoctl /usr/sbin/duoctl",
        "cmp -s ${folder}/pam-duo-helper /usr/libexec/login_duo/pam-duo-helper",
      ].join(' && ')
      exec { 'install login_duo':
        command => "${login_duo::install_script} --binary ${login_duo::binary}",
        # An array would be enough with one of them: not one may differ.
        unless  => "sh -c '${same}'",
        path    => ['/usr/sbin', '/usr/bin', '/sbin', '/bin'],
      }
    }
    default: {
    }
  }
}
