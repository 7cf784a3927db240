#!/bin/sh
# Builds login_duo and duoctl, copies them to their places, and takes them away
# again. sshd's configuration is duoctl's business: see duoctl(8).
#
# Two rules: a configuration that is there is never touched, and a program that
# an sshd still names is never removed. See --help.
set -eu
umask 022
# So that what is set to happen at the exit happens then too.
trap 'exit 1' HUP INT TERM

PREFIX=${PREFIX:-/usr}
DESTDIR=${DESTDIR:-}
CONFDIR=${CONFDIR:-/etc/duo}
USER_NAME=duo
# By this the account is known as ours when it is to be removed.
USER_COMMENT='login_duo privilege separation'
here=$(cd "$(dirname "$0")" && pwd)
action=install scope=system binary=''
dry='' purge='' removed='' installing=installing

usage() {
    cat <<'TEXT'
usage: install.sh [--binary FILE]                install, as root
       install.sh --user [--binary FILE]         install for yourself, without root
       install.sh [--user] --uninstall [--purge]

  --binary FILE   install this login_duo and the duoctl beside it [built with cargo]
  --user          into ~/.local and ~/.config/duo, not setuid
  --uninstall     remove programs, man pages and the user 'duo'
    --purge         the configuration too
  --dry-run       say what would be done, and do nothing
  -h, --help      print this

sshd is not touched: 'duoctl enable ssh' has sshd run login_duo, and 'duoctl
disable ssh' takes that back. See duoctl(8).

Environment: PREFIX [/usr], DESTDIR [none], CONFDIR [/etc/duo; compiled into the
programs], CARGO [cargo]. With DESTDIR, nothing is changed outside it: no user
is created, nothing is given to one.
TEXT
}

say() { printf '%s\n' "install.sh: $*"; }
warn() { say "warning: $*" >&2; }
die() { say "$*" >&2 && exit 1; }
wrong() { say "$*" >&2 && exit 2; }

