# @summary The way back: whatever was enabled is taken away, and nothing else is done
#
# It works without Duo and without a key of the class login_duo, so that a mistake in one of them does not keep it
# from going on.
#
# @example On all nodes
#   include login_duo::disabled
#
# @param duoctl
#   The program.
class login_duo::disabled (
  String[1] $duoctl = '/usr/sbin/duoctl',
) {
  login_duo_service { 'all':
    ensure => disabled,
    duoctl => $duoctl,
  }
}
