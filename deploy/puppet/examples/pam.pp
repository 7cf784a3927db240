# sudo and su, by the PAM module.
class { 'login_duo':
  usage        => 'pam',
  ikey         => 'DIXXXXXXXXXXXXXXXXXX',
  skey         => Sensitive('the secret key, from Hiera'),
  host         => 'api-1a2b3c4d.duosecurity.com',
  failmode     => 'secure',
  pam_services => ['sudo', 'su'],
  test_user    => 'duo-probe',
}
