# @summary Who asks
#
# The new style is enabled before the old one is disabled.
#
# @api private
class login_duo::service {
  login_duo_service { $login_duo::usage:
    ensure       => enabled,
    ssh_group    => $login_duo::ssh_group,
    ssh_users    => $login_duo::ssh_users,
    ssh_exempt   => $login_duo::ssh_exempt,
    pam_services => $login_duo::pam_services,
    pam_with     => $login_duo::pam_with,
    confirm      => $login_duo::confirm,
    test_user    => $login_duo::test_user,
    accept       => $login_duo::accept,
    duoctl       => $login_duo::duoctl,
  }

  $other = $login_duo::usage ? {
    'login' => 'pam',
    default => 'login',
  }
  login_duo_service { $other:
    ensure  => disabled,
    duoctl  => $login_duo::duoctl,
    require => Login_duo_service[$login_duo::usage],
  }

  $unwanted = ['sshd', 'sudo', 'su', 'login'] - $login_duo::pam_services
  if $login_duo::usage == 'pam' and !$unwanted.empty {
    login_duo_service { 'unwanted services':
      ensure       => disabled,
      usage        => 'pam',
      pam_services => $unwanted,
      duoctl       => $login_duo::duoctl,
      require      => Login_duo_service['pam'],
    }
  }
}
