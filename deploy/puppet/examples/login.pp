# ssh, for the members of a group.
class { 'login_duo':
  usage     => 'login',
  ikey      => 'DIXXXXXXXXXXXXXXXXXX',
  skey      => Sensitive('the secret key, from Hiera'),
  host      => 'api-1a2b3c4d.duosecurity.com',
  ssh_group => 'duo-users',
  test_user => 'duo-probe',
}
