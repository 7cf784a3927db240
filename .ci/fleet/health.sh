# shellcheck shell=bash disable=SC2016,SC2034,SC2154 # run and ways.sh set and use what is here; inner shells expand
# The two scripts of docs/monitoring.md, *Metrics and checks*, as the packages have them, on a
# machine, over what duoctl really finds. For run.
way=health name=health tool=none
none_prepare() { :; }
: >"$work/seen"
prepare health bookworm
machine_run health sh -c 'apt-get install -y -qq login-duo-common login-duo-rs libpam-duo-rs >/dev/null 2>&1'
scripts=/usr/share/login_duo/monitoring

health_configure() {
    machine_run health duoctl configure - >/dev/null <<TEXT
ikey = DIFAKEFAKEFAKEFAKE01
skey = $right
host = localhost:4443
failmode = secure
cafile = /etc/ssl/duo-test.pem
TEXT
}
health_line() { grep -Eq "^LOGIN_DUO $1 - [^|]+( \\| fail=[0-9]+ warn=[0-9]+)?\$" <<<"$2"; }

health_is() {
    local text=$1 word=$2 status=$3 level=$4 got=0 line
    shift 4
    problems=()
    line=$(machine_run health "$scripts/check_login_duo" "$@") || got=$?
    expect status "$got" "$status"
    must "$line" health_line "$word" "$line"
    machine_run health "$scripts/login_duo-textfile" /run/login_duo.prom || problems+=(login_duo-textfile)
    must "the metric $level" machine_run health grep -qx "$level" /run/login_duo.prom
    must "the mode of the file" machine_run health test "$(machine_run health stat -c %a /run/login_duo.prom)" = 644
    must "no leftovers" machine_run health sh -c '[ "$(ls /run/login_duo.prom* | wc -l)" = 1 ]'
    row health "$text" - - - "$(outcome)"
}

health_is "not configured" CRITICAL 2 'login_duo_check_level{id="installation.configuration_file"} 2'
health_configure
machine_run health duoctl enable ssh --yes --accept no-way-in >/dev/null
# Root has no way in without Duo here.
health_is "a warning" WARNING 1 'login_duo_check_level{id="sshd.root_way_in"} 1'
health_is "that is accepted" OK 0 'login_duo_check_level{id="network.keys"} 0' sshd.root_way_in
machine_run health sh -c 'echo "AllowTcpForwarding yes" >/etc/ssh/sshd_config.d/00-a.conf'
health_is "forwarding is open" CRITICAL 2 'login_duo_check_level{id="sshd.tcp_forwarding"} 2'
health_is "both are accepted" OK 0 'login_duo_check_level{id="sshd.tcp_forwarding"} 2' sshd.tcp_forwarding sshd.root_way_in
machine_run health rm /etc/ssh/sshd_config.d/00-a.conf
machine_run health mv /usr/sbin/duoctl /usr/sbin/duoctl.away
health_is "no duoctl" UNKNOWN 3 'login_duo_check_ran 0'
machine_run health mv /usr/sbin/duoctl.away /usr/sbin/duoctl
machine_remove health
