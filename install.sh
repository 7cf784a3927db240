#!/bin/sh
# Installs login_duo, enables it in sshd, and takes both away again.
#
# Two rules: a configuration that is there is never touched, and sshd is never
# left with a configuration that was not tested. See --help.
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
BEGIN='# login_duo: begin. Written by install.sh --enable; install.sh --disable removes these lines.'
END='# login_duo: end.'

here=$(cd "$(dirname "$0")" && pwd)
action=install
scope=system
dry='' yes='' purge='' removed='' remembered=''
installing=installing removing=removing
binary='' group='' user_list='' test_user=''
usual_sshd_config=/etc/ssh/sshd_config
sshd_config=$usual_sshd_config

usage() {
    cat <<'TEXT'
usage: install.sh [--binary FILE]                          install, as root
       install.sh --user [--binary FILE]                   install for yourself, without root
       install.sh --enable [--group GROUP | --user-list NAME,...] [--test-user NAME]
       install.sh --disable
       install.sh [--user] --uninstall [--purge]

  --binary FILE      install this login_duo; default: build it with cargo
  --user             into ~/.local and ~/.config/duo, not setuid
  --enable           have sshd run login_duo: for everybody, or for some
    --group GROUP      for the members of this group
    --user-list NAMES  for these accounts, joined by commas
    --test-user NAME   make a test login as this account first; it may ring a phone
  --disable          take exactly that away
  --uninstall        remove program, man pages and the user 'duo', not the configuration
    --purge            the configuration too
  --sshd-config FILE sshd's configuration [default: /etc/ssh/sshd_config]
  --dry-run          say what would be done, and do nothing
  --yes              answer every question with yes
  -h, --help         print this

--enable goes on only if duoctl's check finds nothing that would deny or
open the door wrongly; that rings no phone. A test login does, so it is asked
about before it is made; without a terminal it wants --yes.

Environment: PREFIX [/usr], DESTDIR [none], CONFDIR [/etc/duo; compiled into the
program], SSHD [sshd's path], CARGO [cargo]. With DESTDIR, nothing is changed
outside it: no user is created, nothing is given to one.
TEXT
}

say() { printf '%s\n' "install.sh: $*"; }
warn() { printf '%s\n' "install.sh: warning: $*" >&2; }
die() {
    printf '%s\n' "install.sh: $*" >&2
    exit 1
}
wrong() {
    printf '%s\n' "install.sh: $*; see install.sh --help" >&2
    exit 2
}

# Says what is done and does it, unless it is a dry run.
run() {
    if [ -n "$dry" ]; then
        say "would run: $*"
    else
        say "$*"
        "$@"
    fi
}

# True only if a person says so; --yes is that person.
confirm() {
    [ -n "$yes" ] && return 0
    printf '%s [y/N] ' "install.sh: $1"
    read -r answer || return 1
    case $answer in
    [yY] | [yY][eE][sS]) return 0 ;;
    *) return 1 ;;
    esac
}

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
        --binary | --group | --user-list | --test-user | --sshd-config)
            if [ $# -lt 2 ] || [ -z "$2" ]; then wrong "$1 needs a value"; fi
            ;;
        esac
        case $1 in
        --binary) binary=$2 && shift ;;
        --group) group=$2 && shift ;;
        --user-list) user_list=$2 && shift ;;
        --test-user) test_user=$2 && shift ;;
        --sshd-config) sshd_config=$2 && shift ;;
        --user) scope=user ;;
        --enable | --disable | --uninstall)
            [ "$action" = install ] || wrong "--$action and $1 together make no sense"
            action=${1#--}
            ;;
        --purge) purge=yes ;;
        --dry-run) dry=yes installing='would install' removing='would remove' ;;
        --yes) yes=yes ;;
        -h | --help) usage && exit 0 ;;
        *) wrong "unknown option '$1'" ;;
        esac
        shift
    done
    check_options
}

