# shellcheck shell=bash disable=SC2154,SC2119,SC2120
# What the proofs of .ci/system stand on: a machine of .ci/machine/machine.sh with three
# accounts (deny is one whom Duo refuses), a local apt tree and the fake Duo service, and a table with a row for each proof.
#
#   scene_make NAME SUITE FAKE-DUO [PACKAGE...]
#   scene_boot               the machine, and both services
#   scene_packages FOLDER    puts its debs into the apt tree
#   proof NAME FUNCTION      a row: the function succeeds, in a subshell, and all within it
#   m COMMAND...             in the machine, as root
#   login USER [COMMAND...]  by ssh, with a key
#   as_root COMMAND...       by ssh as alice, who becomes root by sudo and her password
#   pushes SERVICE           how many logins have asked it
#
# The service "soon" says yes at once, and "phone" when it is told to (approve NUMBER).

scene_make() {
    machine=$1
    local suite=$2 fake_duo=$3
    shift 3
    tree=$(machine_tree "$machine")
    machine_make "$machine" "$suite" unattended-upgrades "$@"
    mkdir -p "$tree/srv/soon" "$tree/srv/phone" "$tree/srv/apt"
    install -m 755 "$fake_duo" "$tree/srv/fake-duo"
    ssh-keygen -q -t ed25519 -N '' -f "$tree/srv/key"
    printf 'deb [trusted=yes] file:/srv/apt ./\n' >"$tree/etc/apt/sources.list"
    # shellcheck disable=SC2016 # it is that shell's
    machine_chroot "$tree" sh -euc '
        groupadd duo-users
        for user in alice bob deny; do
            useradd --create-home --shell /bin/bash $user
            printf "%s:first factor\n" $user | chpasswd
            install -d -m 700 -o $user -g $user /home/$user/.ssh
            install -m 600 -o $user -g $user /srv/key.pub /home/$user/.ssh/authorized_keys
        done
        adduser --quiet alice sudo
        adduser --quiet alice duo-users
        adduser --quiet deny duo-users' >/dev/null
    install -d -m 700 "$tree/root/.ssh"
    install -m 600 "$tree/srv/key.pub" "$tree/root/.ssh/authorized_keys"
    scene_packages
}

scene_boot() {
    machine_boot "$machine"
    scene_service soon --push-delay 0
    scene_service phone --phone
    phone=$(sed -n 's/^phone //p' "$tree/srv/phone.log")
}

scene_service() {
    local name=$1
    shift
    m systemd-run --quiet --unit="duo-$name" --property="StandardOutput=file:/srv/$name.log" \
        /srv/fake-duo serve --dir "/srv/$name" "$@"
    wait_for grep -q ^ready "$tree/srv/$name.log"
}

scene_packages() {
    local folder
    rm -f "$tree"/srv/apt/*
    for folder in "$@"; do find "$folder" -name '*.deb' -exec cp -t "$tree/srv/apt" {} +; done
    (
        cd "$tree/srv/apt"
        dpkg-scanpackages --multiversion . >Packages 2>/dev/null
        apt-ftparchive -o APT::FTPArchive::Release::Origin=login_duo release . >Release.new
        mv Release.new Release
    )
}

# In the trace of a proof, one line for each command is enough.
m() {
    { local -; set +x; } 2>/dev/null
    machine_run "$machine" "$@"
}

login() {
    local user=$1
    shift
    m ssh -i /srv/key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/srv/known \
        -o LogLevel=ERROR "$user@127.0.0.1" "$@"
}

sshd_starts() { m journalctl --quiet -o cat -u ssh.service | grep -c '^Server listening on 0' || :; }

as_root() { login alice "printf 'first factor\n' | sudo -k -S -p '' $(printf '%q ' "$@")"; }

pushes() { grep -c '^POST /auth/v2/auth ' "$tree/srv/$1.log" || :; }

# What Duo's C programs speak.
pushes_v1() { grep -c '^POST /rest/v1/auth.bson ' "$tree/srv/$1.log" || :; }

# A command that must fail; what it said is printed.
refused() {
    if "$@" 2>&1; then
        echo "not refused: $*"
        return 1
    fi
}

approve() {
    local place=${phone#http://} body="number=$1&answer=approve"
    # shellcheck disable=SC2016 # it is that shell's
    m bash -euc '
        exec 3<>"/dev/tcp/${1%:*}/${1#*:}"
        printf "POST %s HTTP/1.1\r\nHost: %s\r\nOrigin: http://%s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" \
            "$2" "$1" "$1" "${#3}" "$3" >&3
        read -r answer <&3
        echo "$answer"' approve "${place%%/*}" "/${place#*/}answer" "$body"
}

# Puts the configuration of a service in place, with further lines.
configure() {
    local service=$1 file=$2
    shift 2
    { cat "$tree/srv/$service/login_duo.conf" && printf '%s\n' "$@"; } | m duoctl configure -c "$file" -
}

# Every file below the folders that are named: type, mode, owner, link, contents. What is
# the machine's own business is left out: its packages' records, caches, logs and clocks.
snapshot() {
    (
        cd "$tree"
        find "$@" -xdev \( -path ./srv -o -path ./mnt -o -path ./var/lib/dpkg -o -path ./var/lib/apt -o -path ./var/cache \
            -o -path ./var/log -o -path ./var/lib/systemd -o -path ./var/tmp -o -path ./etc/apt \) -prune \
            -o -printf '%p\t%y\t%m\t%U:%G\t%l\n' \
            \( -type f -exec sha256sum {} + -o -true \)
    ) | sort
}


proof() {
    local name=$1 function=$2 code started=$SECONDS
    set +e
    (
        set -ex
        "$function"
    ) >"$logs/$function" 2>&1 </dev/null
    code=$?
    set -e
    if ((code == 0)); then
        printf '%s\tok\n' "$name" >>"$logs/rows"
    else
        printf '%s\tFAIL\n' "$name" >>"$logs/rows"
        printf '== %s: %s (%s)\n' "$machine" "$name" "$function"
        tail -n 25 "$logs/$function"
    fi >&2
    printf '%s: %s: %d s\n' "$machine" "$name" $((SECONDS - started))
}