# Says what is done and does it, unless it is a dry run.
run() {
    if [ -n "$dry" ]; then say "would run: $*"; else say "$*" && "$@"; fi
}

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
        --binary)
            [ -n "${2:-}" ] || wrong "$1 needs a value; see install.sh --help"
            binary=$2 && shift
            ;;
        --user) scope=user ;;
        --uninstall) action=uninstall ;;
        --purge) purge=yes ;;
        --dry-run) dry=yes installing='would install' ;;
        -h | --help) usage && exit 0 ;;
        *) moved "$@" ;;
        esac
        shift
    done
    [ -z "$purge" ] || [ "$action" = uninstall ] || wrong "--purge goes with --uninstall"
    # Without its folder, PATH would say which program is looked at.
    case $binary in '' | /*) ;; *) binary=./$binary ;; esac
    system_confdir=$CONFDIR
    if [ "$scope" = user ]; then
        system_confdir=/etc/duo
        plain_folder HOME "$HOME"
        PREFIX=$HOME/.local CONFDIR=$HOME/.config/duo
    else
        plain_folder PREFIX "$PREFIX"
        plain_folder CONFDIR "$CONFDIR"
        if [ -z "$DESTDIR" ] && [ -z "$dry" ] && [ "$(id -u)" -ne 0 ]; then
            die "this needs root: run it with sudo, or with --user for an install of your own"
        fi
    fi
    program=$PREFIX/sbin/login_duo duoctl=$PREFIX/sbin/duoctl config=$CONFDIR/login_duo.conf
}

# What earlier versions of this script did to sshd.
moved() {
    case $1 in
    --enable) wrong "that is duoctl's now: duoctl enable ssh; see duoctl enable --help" ;;
    --disable) wrong "that is duoctl's now: duoctl disable ssh" ;;
    --group | --user-list | --test-user | --sshd-config | --yes) wrong "$1 is duoctl's now: see duoctl enable --help" ;;
    *) wrong "unknown option '$1'; see install.sh --help" ;;
    esac
}

# A shell starts what ForceCommand or command="..." names, in the user's home folder: of
# anything else it would find no program, and everybody would be locked out.
plain_folder() {
    case $2 in
    /*[!A-Za-z0-9/._@+-]* | [!/]*) wrong "$1 must be an absolute path of letters, digits and /._@+-, not '$2'" ;;
    esac
}

build() {
    cargo=${CARGO:-cargo}
    if ! command -v "$cargo" >/dev/null 2>&1; then
        [ "$scope" = system ] || die "there is no cargo in PATH: install Rust (rustup), or give --binary FILE"
        die "there is no cargo here (root may not have yours): build as yourself with 'cargo build --release', then use --binary target/release/login_duo"
    fi
    run env LOGIN_DUO_CONF_DIR="$system_confdir" "$cargo" build --release --locked --manifest-path "$here/Cargo.toml" --bin login_duo --bin duoctl
    binary=${CARGO_TARGET_DIR:-$here/target}/release/login_duo
}

# Another program, or one that reads another file, must not become the door.
check_binary() {
    if [ -n "$DESTDIR$dry" ]; then return 0; fi
    if [ ! -f "$binary" ] || [ ! -x "$binary" ]; then die "'$binary' is not a program"; fi
    is_ours "$binary" || die "'$binary' is not this login_duo"
    [ -x "${binary%/*}/duoctl" ] || die "there is no duoctl beside '$binary'"
    # A user's own install names its file with -c.
    [ "$scope" = user ] || "$binary" --help | grep -qF "[default: $config]" ||
        die "'$binary' reads another file than '$config': set CONFDIR, or build it with LOGIN_DUO_CONF_DIR=$CONFDIR"
}

is_ours() {
    "$1" --help 2>/dev/null </dev/null | grep -q '^Asks Duo for a second factor, then becomes'
}

create_user() {
    if account=$(getent passwd "$USER_NAME"); then
        case $account in
        *:0:*:*:*:* | *:*:0:*:*:*) die "the user '$USER_NAME' has root's user or group id" ;;
        *nologin | *false) say "the user '$USER_NAME' is there" ;;
        *) warn "the user '$USER_NAME' has a login shell: usermod --shell /usr/sbin/nologin $USER_NAME" ;;
        esac
    elif command -v useradd >/dev/null 2>&1; then
        own_group=--user-group
        if getent group "$USER_NAME" >/dev/null; then own_group="--gid $USER_NAME"; fi
        # shellcheck disable=SC2086 # one or two words
        run useradd --system $own_group --no-create-home --home-dir /nonexistent \
            --shell /usr/sbin/nologin --comment "$USER_COMMENT" "$USER_NAME"
    else
        run addgroup -S "$USER_NAME"
        run adduser -S -D -H -h /nonexistent -s /sbin/nologin -G "$USER_NAME" -g "$USER_COMMENT" "$USER_NAME"
    fi
}

make_folder() {
    if [ -d "$2" ]; then return 0; fi
    run mkdir -p "$2"
    if [ -z "$dry" ]; then chmod "$1" "$2"; fi
}

# Copies $1 to $2 with mode $3: beside its place and then renamed, so that a login in this
# moment finds the old program or the new one. The mode comes last, since chown takes
# setuid away.
install_file() {
    make_folder 755 "${2%/*}"
    say "$installing $2, mode $3"
    [ -n "$dry" ] && return 0
    new=$2.new.$$
    trap 'rm -f "$new" ${kept:+"$kept"}' EXIT
    cp "$1" "$new"
    if [ "$(id -u)" -eq 0 ] && [ -z "$DESTDIR" ] && [ "$scope" = system ]; then chown 0:0 "$new"; fi
    chmod "$3" "$new"
    mv -f "$new" "$2"
    trap - EXIT
    if [ -n "$kept" ]; then run chmod u-s,g-s "$kept" && kept=''; fi
    if [ -z "$DESTDIR" ] && command -v restorecon >/dev/null 2>&1; then restorecon "$2" || :; fi
}

# Duo's C program, most likely, and sshd may run it now: it stays in its place until ours
# takes that, by a second link, and beside ours without its setuid bit.
keep_a_strangers_program() {
    kept=''
    if [ -n "$DESTDIR" ] || [ ! -f "$1" ] || is_ours "$1"; then return 0; fi
    for owner in "dpkg -S" "rpm -qf"; do
        # shellcheck disable=SC2086 # two words
        if command -v ${owner% *} >/dev/null 2>&1 && package=$($owner "$1" 2>/dev/null); then
            die "'$1' belongs to a package (${package%%:*}): install beside it with PREFIX=/usr/local, or remove that first, once no sshd names it"
        fi
    done
    if [ -e "$1.before" ]; then die "'$1' is another program, and so is '$1.before': move one of them away"; fi
    say "'$1' is another program: it is kept as $1.before, without setuid"
    run ln "$1" "$1.before"
    kept=$1.before
}

install_all() {
    keep_a_strangers_program "$DESTDIR$program"
    install_file "$binary" "$DESTDIR$program" "$1"
    install_file "${binary%/*}/duoctl" "$DESTDIR$duoctl" 755
    make_folder "$2" "$DESTDIR$CONFDIR"
    if [ -e "$DESTDIR$config" ] || [ -L "$DESTDIR$config" ]; then
        say "$DESTDIR$config is there and stays as it is"
    else
        install_file "$here/login_duo.conf" "$DESTDIR$config" 600
    fi
    for page in login_duo.8 duoctl.8 login_duo.conf.5; do
        install_file "$here/man/$page" "$DESTDIR$PREFIX/share/man/man${page##*.}/$page" 644
    done
}

# What is left to do before anything else; nothing, if it is done.
fill_in() {
    for key in ikey skey host; do
        grep -Eqs "^${key}[[:blank:]]*=[[:blank:]]*[^[:blank:];]" "$config" && continue
        printf '%s' "now fill in ikey, skey and host in $config, "
        return 0
    done
}

do_install() {
    [ -n "$binary" ] || build
    check_binary
    if [ -z "$DESTDIR" ] && [ "$scope" = system ]; then create_user; fi
    if [ "$scope" = user ]; then
        install_all 755 700
        say "$(fill_in)put this before your key in ~/.ssh/authorized_keys, on one line with it:"
        printf '%s\n' "restrict,pty,command=\"$program -c $config\""
        say "Check first: $duoctl check -c $config. Keep this session open, and try a second one."
        return 0
    fi
    install_all 4755 755
    [ -n "$DESTDIR" ] || say "$(fill_in)then: $duoctl check, and for a group at first: $duoctl enable ssh --group GROUP --confirm 10m"
    [ -z "$DESTDIR" ] || say "the package must create the system user '$USER_NAME', and own these files as root:root"
}

# Whoever is told to run a program that is gone is locked out.
check_unused() {
    what=program others='/usr/sbin/duoctl /usr/local/sbin/duoctl'
    [ -z "$purge" ] || what=configuration
    [ "$scope" = system ] || others=''
    for asked in "$duoctl" $others; do
        if [ -n "$DESTDIR" ] || [ ! -x "$asked" ]; then continue; fi
        "$asked" check --unused "$what" >&2 && return 0
        die "its users would be locked out; nothing has changed"
    done
}

remove() {
    if [ ! -e "$1" ] && [ ! -L "$1" ]; then return 0; fi
    removed=yes
    run rm -f "$1"
}

remove_user() {
    account=$(getent passwd "$USER_NAME") || return 0
    # An install elsewhere (PREFIX) needs it.
    if [ -z "$was_there" ]; then say "no login_duo was at $program, so the user '$USER_NAME' stays" && return 0; fi
    for other in /usr/sbin/login_duo /usr/local/sbin/login_duo; do
        if [ "$other" = "$program" ] || [ ! -f "$other" ] || ! is_ours "$other"; then continue; fi
        say "$other is still there, so the user '$USER_NAME' stays" && return 0
    done
    case $account in
    *:"$USER_COMMENT":*)
        remover=userdel
        command -v userdel >/dev/null 2>&1 || remover=deluser
        # A login that is being asked in this moment keeps it busy.
        run "$remover" "$USER_NAME" || warn "the user '$USER_NAME' stays: $remover $USER_NAME, later"
        ;;
    *) say "the user '$USER_NAME' was not created by install.sh and stays" ;;
    esac
}

do_uninstall() {
    check_unused
    was_there='' stranger=''
    if [ -z "$DESTDIR" ] && [ -f "$program" ] && ! is_ours "$program"; then
        say "$program is another program and stays" && stranger=yes
    else
        remove "$DESTDIR$program"
        was_there=$removed
    fi
    remove "$DESTDIR$duoctl"
    if [ -z "$DESTDIR$dry" ] && [ -f "$program.before" ]; then say "$program.before is still there, not setuid"; fi
    for page in man8/login_duo.8 man8/duoctl.8 man5/login_duo.conf.5; do remove "$DESTDIR$PREFIX/share/man/$page"; done
    if [ "$scope" = system ] && [ -z "$DESTDIR" ]; then
        remove "$CONFDIR/enabled-in"
        remove_user
    fi
    if [ -n "$purge" ] && [ -n "$stranger" ]; then
        # Duo's C program reads this file too, and lets everybody in without it.
        say "$config stays too: remove it yourself, if $program does not read it"
    elif [ -n "$purge" ]; then
        remove "$DESTDIR$config"
        if [ -d "$DESTDIR$CONFDIR" ] && [ -z "$dry" ] && ! rmdir "$DESTDIR$CONFDIR" 2>/dev/null; then
            say "$DESTDIR$CONFDIR is not empty and stays"
        fi
    elif [ -e "$DESTDIR$config" ]; then
        say "$DESTDIR$config stays: --purge removes it"
    fi
    if [ -z "$removed" ]; then say "nothing was installed"; elif [ -z "$dry" ]; then say "uninstalled"; fi
}

read_options "$@"
"do_$action"
