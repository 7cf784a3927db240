# shellcheck shell=bash disable=SC2154 # run and machine.sh set what is used here
# The situations, and what is asserted in each; the tools are in tools.sh. For run.
. .ci/fleet/tools.sh

# What the tools are to bring about.
declare -A want=()

# A machine with accounts, a fake Duo, and whatever the way of installing needs.
prepare() {
    local name=$1 suite=$2 tree
    shift 2
    machine_make "$name" "$suite" python3 python3-apt jq dpkg-dev "$@"
    tree=$(machine_tree "$name")
    install -m 755 "$programs/fake-duo" "$tree/usr/local/bin/fake-duo"
    mkdir -p "$tree/srv/apt" "$tree/srv/release/target"
    cp "$debs"/*.deb "$tree/srv/apt"
    mkdir "$tree/srv/newer"
    cp "$newer"/*.deb "$tree/srv/newer"
    cp -R install.sh login_duo.conf pam_duo.conf man "$tree/srv/release"
    install -D -m 644 docs/check.schema.json "$tree/srv/release/docs/check.schema.json"
    for program in login_duo duoctl pam-duo-helper libpam_duo.so; do
        cp "$programs/$program" "$tree/srv/release/target"
    done
    # shellcheck disable=SC2016 # it is that shell's
    machine_chroot "$tree" sh -c '
        cd /srv/apt && dpkg-scanpackages . >Packages 2>/dev/null
        echo "deb [trusted=yes] file:/srv/apt ./" >/etc/apt/sources.list
        rm -rf /etc/apt/sources.list.d/* /var/lib/apt/lists/*
        apt-get update -qq
        groupadd duo-users
        for user in alice deploy; do useradd --create-home --shell /bin/sh --groups duo-users "$user"; done
        useradd --shell /usr/sbin/nologin --groups duo-users duo-probe
        echo "deploy ALL=(ALL:ALL) NOPASSWD: ALL" >/etc/sudoers.d/deploy' prepare
    for home in root home/alice home/deploy; do
        install -d -m 700 "$tree/$home/.ssh"
        install -m 600 "$work/key.pub" "$tree/$home/.ssh/authorized_keys"
        chown -R --reference="$tree/$home" "$tree/$home/.ssh"
    done
    "${tool}_prepare" "$tree"
    machine_boot "$name"
    machine_link "$name" 10.9.0.2 10.9.0.1
    machine_run "$name" /usr/local/bin/fake-duo serve --dir /run/duo --port 4443 --push-delay 0 \
        --user duo-probe=allow --user alice=push --user deploy=push >"$work/logs/$name.duo" 2>&1 &
    wait_for grep -q ^ready "$work/logs/$name.duo" || { cat "$work/logs/$name.duo" >&2 && return 1; }
    machine_run "$name" cp /run/duo/ca.pem /etc/ssl/duo-test.pem
    machine_run "$name" chmod 644 /etc/ssl/duo-test.pem
}

# Everything that a tool might change, with owners and modes.
state() {
    # shellcheck disable=SC2016 # it is that shell's
    machine_run "$name" sh -c '
        find /etc /usr/sbin /usr/libexec /usr/lib/*/security /var/lib/login_duo -xdev \
            \( -path /etc/puppet -o -path /etc/salt -o -path /etc/systemd/system/timers.target.wants \) -prune \
            -o \( -type f -o -type l \) -print0 2>/dev/null |
            LC_ALL=C sort -z | xargs -0 stat -c "%n %a %u:%g %s %Y"'
}

# One run: changes, nothing, or refused.
converge() {
    local log
    log=$(mktemp "$work/logs/$way.XXXXXX")
    "${tool}_converge" "$1" "$log" || :
}

problems=()
expect() { if [ "$2" != "$3" ]; then problems+=("$1: $2, not $3"); fi; }
must() {
    local what=$1
    shift
    if ! "$@" >/dev/null 2>&1; then problems+=("$what"); fi
}