check_options() {
    [ -z "$group" ] || [ -z "$user_list" ] || wrong "--group and --user-list together make no sense"
    case $action in
    enable | disable)
        [ "$scope" = system ] || wrong "--user goes with no --$action: use authorized_keys"
        [ -z "$DESTDIR" ] || wrong "--$action is for this machine, not for a DESTDIR"
        ;;
    esac
    if [ "$action" != enable ] && [ -n "$group$user_list$test_user" ]; then
        wrong "--group, --user-list and --test-user go with --enable"
    fi
    if [ "$action" != uninstall ] && [ -n "$purge" ]; then
        wrong "--purge goes with --uninstall"
    fi
    # These go into sshd's configuration: nothing that could be a second word or line.
    case $group$user_list in
    *[!A-Za-z0-9._@,\\*?!+-]*) wrong "a name with a character that does not belong in one" ;;
    esac
    # Without its folder, PATH would say which program is looked at.
    case $binary in '' | /*) ;; *) binary=./$binary ;; esac
    if [ "$scope" = user ]; then
        # These go between the quotes of command="...".
        case $HOME in
        /*[!A-Za-z0-9/._@+-]* | [!/]* | '') die "this home folder's name cannot stand in authorized_keys: '$HOME'" ;;
        esac
        PREFIX=$HOME/.local
        CONFDIR=$HOME/.config/duo
    else
        plain_folder PREFIX "$PREFIX"
        plain_folder CONFDIR "$CONFDIR"
        if [ -z "$DESTDIR" ] && [ -z "$dry" ] && [ "$(id -u)" -ne 0 ]; then
            die "this needs root: run it with sudo, or with --user for an install of your own"
        fi
    fi
    program=$PREFIX/sbin/login_duo
    duoctl=$PREFIX/sbin/duoctl
    config=$CONFDIR/login_duo.conf
    # The configurations of sshd, other than the usual one, that have our lines.
    record=$CONFDIR/enabled-in
}

# A shell starts what ForceCommand names, in the user's home folder: of anything
# else it would find no program, and everybody would be locked out.
plain_folder() {
    case $2 in
    /*[!A-Za-z0-9/._@+-]* | [!/]*) wrong "$1 must be an absolute path of letters, digits and /._@+-, not '$2'" ;;
    esac
}

is_usual() {
    [ "$1" = "$usual_sshd_config" ] || [ "$1" = "$(readlink -f "$usual_sshd_config")" ]
}

# One word for a shell.
quoted() {
    case $1 in
    *[!A-Za-z0-9/._@+-]*) printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")" ;;
    *) printf '%s' "$1" ;;
    esac
}

# The command that does $1 to the same install and the sshd that reads $2.
again() {
    is_usual "$2" || set -- "$1 --sshd-config $(quoted "$2")"
    set -- "$(quoted "$here/install.sh") $1"
    [ -z "${SSHD:-}" ] || set -- "SSHD=$(quoted "$SSHD") $1"
    [ "$CONFDIR" = /etc/duo ] || set -- "CONFDIR=$(quoted "$CONFDIR") $1"
    [ "$PREFIX" = /usr ] || set -- "PREFIX=$(quoted "$PREFIX") $1"
    printf '%s' "$1"
}

# --- install ----------------------------------------------------------------

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
    [ -n "$DESTDIR" ] && return 0
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
        say "the user '$USER_NAME' is there"
        case $account in
        *:0:*:*:*:* | *:*:0:*:*:*) die "the user '$USER_NAME' has root's user or group id" ;;
        *nologin | *false) ;;
        *) warn "the user '$USER_NAME' has a login shell: usermod --shell /usr/sbin/nologin $USER_NAME" ;;
        esac
        return 0
    fi
    if command -v useradd >/dev/null 2>&1; then
        if getent group "$USER_NAME" >/dev/null; then
            own_group="--gid $USER_NAME"
        else
            own_group=--user-group
        fi
        # shellcheck disable=SC2086 # one or two words
        run useradd --system $own_group --no-create-home --home-dir /nonexistent \
            --shell /usr/sbin/nologin --comment "$USER_COMMENT" "$USER_NAME"
    else
        run addgroup -S "$USER_NAME"
        run adduser -S -D -H -h /nonexistent -s /sbin/nologin -G "$USER_NAME" -g "$USER_COMMENT" "$USER_NAME"
    fi
}

make_folder() {
    if [ ! -d "$2" ]; then
        run mkdir -p "$2"
        [ -n "$dry" ] || chmod "$1" "$2"
    fi
}

# Beside its place and then renamed: a login in this moment finds the old
# program or the new one. The mode comes last, since chown takes setuid away.
install_program() {
    to=$DESTDIR$program
    make_folder 755 "${to%/*}"
    kept=''
    keep_a_strangers_program "$to"
    say "$installing $to, mode $1"
    [ -n "$dry" ] && return 0
    new=$to.new.$$
    trap 'rm -f "$new" ${kept:+"$kept"}' EXIT
    cp "$binary" "$new"
    if [ "$(id -u)" -eq 0 ] && [ -z "$DESTDIR" ] && [ "$scope" = system ]; then chown 0:0 "$new"; fi
    chmod "$1" "$new"
    mv -f "$new" "$to"
    trap - EXIT
    if [ -n "$kept" ]; then run chmod u-s,g-s "$kept"; fi
    if [ -z "$DESTDIR" ] && command -v restorecon >/dev/null 2>&1; then restorecon "$to" || :; fi
}

# The administrator's program, never setuid.
install_duoctl() {
    to=$DESTDIR$duoctl
    say "$installing $to, mode 755"
    [ -n "$dry" ] && return 0
    new=$to.new.$$
    trap 'rm -f "$new"' EXIT
    cp "${binary%/*}/duoctl" "$new"
    if [ "$(id -u)" -eq 0 ] && [ -z "$DESTDIR" ] && [ "$scope" = system ]; then chown 0:0 "$new"; fi
    chmod 755 "$new"
    mv -f "$new" "$to"
    trap - EXIT
}

# Duo's C program, most likely, and sshd may run it now: it stays in its place until ours
# takes that, by a second link, and beside ours without its setuid bit.
keep_a_strangers_program() {
    [ -z "$DESTDIR" ] && [ -f "$1" ] || return 0
    is_ours "$1" && return 0
    for owner in "dpkg -S" "rpm -qf"; do
        # shellcheck disable=SC2086 # two words
        if command -v ${owner% *} >/dev/null 2>&1 && package=$($owner "$1" 2>/dev/null); then
            die "'$1' belongs to a package (${package%%:*}): install beside it with PREFIX=/usr/local, or remove that first, once no sshd names it"
        fi
    done
    if [ -e "$1.before" ]; then
        die "'$1' is another program, and so is '$1.before': move one of them away"
    fi
    say "'$1' is another program: it is kept as $1.before, without setuid"
    run ln "$1" "$1.before"
    kept=$1.before
}

install_config() {
    to=$DESTDIR$config
    make_folder "$1" "${to%/*}"
    if [ -e "$to" ] || [ -L "$to" ]; then
        say "$to is there and stays as it is"
        return 0
    fi
    say "$installing $to, mode 0600"
    [ -n "$dry" ] && return 0
    (umask 077 && cp "$here/login_duo.conf" "$to")
    chmod 600 "$to"
}

install_pages() {
    for page in login_duo.8 duoctl.8 login_duo.conf.5; do
        to=$DESTDIR$PREFIX/share/man/man${page##*.}
        make_folder 755 "$to"
        say "$installing $to/$page"
        [ -n "$dry" ] && continue
        cp "$here/man/$page" "$to/$page"
        chmod 644 "$to/$page"
    done
}

warn_of_folder() {
    [ -z "$DESTDIR" ] && [ -d "$CONFDIR" ] || return 0
    # Whoever may write to the folder may put a configuration of their own there.
    if [ -n "$(find "$CONFDIR" -prune \( ! -user 0 -o -perm -020 -o -perm -002 \))" ]; then
        warn "the folder $CONFDIR can be written to by others than root: chown root:root $CONFDIR && chmod 755 $CONFDIR"
    fi
}

# What is left to do before anything else; nothing, if it is done.
fill_in() {
    [ -f "$config" ] && [ -z "$(missing_key)" ] || printf 'now fill in ikey, skey and host in %s, ' "$config"
}

missing_key() {
    for key in ikey skey host; do
        grep -Eq "^${key}[[:blank:]]*=[[:blank:]]*[^[:blank:];]" "$config" || {
            printf '%s' "$key"
            return 0
        }
    done
}

do_install() {
    system_confdir=$CONFDIR
    [ "$scope" = system ] || system_confdir=/etc/duo
    [ -n "$binary" ] || build
    [ -n "$dry" ] || check_binary
    if [ "$scope" = user ]; then
        install_program 755
        install_duoctl
        install_config 700
        install_pages
        say "$(fill_in)put this before your key in ~/.ssh/authorized_keys, on one line with it:"
        printf '%s\n' "restrict,pty,command=\"$program -c $config\""
        say "Check first: $duoctl check -c $config. Keep this session open, and try a second one."
        return 0
    fi
    [ -n "$DESTDIR" ] || create_user
    install_program 4755
    install_duoctl
    install_config 755
    install_pages
    warn_of_folder
    if [ -n "$DESTDIR" ]; then
        say "the package must create the system user '$USER_NAME', and own these files as root:root"
        return 0
    fi
    say "$(fill_in)then: $(again --enable "$sshd_config")"
}

# --- sshd -------------------------------------------------------------------

find_sshd() {
    sshd=${SSHD:-$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v sshd || :)}
    if [ -z "$sshd" ] || [ ! -x "$sshd" ]; then die "there is no sshd here: name it with SSHD=/path/to/sshd"; fi
    [ -f "$sshd_config" ] || die "there is no '$sshd_config': name it with --sshd-config FILE"
    # The file itself, so that a link to it stays a link.
    sshd_config=$(readlink -f "$sshd_config")
    drop_ins=${sshd_config%/*}/sshd_config.d
    drop_in=$drop_ins/00-login_duo.conf
}

sshd_accepts() {
    if complaint=$("$sshd" -t -f "$sshd_config" 2>&1); then return 0; fi
    folder=$(printf '%s\n' "$complaint" | sed -n 's/^Missing privilege separation directory: //p')
    # Only a running sshd has it, and with socket activation none may be running.
    if [ -n "$folder" ] && [ -n "$dry" ]; then return 0; fi
    if [ -n "$folder" ] && [ -z "$dry" ] && mkdir -p "$folder"; then
        complaint=$("$sshd" -t -f "$sshd_config" 2>&1) && return 0
    fi
    return 1
}

# Whether sshd reads the drop-in folder for everybody: included before any Match.
includes_drop_ins() {
    [ -d "$drop_ins" ] && awk -v wanted="$drop_ins/*.conf" '
        tolower($1) == "match" { exit }
        tolower($1) == "include" {
            for (i = 2; i <= NF; i++) {
                pattern = $i
                gsub(/"/, "", pattern)
                if (pattern !~ /^\//) pattern = "/etc/ssh/" pattern
                if (pattern == wanted) found = 1
            }
        }
        END { exit !found }' "$sshd_config"
}

has_block() { grep -qxF "$BEGIN" "$sshd_config"; }

without_block() {
    awk -v begin="$BEGIN" -v end="$END" '
        $0 == begin { inside = 1 }
        !inside
        $0 == end { inside = 0 }' "$sshd_config"
}

settings() {
    cat <<TEXT
ForceCommand $program
PermitTunnel no
AllowTcpForwarding no
AllowStreamLocalForwarding no
X11Forwarding no
PermitUserRC no
TEXT
}

lines_for_sshd() {
    printf '%s\n' "$BEGIN"
    if [ -n "$group" ]; then
        printf 'Match Group %s\n' "$group"
    elif [ -n "$user_list" ]; then
        printf 'Match User %s\n' "$user_list"
    fi
    settings
    printf '%s\n' "$END"
}

# The block goes where sshd's first value wins: for everybody at the top; a
# Match at the end, since what follows one belongs to it.
config_with_block() {
    if [ -z "$group$user_list" ]; then
        lines_for_sshd && without_block
    else
        without_block && lines_for_sshd
    fi
}

# Puts what the function $2 prints in the place of $1, keeping owner and mode.
# $1 is never missing and never half written, whatever happens in between; the
# file that was there is $1.before, by a link and not by a copy.
replace() {
    rm -f "$1.before" "$1.new"
    if [ -e "$1" ]; then
        ln "$1" "$1.before"
        cp -p "$1" "$1.new"
    else
        (umask 077 && : >"$1.new")
        was_missing=yes
    fi
    "$2" >"$1.new" || die "'$1.new' cannot be written"
    mv -f "$1.new" "$1"
}

# Undoes one replace, however far it came.
take_back() {
    rm -f "$1.new"
    if [ -e "$1.before" ]; then
        mv -f "$1.before" "$1"
    elif [ -n "$was_missing" ]; then
        rm -f "$1"
    fi
}

# The accounts in the group $1, as far as they can be listed.
members() {
    entry=$(getent group "$1") || return 0
    gid=$(printf '%s' "$entry" | cut -d: -f3)
    {
        printf '%s\n' "$entry" | cut -d: -f4 | tr , '\n'
        getent passwd | awk -F: -v gid="$gid" '$4 == gid { print $1 }'
    } | awk 'NF && !seen[$0]++'
}

# The accounts that the list $1 names.
named() {
    printf '%s\n' "$1" | tr , '\n' | while read -r name; do
        case $name in '' | *[*?!]*) continue ;; esac
        getent passwd "$name" | cut -d: -f1
    done
}

# Someone to whom the new lines apply, for sshd -T; nothing if nobody is known.
somebody() {
    if [ -n "$group" ]; then members "$group"; else named "$user_list"; fi | awk 'NF { print; exit }'
}

# What sshd -T is asked about the account $1.
login_of() { printf '%s' "user=$1,host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22"; }

# Whether what sshd will do is what was asked for: an earlier line may win.
takes_effect() {
    set --
    if [ -n "$group$user_list" ]; then
        who=$(somebody)
        if [ -z "$who" ]; then
            warn "no account to which this applies is known here, so sshd -T could not show it"
            return 0
        fi
        set -- -C "$(login_of "$who")"
    fi
    if ! effective=$("$sshd" -T -f "$sshd_config" "$@" 2>&1); then
        complaint=$effective
        return 1
    fi
    losing=$(settings | while read -r key value; do
        lower=$(printf '%s' "$key" | tr '[:upper:]' '[:lower:]')
        printf '%s\n' "$effective" | grep -qxF "$lower $value" || printf '%s\n' "$key"
    done)
    [ -n "$losing" ] || return 0
    complaint="an earlier line of sshd's configuration wins over $(settings | grep -wF "$losing" | paste -sd ';' -): $(winning_lines "$losing")"
    return 1
}

# FILE:LINE of what is set for the keywords $1 outside our lines.
winning_lines() {
    for file in "$sshd_config" "$drop_ins"/*.conf; do
        if [ ! -f "$file" ] || [ "$file" = "$drop_in" ]; then continue; fi
        awk -v keys="$1" -v begin="$BEGIN" -v end="$END" -v file="$file" '
            BEGIN { split(tolower(keys), list); for (i in list) wanted[list[i]] = 1 }
            $0 == begin { inside = 1 }
            $0 == end { inside = 0 }
            !inside && tolower($1) in wanted { $1 = $1; print file ":" FNR ": " $0 }' "$file"
    done | paste -sd ';' - | grep . || printf '%s' "in a file that it includes"
}

# Has the listening sshd read its configuration. Open sessions are other processes.
reload_sshd() {
    if [ "$sshd_config" = /etc/ssh/sshd_config ] && [ -d /run/systemd/system ]; then
        for unit in ssh sshd; do
            if systemctl --quiet is-active "$unit.service"; then
                say "systemctl reload $unit.service"
                systemctl reload "$unit.service"
                return
            fi
        done
    fi
    pid_file=$("$sshd" -T -f "$sshd_config" | sed -n 's/^pidfile //p')
    pid=$(cat "$pid_file" 2>/dev/null || :)
    case $pid in
    '' | *[!0-9]*) pid= ;;
    *) [ "$(cat "/proc/$pid/comm" 2>/dev/null || :)" = sshd ] || pid= ;;
    esac
    if [ -z "$pid" ]; then
        warn "no running sshd was found by '$pid_file': if one runs, have it reload its configuration"
        return 0
    fi
    say "kill -HUP $pid, the listening sshd"
    before=$(mktemp) || return 1
    seconds=0 status=
    kill -HUP "$pid" || status=1
    # It keeps its process id, and writes it anew once it listens again; one that
    # is gone could not start again.
    while [ -z "$status" ]; do
        sleep 1
        seconds=$((seconds + 1))
        if ! kill -0 "$pid" 2>/dev/null; then
            status=1
        elif [ -n "$(find "$pid_file" -newer "$before" 2>/dev/null || :)" ]; then
            status=0
        elif [ "$seconds" -ge 10 ]; then
            warn "sshd does not say that it listens again; look whether a second session works"
            status=0
        fi
    done
    rm -f "$before"
    return "$status"
}

# --- enable, disable --------------------------------------------------------

check_install() {
    [ -f "$program" ] || die "'$program' is not installed: run install.sh first"
    is_ours "$program" || die "'$program' is not this login_duo"
    [ -n "$(find "$program" -prune -user 0 -perm -4000)" ] ||
        die "'$program' is not setuid root: chown root:root $program && chmod 4755 $program"
    [ -x "$duoctl" ] || die "'$duoctl' is not installed: run install.sh first"
    [ -f "$config" ] || die "there is no '$config'"
    # A file that is half filled in denies everybody.
    key=$(missing_key)
    [ -z "$key" ] || die "'$config' is not complete: fill in $key"
    if [ -n "$group" ]; then
        getent group "$group" >/dev/null || die "there is no group '$group'"
    fi
    # With a user list, a name that is not an account is a slip that leaves somebody out.
    printf '%s\n' "$user_list" | tr , '\n' | while read -r name; do
        case $name in *[*?!]*) continue ;; esac
        [ -z "$name" ] || getent passwd "$name" >/dev/null || die "there is no account '$name'"
    done || exit 1
}

# Whether login_duo would do its work. What it finds about sshd is not asked
# for yet: that is about to change.
check_program() {
    say "$duoctl check"
    status=0
    findings=$("$duoctl" check --sshd-config "$sshd_config") || status=$?
    printf '%s\n' "$findings" | awk '/^sshd$/ { exit } { print }'
    case $status in
    0 | 1 | 2) ;;
    *) die "duoctl check ended with status $status; nothing has changed" ;;
    esac
    # An end before sshd's findings is no good end.
    printf '%s\n' "$findings" | awk '/^sshd$/ { complete = 1; exit } /^ *FAIL/ { bad = 1 } END { exit bad || !complete }' ||
        die "mend what FAILs first; nothing has changed"
}

check_login() {
    [ -n "$test_user" ] || return 0
    getent passwd "$test_user" >/dev/null || die "there is no account '$test_user'"
    if [ -z "$yes" ] && ! [ -t 0 ]; then
        die "a test login asks Duo and may ring a phone: say --yes to that; nothing has changed"
    fi
    confirm "a test login as '$test_user', which asks Duo and may ring a phone. Make it?" ||
        die "nothing has changed"
    test_login_as "$test_user"
}

# What sshd would do, with the log on stderr: the program by hand, for 'true'.
test_login_as() {
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if [ -n "$yes" ]; then exec 3</dev/null; else exec 3<&0; fi
    if [ "$1" = root ]; then
        "$program" -d true <&3 2>&1 | tee "$log" || :
    else
        su -s /bin/sh "$1" -c "$program -d true" <&3 2>&1 | tee "$log" || :
    fi
    exec 3<&-
    if grep -Eq '^\[[0-9]\] (Successful|Skipped) Duo login for ' "$log"; then
        say "the test login was allowed by Duo"
    elif grep -q '^\[6\] User .* bypassed Duo 2FA' "$log"; then
        die "'$1' is not asked, because of 'groups' in $config: --test-user NAME with somebody who is; nothing has changed"
    elif grep -q '^\[4\] Failsafe ' "$log"; then
        die "Duo could not be asked, and 'failmode' let the test login in: mend that first; nothing has changed"
    else
        die "the test login was denied: mend that first; nothing has changed"
    fi
    rm -f "$log"
    trap - EXIT
}

# The drop-in, or sshd_config itself.
choose_place() {
    if includes_drop_ins; then place=$drop_in; else place=$sshd_config; fi
    if [ "$place" = "$drop_in" ] && has_block; then
        die "'$sshd_config' has a block of ours, and now includes '$drop_ins' too: install.sh --disable first"
    fi
}

write_place() {
    if [ "$place" = "$drop_in" ]; then lines_for_sshd; else config_with_block; fi
}

do_enable() {
    find_sshd
    [ -n "$dry" ] || check_install
    sshd_accepts || die "sshd does not accept its configuration as it is; nothing has changed: $complaint"
    choose_place
    if [ -n "$dry" ]; then
        say "would run $duoctl check, write this to $place, test it, and reload sshd:"
        lines_for_sshd
        return 0
    fi
    check_program
    check_login
    say "writing to $place:"
    lines_for_sshd
    was_missing=''
    rm -f "$place.before"
    trap 'undo; say "$place is as it was"' EXIT
    remember
    replace "$place" write_place
    if ! sshd_accepts || ! takes_effect; then die "taking it back: $complaint"; fi
    # Whoever interrupts this must not leave an sshd that has read it.
    trap 'undo; reload_sshd || :; say "$place is as it was"' EXIT
    if ! reload_sshd; then
        undo
        trap - EXIT
        reload_sshd || :
        die "sshd could not be reloaded; $place is as it was"
    fi
    trap - EXIT
    rm -f "$place.before"
    other_force_commands
    say "enabled. KEEP THIS SESSION OPEN, and try a second one now."
    say "See the whole with $duoctl check. The way back: $(again --disable "$sshd_config")"
}

undo() {
    take_back "$place"
    [ -z "$remembered" ] || forget
}

# So that --uninstall knows of an sshd that does not run at that moment.
remember() {
    is_usual "$sshd_config" && return 0
    grep -qxF -- "$sshd_config" "$record" 2>/dev/null && return 0
    remembered=yes
    (umask 077 && printf '%s\n' "$sshd_config" >>"$record")
}

forget() {
    [ -f "$record" ] || return 0
    others=$(grep -vxF -- "$sshd_config" "$record" || :)
    if [ -n "$others" ]; then printf '%s\n' "$others" >"$record"; else rm -f "$record"; fi
}

# Every other ForceCommand in a Match, as FILE:LINE, a tab, the criteria. One outside is
# for those only whom our lines do not name.
force_commands() {
    for file in "$sshd_config" "$drop_ins"/*.conf; do
        [ -f "$file" ] || continue
        awk -v ours="$program" -v file="$file" '
            tolower($1) == "match" { $1 = ""; criteria = substr($0, 2) }
            tolower($1) == "forcecommand" && $2 != ours && criteria != "" {
                print file ":" FNR "\t" criteria
            }' "$file"
    done
}

# Not ours to change, but some are not asked because of them, and some in spite of them.
other_force_commands() {
    tab=$(printf '\t')
    force_commands | while IFS=$tab read -r line criteria; do
        asked='' unasked=''
        for name in $(accounts_of "$criteria"); do
            effective=$("$sshd" -T -f "$sshd_config" -C "$(login_of "$name")" 2>/dev/null) || continue
            case $effective in
            *"forcecommand $program"*) asked="$asked $name" ;;
            *) unasked="$unasked $name" ;;
            esac
        done
        found="another ForceCommand at $line, for 'Match $criteria'"
        [ -z "$asked" ] || warn "$found: asked in spite of it:$asked"
        [ -z "$unasked" ] || warn "$found: not asked:$unasked"
        [ -n "$asked$unasked" ] || warn "$found: $(rule_of_precedence)"
    done
}

# The accounts that these criteria of a Match name, if they are of one simple kind; not a
# whole directory, since sshd is run for each.
accounts_of() {
    case $1 in
    *' '*' '*) ;;
    [uU][sS][eE][rR]' '*) named "${1#* }" ;;
    [gG][rR][oO][uU][pP]' '*) members "${1#* }" ;;
    esac | awk 'NR <= 50'
}

# sshd takes the first Match that says it, and a Match before what is for everybody.
rule_of_precedence() {
    if [ -z "$group$user_list" ]; then
        printf '%s' "those whom it names are not asked"
    elif [ "$place" = "$drop_in" ]; then
        printf '%s' "our lines come first, so those of ${group:-$user_list} are asked in spite of it"
    else
        printf '%s' "those of ${group:-$user_list} whom it names are not asked, if it comes before our lines"
    fi
}

do_disable() {
    find_sshd
    [ -e "$drop_in" ] || has_block || {
        elsewhere=$(known_configs | while read -r file; do
            if grep -qsxF "$BEGIN" "$file" "${file%/*}/sshd_config.d/${drop_in##*/}"; then printf '%s\n' "$file"; fi
        done | awk 'NR == 1')
        if [ -n "$elsewhere" ]; then
            die "'$sshd_config' has no lines of ours, but '$elsewhere' has: $(again --disable "$elsewhere")"
        fi
        say "not enabled: '$sshd_config' has no lines of ours; another file? --sshd-config FILE"
        return 0
    }
    if has_block && ! grep -qxF "$END" "$sshd_config"; then
        die "the block in '$sshd_config' has no end: remove it by hand"
    fi
    if [ -e "$drop_in" ]; then say "$removing $drop_in"; fi
    if has_block; then say "$removing the block from $sshd_config"; fi
    [ -n "$dry" ] && return 0
    if [ -e "$drop_in" ]; then rm -f "$drop_in"; fi
    if has_block; then
        replace "$sshd_config" without_block
        rm -f "$sshd_config.before"
    fi
    forget
    sshd_accepts || die "disabled, but sshd does not accept its configuration, so it was not reloaded: $complaint"
    reload_sshd || die "disabled, but sshd could not be reloaded: do it by hand"
    others=$(grep -ls "^[^#]*$program" "$sshd_config" "$drop_ins"/*.conf | paste -sd ' ' - || :)
    if [ -n "$others" ]; then
        warn "disabled, but another line names $program, and whom it is for is still asked: $others"
    else
        say "disabled: sshd asks for no second factor any more"
    fi
}

# --- uninstall --------------------------------------------------------------

# Whoever is told to run a program that is gone is locked out. Our own lines are
# no less ours where they name another PREFIX.
named_in() {
    for file in "$@"; do
        [ -f "$file" ] || continue
        if grep -v '^[[:blank:]]*#' "$file" | grep -qF "$used"; then
            die "'$file' still names $used, so its users would be locked out; $advice"
        fi
        if [ "$scope" = system ] && grep -qxF "$BEGIN" "$file"; then
            die "'$file' still has the lines of --enable, so its users would be locked out; $advice"
        fi
    done
}

check_unused() {
    advice='take command="..." out of that line, and leave the key in it'
    used=$program
    if [ "$scope" = user ]; then
        named_in "$HOME/.ssh/authorized_keys"
        return 0
    fi
    [ -z "$DESTDIR" ] || return 0
    { printf '%s\n' "${HOME:-/root}" && cut -d: -f6 /etc/passwd; } | sort -u | while read -r home; do
        named_in "$home/.ssh/authorized_keys"
    done || exit 1
    sshd=${SSHD:-$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v sshd || :)}
    # The configuration serves a program under another PREFIX too.
    [ -z "$purge" ] || used=/login_duo
    known_configs | while read -r known; do
        advice="$(again --disable "$known"), or remove that line"
        # shellcheck disable=SC2046 # patterns, to be expanded
        named_in "$known" "${known%/*}/sshd_config.d"/* $(included_by "$known")
        if [ -z "$sshd" ] || [ ! -f "$known" ]; then continue; fi
        if "$sshd" -T -f "$known" 2>/dev/null | grep '^forcecommand ' | grep -qF "$used"; then
            die "sshd still runs $used, says '$known'; $advice"
        fi
    done || exit 1
}

# The files that this configuration includes; sshd looks in /etc/ssh for the rest.
included_by() {
    [ -f "$1" ] || return 0
    awk 'tolower($1) == "include" {
        for (i = 2; i <= NF; i++) {
            gsub(/"/, "", $i)
            print ($i ~ /^\//) ? $i : "/etc/ssh/" $i
        }
    }' "$1"
}

# Every configuration of an sshd that may have our lines: the one named, the
# usual one, those of --enable, and those of the sshds that listen now.
known_configs() {
    {
        readlink -f "$sshd_config" || :
        readlink -f "$usual_sshd_config" || :
        cat "$record" 2>/dev/null || :
        listening_configs
    } | awk 'NF && !seen[$0]++'
}

# Of root's only: nobody else's process should keep us from anything.
listening_configs() {
    find /proc -maxdepth 1 -name '[0-9]*' -user 0 2>/dev/null | while read -r process; do
        read -r name 2>/dev/null <"$process/comm" || continue
        [ "$name" = sshd ] || continue
        tr '\0' ' ' 2>/dev/null <"$process/cmdline" | sed -n 's/.* -f *\(\/[^ ]*\).*/\1/p'
    done
}

