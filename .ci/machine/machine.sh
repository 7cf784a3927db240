# shellcheck shell=bash
# A whole Debian, with systemd as process 1, on a host that has root and no more: files of
# its own, and mount, pid, net, uts, ipc and cgroup namespaces. For bash, to be sourced.
#
#   machine_make NAME SUITE [PACKAGE...]   files: a copy of SUITE with PACKAGEs installed
#   machine_tree NAME                      the folder that is its /
#   machine_boot NAME                      systemd, until it has started all that it starts
#   machine_run NAME COMMAND...            in it, as root
#   machine_link NAME ADDRESS OUTSIDE      a cable: ADDRESS/24 there, OUTSIDE/24 at the other end
#   machine_outside NAME COMMAND...        on this host's files, at the other end of that cable
#   machine_end NAME                       as if it lost its power; its files stay, to boot again
#   machine_remove NAME                    its files too
#   machine_chroot TREE COMMAND...         in a folder's files without systemd, on this host's network
#   wait_for COMMAND...                    until it succeeds, for a minute at most
#   at_exit COMMAND...                     at the end of the script, the last one first
#
# Make, boot and link a machine in the script's own shell: what a subshell starts ends with it.
# A machine has no network but its own loopback and its cable, so whatever it installs comes
# with machine_make, or from a folder in its files. Port 22 there is nobody's port here.
#
# Nothing stays, whatever ends the script: each process dies with the one that started it,
# and namespaces, their mounts and the cable end with the last process in them. Files are
# below LOGIN_DUO_MACHINES (target/machines); bases/ is kept for the next run, since
# debootstrap takes a minute. What a killed script left of its files, the next one removes.

machine_folder=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
machines=${LOGIN_DUO_MACHINES:-${machine_folder%/.ci/machine}/target/machines}
machines_here=$machines/run.$$
declare -A machine_unshared=() machine_init=() machine_cable=()
exit_commands=()

at_exit() { exit_commands+=("$(printf '%q ' "$@")"); }