# A situation: what check mode, the run and a second run shall come to, and what holds then.
situation() {
    local text=$1 in_check=$2 in_run=$3 in_again=$4 before got_check got_run got_again=-
    shift 4
    problems=()
    "${tool}_write"
    before=$(state)
    got_check=$(converge check)
    expect "check mode" "$got_check" "$in_check"
    if [ "$(state)" != "$before" ]; then problems+=("check mode changed something"); fi
    got_run=$(converge real)
    expect run "$got_run" "$in_run"
    if [ "$in_run" = refused ] && [ "$(state)" != "$before" ]; then problems+=("refused, and not as it was"); fi
    if [ "$in_again" != - ]; then
        got_again=$(converge real)
        expect again "$got_again" "$in_again"
    fi
    for condition in "$@"; do must "$condition" "$condition"; done
    row "$way" "$text" "$got_check" "$got_run" "$got_again" "$(outcome)"
}

# A release that is newer: packages, or one program of three, which is to be enough.
newer() {
    case ${want[install]} in
    files) want[release]=newer ;;
    binary) machine_run "$name" sh -c 'echo >>/srv/release/target/duoctl' ;;
    repository) return ;;
    esac
    situation "newer, by ${want[install]}" changes changes nothing has_the_newer_programs ssh_asks nothing_waits
}

outcome() {
    local IFS=';'
    if [ ${#problems[@]} -eq 0 ]; then echo good; else echo "FAIL ${problems[*]}"; fi
}

## What holds

asks() { grep -c "POST /auth/v2/auth .*username=\"$1\"" "$work/logs/$name.duo" || :; }
login() {
    machine_outside "$name" ssh -i "$work/key" -o BatchMode=yes -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null -o ControlPath=none "$1@10.9.0.2" true
}
ssh_asks() {
    local before
    before=$(asks alice)
    login alice && [ "$(asks alice)" -gt "$before" ]
}
ssh_asks_nobody() {
    local before
    before=$(asks alice)
    login alice && [ "$(asks alice)" -eq "$before" ]
}
status() { machine_run "$name" duoctl status --json; }
sudo_and_su_ask() { status | jq -e '.pam_services | contains(["su", "su-l", "sudo", "sudo-i"])'; }
no_service_asks() { status | jq -e '.pam_services == []'; }
nothing_waits() { status | jq -e '.taken_back_in_seconds == null'; }
# What it finds besides is that somebody is left out, or gets to root another way.
nothing_fails() { { machine_run "$name" duoctl check --json || :; } | jq -e ".level != \"fail\""; }
has_one_key_changed() { machine_run "$name" grep -qx 'prompts = 2' /etc/duo/login_duo.conf; }
has_the_right_key() { grep -qF -f "$work/right" "$(machine_tree "$name")/etc/duo/login_duo.conf"; }
no_program_is_left() {
    # shellcheck disable=SC2016 # it is that shell's
    machine_run "$name" sh -c '! ls -d /usr/sbin/duoctl /usr/libexec/login_duo /usr/sbin/login_duo \
        /etc/ssh/sshd_config.d/00-login_duo* 2>/dev/null && ! grep -rl pam_duo /etc/pam.d'
}
configurations() { machine_run "$name" find /etc/duo -name '*.conf*' 2>/dev/null | sort | xargs; }
nothing_is_left() { no_program_is_left && [ -z "$(configurations)" ]; }
# What duoctl has not made, and nothing with a secret of this run beside it.
only_the_own_file_is_left() {
    no_program_is_left && [ "$(configurations)" = /etc/duo/pam_duo.conf ] &&
        machine_run "$name" grep -qx 'ikey = OWN' /etc/duo/pam_duo.conf
}
# Duo's C program lets everybody in without it.
what_is_in_use_is_left() { no_program_is_left && has_the_right_key; }
it_was_said() { grep -rqF ' stay: /etc/ssh/sshd_config:' "$work/logs" --include="$way.*"; }
has_the_newer_programs() {
    case ${want[install]} in
    files) [ "$(machine_run "$name" dpkg --list 'login-duo-*' libpam-duo-rs | grep -c '^ii.*+newer ')" = 3 ] ;;
    binary) machine_run "$name" cmp /srv/release/target/duoctl /usr/sbin/duoctl ;;
    esac
}

## The secret

watch_for_secret() {
    local root=/proc/${machine_init[$name]}/root
    .ci/fleet/watch "$work/secrets" "$work/seen" "$work/looks" "${machine_init[$name]}" $$ \
        "$root/tmp" "$root/var/tmp" "$root/root" "$root/home" "$root/dev/shm" "$work/kept" &
    watcher=$!
    at_exit eval "kill $watcher 2>/dev/null"
}