remove() {
    if [ -e "$1" ] || [ -L "$1" ]; then
        removed=yes
        run rm -f "$1"
    fi
}

remove_user() {
    account=$(getent passwd "$USER_NAME") || return 0
    case $account in
    *:"$USER_COMMENT":*)
        remover=userdel
        command -v userdel >/dev/null 2>&1 || remover=deluser
        removed=yes
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
        say "$program is another program and stays"
        stranger=yes
    else
        remove "$DESTDIR$program"
        was_there=$removed
    fi
    remove "$DESTDIR$duoctl"
    if [ -z "$DESTDIR" ] && [ -f "$program.before" ]; then
        say "what was there before is still $program.before, not setuid"
    fi
    remove "$DESTDIR$PREFIX/share/man/man8/login_duo.8"
    remove "$DESTDIR$PREFIX/share/man/man8/duoctl.8"
    remove "$DESTDIR$PREFIX/share/man/man5/login_duo.conf.5"
    if [ "$scope" = system ] && [ -z "$DESTDIR" ]; then
        remove "$record"
        # An install elsewhere (PREFIX) needs it.
        if [ -n "$was_there" ]; then
            remove_user
        elif getent passwd "$USER_NAME" >/dev/null; then
            say "no login_duo was at $program, so the user '$USER_NAME' stays"
        fi
    fi
    if [ -n "$purge" ] && [ -n "$stranger" ]; then
        # Duo's C program reads this file too, and lets everybody in without it.
        say "$config stays too: remove it yourself, if $program does not read it"
    elif [ -n "$purge" ]; then
        remove "$DESTDIR$config"
        if [ -d "$DESTDIR$CONFDIR" ] && [ -z "$dry" ]; then
            rmdir "$DESTDIR$CONFDIR" 2>/dev/null || say "$DESTDIR$CONFDIR is not empty and stays"
        fi
    elif [ -e "$DESTDIR$config" ]; then
        say "$DESTDIR$config stays: --purge removes it"
    fi
    if [ -z "$removed" ]; then
        say "nothing was installed"
    elif [ -z "$dry" ]; then
        say "uninstalled"
    fi
}

read_options "$@"
"do_$action"
