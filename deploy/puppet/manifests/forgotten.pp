# @summary The configurations of a folder, and what duoctl keeps of them, are gone
#
# @api private
define login_duo::forgotten {
  $files = ['login_duo.conf', 'pam_duo.conf'].map |$file| {
    ['', '.before', '.undone'].map |$ending| { "${name}/${file}${ending}" }
  }.flatten
  file { $files:
    ensure    => absent,
    backup    => false,
    show_diff => false,
  }
}