secret() {
    local tree samples
    problems=()
    tree=$(machine_tree "$name")
    kill "$watcher"
    wait "$watcher" || :
    samples=$(wc -l <"$work/looks")
    sort -u "$work/seen" >"$work/seen.once"
    if [ -s "$work/seen.once" ]; then problems+=("seen: $(head -n 3 "$work/seen.once" | tr '\n' ' ')"); fi
    # What the run was given, and the service, are the only places where it may stand.
    rm "$tree/usr/local/bin/fake-duo"
    machine_run "$name" journalctl --sync
    machine_run "$name" journalctl --output=export >"$work/logs/$way.journal"
    find "$tree" "$work/logs" "$work/kept" -xdev -type f ! -path "$tree/srv/input/*" \
        -exec grep -laF -f "$work/secrets" {} + >"$work/found" 2>/dev/null || :
    if [ -s "$work/found" ]; then problems+=("found: $(head -n 3 "$work/found" | tr '\n' ' ')"); fi
    must "ps was not looked at" test "$samples" -gt 20
    row "$way" "secret, $samples looks" - - - "$(outcome)"
}

## All of them

converge_all() {
    way=$1 name=$1
    local suite=bookworm
    case $way in
    ansible*) tool=ansible ;;
    puppet-8) tool=puppet suite=trixie ;;
    puppet*) tool=puppet ;;
    salt) tool=salt ;;
    *) echo "no way '$way'" >&2 && return 2 ;;
    esac
    mkdir -p "$work/kept"
    : >"$work/seen"
    # shellcheck disable=SC2046 # several words
    prepare "$name" "$suite" $("${tool}_packages")
    watch_for_secret
    case $way in
    ansible) situations binary repository binary ;;
    ansible-pipelining) situations files binary files ;;
    puppet-7) situations repository binary repository ;;
    puppet-8) situations files repository binary ;;
    salt) situations repository files binary ;;
    esac
    secret
    machine_remove "$name"
    rm -rf "$work/kept"
}

# Three lives on one host. Each is installed in a way of its own.
situations() {
    want=([state]=present [usage]=login [skey]=$right [prompts]=3 [failmode]=secure [install]=$1 [release]='')
    situation "fresh, by $1" changes changes nothing ssh_asks_nobody
    want[state]=enabled
    situation "enabled" changes changes nothing ssh_asks nothing_waits nothing_fails
    newer
    want[prompts]=2
    situation "one key changed" changes changes nothing has_one_key_changed ssh_asks
    want[skey]=$wrong
    situation "wrong skey" refused refused - has_the_right_key ssh_asks nothing_fails
    want[skey]=$right want[usage]=pam
    situation "login to pam" changes changes nothing sudo_and_su_ask ssh_asks_nobody nothing_waits
    want[usage]=login
    situation "pam to login" changes changes nothing no_service_asks ssh_asks nothing_waits
    # It must work while Duo is away and the keys are wrong.
    want[state]=disabled want[skey]=$wrong want[failmode]=Misspelt
    situation "disabled, misspelt" changes changes nothing no_service_asks ssh_asks_nobody
    want[state]=absent want[failmode]=secure
    situation "absent" changes changes nothing nothing_is_left ssh_asks_nobody

    machine_run "$name" sh -c 'mkdir -p /etc/duo && umask 077 && echo "ikey = OWN" >/etc/duo/pam_duo.conf'
    want[state]=enabled want[skey]=$right want[install]=$2 want[release]=
    situation "enabled, by $2" changes changes nothing ssh_asks nothing_waits
    newer
    want[state]=absent
    situation "absent, own file" changes changes nothing only_the_own_file_is_left ssh_asks_nobody
    machine_run "$name" rm /etc/duo/pam_duo.conf

    want[state]=present want[install]=$3 want[release]=
    situation "present, by $3" changes changes nothing ssh_asks_nobody
    # Duo's C program, whose path is none of ours.
    machine_run "$name" sh -c 'printf "Match User other\n    ForceCommand /opt/duo/login_duo\n" >>/etc/ssh/sshd_config'
    want[state]=absent
    situation "absent, file in use" changes changes nothing what_is_in_use_is_left it_was_said ssh_asks_nobody
    machine_run "$name" rm -r /etc/duo
}