machines_clean() {
    local code=$? name at
    trap '' HUP INT TERM
    set +e
    for ((at = ${#exit_commands[@]} - 1; at >= 0; at--)); do eval "${exit_commands[at]}"; done
    for name in "${!machine_unshared[@]}"; do machine_end "$name"; done
    rm -rf --one-file-system "$machines_here"
    exit "$code"
}
trap machines_clean EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

wait_for() {
    local end=$((SECONDS + 60))
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= end)); then
            echo "it never came: $*" >&2
            return 1
        fi
        sleep 0.1
    done
}

machine_tree() { printf '%s\n' "$machines_here/$1"; }

# apt starts the services that it installs. They must neither listen on this host, hence
# policy-rc.d in the bases, nor outlive the command, hence the pid namespace.
machine_chroot() {
    # shellcheck disable=SC2016 # it is that shell's
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root DEBIAN_FRONTEND=noninteractive \
        setpriv --pdeathsig KILL \
        unshare --mount --propagation=private --pid --ipc --uts --fork --kill-child sh -c '
            tree=$1 && shift
            mount -t proc proc "$tree/proc" && mount -t sysfs -o ro sysfs "$tree/sys"
            mount -t tmpfs tmpfs "$tree/tmp" && mount -t tmpfs -o mode=755 tmpfs "$tree/run"
            exec chroot "$tree" "$@"' chroot "$@"
}

# Debian as it comes, with its updates.
machine_debian() {
    local suite=$1 base=$2 mirror include
    include=systemd,systemd-sysv,libpam-systemd,dbus,procps,openssh-server,openssh-client,sudo,ca-certificates,iproute2
    debootstrap --variant=minbase --include="$include" "$suite" "$base"
    printf '#!/bin/sh\nexit 101\n' >"$base/usr/sbin/policy-rc.d"
    chmod 755 "$base/usr/sbin/policy-rc.d"
    mirror=$(sed -n 's/^deb \([^ ]*\) .*/\1/p;q' "$base/etc/apt/sources.list")
    printf 'deb %s %s main\n' "$mirror" "$suite" "$mirror" "$suite-updates" "${mirror%/}-security" "$suite-security" \
        >"$base/etc/apt/sources.list"
    machine_chroot "$base" apt-get update -qq
    machine_chroot "$base" apt-get upgrade -y -qq
}

# One base from another, with more packages.
machine_debian_with() {
    local from=$1 base=$2
    shift 2
    cp -a --reflink=auto "$from" "$base"
    machine_chroot "$base" apt-get install -y -qq --no-install-recommends "$@"
}

# A base is made once, under another name until it is whole; two scripts may want it at once.
machine_base() {
    local base=$1 lock
    shift
    mkdir -p "$machines/bases"
    exec {lock}>"$base.lock"
    flock "$lock"
    if [ ! -d "$base" ]; then
        rm -rf --one-file-system "$base.new"
        if ! "$@" >"$base.log" 2>&1; then
            tail -n 20 "$base.log" >&2
            return 1
        fi
        mv "$base.new" "$base"
    fi
    exec {lock}>&-
}

# What scripts left that were killed outright.
machines_sweep() {
    local left
    for left in "$machines"/run.*; do
        if [ ! -e "/proc/${left##*.}" ]; then rm -rf --one-file-system "$left"; fi
    done
    machine_drop_groups
}

machine_make() {
    local name=$1 suite=$2 tree base
    shift 2
    tree=$(machine_tree "$name")
    base=$machines/bases/$suite
    machines_sweep
    mkdir -p "$machines_here"
    machine_base "$base" machine_debian "$suite" "$base.new" || return
    if (($# > 0)); then
        local with
        with=$base-with-$(printf '%s\n' "$@" | sha256sum | cut -c 1-12)
        machine_base "$with" machine_debian_with "$base" "$with.new" "$@" || return
        base=$with
    fi
    cp -a --reflink=auto "$base" "$tree"
    rm -f "$tree/usr/sbin/policy-rc.d" "$tree/etc/resolv.conf"
    : >"$tree/etc/machine-id"
    printf '%s\n' "$name" >"$tree/etc/hostname"
    printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name" >"$tree/etc/hosts"
}

# The control group is the machine's own too: two machines would else share one
# /system.slice/ssh.service, and each kill what the other one runs.
machine_boot() {
    local name=$1 tree unshared init
    tree=$(machine_tree "$name")
    mkdir -p "$tree/mnt"
    env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin setpriv --pdeathsig KILL \
        unshare --mount --propagation=private "$machine_folder/init" group "$tree" "login_duo.$$.$name" \
        >"$machines_here/$name.console" 2>&1 </dev/null &
    unshared=$!
    machine_unshared[$name]=$unshared
    wait_for pgrep -P "$unshared" -x systemd || {
        cat "$machines_here/$name.console" >&2
        return 1
    }
    init=$(pgrep -P "$unshared" -x systemd)
    machine_init[$name]=$init
    wait_for machine_has_started "$name"
}

machine_has_started() {
    case $(machine_run "$1" systemctl is-system-running) in
    running | degraded) ;;
    *) return 1 ;;
    esac
}

machine_run() {
    local init=${machine_init[$1]}
    shift
    # shellcheck disable=SC2016 # it is that shell's
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root TERM=dumb \
        nsenter --target "$init" --mount --pid --ipc --uts --net --cgroup -- \
        sh -c 'echo 0 >/sys/fs/cgroup/init.scope/cgroup.procs && exec "$@"' run "$@"
}

machine_link() {
    local name=$1 address=$2 outside=$3 cable init=${machine_init[$1]}
    setpriv --pdeathsig KILL unshare --net sleep infinity &
    cable=$!
    machine_cable[$name]=$cable
    wait_for machine_is_apart "$cable"
    machine_outside "$name" ip link add cable type veth peer name cable netns "$init"
    machine_outside "$name" ip address add "$outside/24" dev cable
    machine_outside "$name" ip link set cable up
    machine_outside "$name" ip link set lo up
    machine_run "$name" ip address add "$address/24" dev cable
    machine_run "$name" ip link set cable up
}

machine_is_apart() { [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }

machine_outside() {
    local cable=${machine_cable[$1]}
    shift
    nsenter --target "$cable" --net -- "$@"
}

machine_end() {
    local name=$1
    local processes=("${machine_unshared[$name]}" ${machine_cable[$name]:+"${machine_cable[$name]}"})
    # unshare ends once its process 1 has, and that is the last one of its namespace.
    kill -KILL "${machine_init[$name]:-${processes[0]}}" "${processes[@]:1}" 2>/dev/null || :
    wait "${processes[@]}" 2>/dev/null || :
    unset "machine_unshared[$name]" "machine_init[$name]" "machine_cable[$name]"
    machine_drop_groups "$$.$name"
}

# A control group that no process is in stays: this machine's, and those of dead scripts.
machine_drop_groups() {
    # shellcheck disable=SC2016 # it is that shell's
    unshare --mount --propagation=private sh -c '
        mount -t cgroup2 cgroup2 "$1" || exit
        for group in "$1"/login_duo.*; do
            name=${group#"$1"/login_duo.}
            if [ "$name" = "$2" ] || { [ -d "$group" ] && [ ! -e "/proc/${name%%.*}" ]; }; then
                find "$group" -depth -type d -exec rmdir {} +
            fi
        done' drop "$machines" "${1-}" 2>/dev/null || :
}

machine_remove() {
    if [ -n "${machine_unshared[$1]-}" ]; then machine_end "$1"; fi
    rm -rf --one-file-system "$(machine_tree "$1")"
}
