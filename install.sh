#!/bin/sh
# Builds login_duo, pam_duo.so with its helper, and duoctl, copies them to their
# places, and takes them away again. The configurations of sshd and PAM are
# duoctl's business: see duoctl(8).
#
# Two rules: a configuration that is there is never touched, and what an sshd or a
# stack of PAM still names is never removed. See --help.
set -eu
umask 022
# So that what is set to happen at the exit happens then too.
trap 'exit 1' HUP INT TERM

PREFIX=${PREFIX:-/usr}
DESTDIR=${DESTDIR:-}
CONFDIR=${CONFDIR:-/etc/duo}
PAMDIR=${PAMDIR:-}
LAYOUT=${LAYOUT:-by-hand}
USER_NAME=duo
# By this the account is known as ours when it is to be removed.
USER_COMMENT='login_duo privilege separation'
here=$(cd "$(dirname "$0")" && pwd)
action=install scope=system binary='' dry='' purge='' removed='' installing=installing codes=/var/lib/login_duo/codes

usage() {
    cat <<'TEXT'
usage: install.sh [--binary FILE]                install, as root
       install.sh --user [--binary FILE]         install for yourself, without root
       install.sh [--user] --uninstall [--purge]

  --binary FILE   install this login_duo and what is beside it: duoctl,
                  libpam_duo.so and pam-duo-helper [built with cargo]
  --user          into ~/.local and ~/.config/duo, not setuid, no PAM module
  --uninstall     remove programs, PAM module, man pages and the user 'duo'
    --purge         the configurations too
  --dry-run       say what would be done, and do nothing
  -h, --help      print this

sshd and PAM are not touched: 'duoctl enable ssh' has sshd run login_duo, and
'duoctl disable ssh' takes that back. See duoctl(8), and pam_duo(8) for PAM.

Environment: PREFIX [/usr], DESTDIR [none], CONFDIR [/etc/duo; compiled into the
programs], PAMDIR [where pam_unix.so is; none: without the PAM module], CARGO
[cargo]. The path of the helper, PREFIX/libexec/login_duo/pam-duo-helper, is
compiled into the module. With DESTDIR, nothing is changed outside it: no user is
created, nothing is given to one. LAYOUT=package has no file at a path of Duo's own
packages, and no configuration; packaging/programs builds the programs for it.
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
        PREFIX=$HOME/.local CONFDIR=$HOME/.config/duo PAMDIR=none
    else
        plain_folder PREFIX "$PREFIX"
        plain_folder CONFDIR "$CONFDIR"
        case $PAMDIR in '' | none) ;; *) plain_folder PAMDIR "$PAMDIR" ;; esac
    fi
    program=$PREFIX/sbin/login_duo duoctl=$PREFIX/sbin/duoctl config=$CONFDIR/login_duo.conf
    helper=$PREFIX/libexec/login_duo/pam-duo-helper module_name=pam_duo.so man_suffix='' samples=''
    case $LAYOUT in
    by-hand) ;;
    package)
        if [ -z "$DESTDIR" ] || [ -z "$binary" ]; then wrong "LAYOUT=package goes with DESTDIR and --binary"; fi
        program=${helper%/*}/login_duo module_name=pam_duo_rs.so man_suffix=rs samples=$PREFIX/share/login_duo
        ;;
    *) wrong "LAYOUT is by-hand or package, not '$LAYOUT'" ;;
    esac
    own_module=$PREFIX/lib/login_duo/$module_name pam_config=$CONFDIR/pam_duo.conf schema=$PREFIX/share/login_duo/check.schema.json
    note=$CONFDIR/by-hand$(printf '%s' "$PREFIX" | tr / -)
    if [ "$scope" = system ] && [ -z "$DESTDIR$dry" ] && [ "$(id -u)" -ne 0 ]; then
        die "this needs root: run it with sudo, or with --user for an install of your own"
    fi
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
    run env LOGIN_DUO_CONF_DIR="$system_confdir" LOGIN_DUO_HELPER="$helper" "$cargo" build --release --locked \
        --manifest-path "$here/Cargo.toml" -p login_duo -p pam-duo --lib --bin login_duo --bin duoctl --bin pam-duo-helper
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

# PAM's folders of modules. There may be one for each architecture.
pam_folders() {
    case $PAMDIR in
    none) ;;
    ?*) printf '%s\n' "$PAMDIR" ;;
    *)
        for folder in /usr/lib/*/security /lib/*/security /usr/lib64/security /lib64/security /usr/lib/security /lib/security; do
            if [ -f "$folder/pam_unix.so" ]; then printf '%s\n' "$folder"; fi
        done
        ;;
    esac
}

# Word size and processor, from the header of an ELF file.
architecture() {
    for place in "4 1" "18 2"; do
        dd if="$1" bs=1 skip="${place% *}" count="${place#* }" 2>/dev/null | od -An -tx1
    done
}

# Whether a module holds this text. busybox's grep reads a line up to a NUL.
holds() {
    [ -f "$1" ] && tr '\000' '\n' <"$1" | grep -qF -- "$2"
}

# Decides where the module goes, and says so where that is not the usual place.
# A login may load it at any moment, so a module that starts another helper, or a
# file that is not ours, is found before anything changes.
place_module() {
    module='' built=${binary%/*}
    [ "$PAMDIR" != none ] || return 0
    if [ -z "$dry" ] && { [ ! -f "$built/libpam_duo.so" ] || [ ! -f "$built/pam-duo-helper" ]; }; then
        say "there is no libpam_duo.so with pam-duo-helper beside '$binary': no PAM module is installed"
        return 0
    fi
    # The text in which the module names its helper.
    [ -n "$dry" ] || holds "$built/libpam_duo.so" "'$helper'" ||
        die "'$built/libpam_duo.so' starts another helper than '$helper': build it with LOGIN_DUO_HELPER=$helper, or set PAMDIR=none"
    for folder in $(pam_folders); do
        [ -z "$PAMDIR" ] && [ -f "$built/libpam_duo.so" ] &&
            [ "$(architecture "$folder/pam_unix.so")" != "$(architecture "$built/libpam_duo.so")" ] && continue
        module=$folder/$module_name && break
    done
    if [ -z "$module" ]; then
        say "PAM's modules are nowhere here (no pam_unix.so): no PAM module is installed; PAMDIR says where"
    elif is_anothers_module "$DESTDIR$module"; then
        say "$module is $owner and stays: ours is $own_module, and a stack names it by that path"
        module=$own_module
    fi
}

# Of Duo's own C module, most likely.
is_anothers_module() {
    if [ ! -e "$1" ] && [ ! -L "$1" ]; then return 1; fi
    owner='another module'
    holds "$1" pam-duo-helper || return 0
    [ -z "$DESTDIR" ] && package=$(package_of "$1") && owner="a package's (${package%%:*})"
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
    if [ ! -d "$2" ]; then run mkdir -p -m "$1" "$2"; fi
}

# Copies $1 to $2 with mode $3: beside its place and then renamed, so that a login in this
# moment finds the old program or the new one. The mode comes last, since chown takes
# setuid away.
install_file() {
    make_folder 755 "${2%/*}"
    say "$installing $2, mode $3"
    if [ -n "$dry" ]; then return 0; fi
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

# What the package that a file belongs to is called. It may know the file by the name
# that this had before /lib went into /usr.
package_of() {
    for name in "$1" "${1#/usr}" "/usr$1"; do
        for asked in "dpkg -S" "rpm -qf"; do
            # Without that program it fails too, and rpm says on stdout that it knows no such file.
            if found=$($asked "$name" 2>/dev/null); then printf '%s\n' "$found" && return 0; fi
        done
    done
    return 1
}

# Our own package's duoctl knows where that package's program and module are.
refuse_over_our_package() {
    if [ -n "$DESTDIR" ] || [ "$scope" = user ] || [ ! -e "$duoctl" ]; then return 0; fi
    package=$(package_of "$duoctl") || return 0
    die "'$duoctl' belongs to a package (${package%%:*}): remove that first, once nothing names its programs"
}

# Duo's C program, most likely, and sshd may run it now: it stays in its place until ours
# takes that, by a second link, and beside ours without its setuid bit.
keep_a_strangers_program() {
    kept=''
    if [ -n "$DESTDIR" ] || [ ! -f "$1" ] || is_ours "$1"; then return 0; fi
    if package=$(package_of "$1"); then
        die "'$1' belongs to a package (${package%%:*}): install beside it with PREFIX=/usr/local, or remove that first, once no sshd names it"
    fi
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
    install_config "$config"
    install_module
    for page in login_duo.8 duoctl.8 login_duo.conf.5 ${module:+pam_duo.8}; do
        install_file "$here/man/$page" "$DESTDIR$(place_of_page "$page")" 644
    done
    install_file "$here/docs/check.schema.json" "$DESTDIR$schema" 644
}

# "man login_duo" finds login_duo.8rs too, and Duo's own packages have a login_duo.8.
place_of_page() { printf '%s' "$PREFIX/share/man/man${1##*.}/$1$man_suffix"; }

install_config() {
    if [ -n "$samples" ]; then
        install_file "$here/${1##*/}" "$DESTDIR$samples/${1##*/}" 644
    elif [ -e "$DESTDIR$1" ] || [ -L "$DESTDIR$1" ]; then
        say "$DESTDIR$1 is there and stays as it is"
    else
        install_file "$here/${1##*/}" "$DESTDIR$1" 600
        # duoctl's record, by which the file goes again with the secret key that comes into it.
        [ -n "$DESTDIR$dry" ] || [ "$scope" = user ] || (umask 077 && mkdir -p "${codes%/*}" && printf '%s\n' "$1" >>"${codes%/*}/written") || warn "$1 is not in ${codes%/*}/written"
    fi
}

# The helper first: from then on the module is of use. No stack names it yet.
install_module() {
    [ -n "$module" ] || return 0
    install_file "$built/pam-duo-helper" "$DESTDIR$helper" 755
    install_file "$built/libpam_duo.so" "$DESTDIR$module" 644
    # Stacks may still name this one, which was installed beside another module.
    if [ "$module" != "$own_module" ] && [ -f "$DESTDIR$own_module" ]; then
        install_file "$built/libpam_duo.so" "$DESTDIR$own_module" 644
    fi
    install_config "$pam_config"
}

# What is left to do before anything else; nothing, if it is done.
fill_in() {
    for key in ikey skey host; do
        grep -Eqs "^${key}[[:blank:]]*=[[:blank:]]*[^[:blank:];]" "$config" ||
            { printf '%s' "now fill in ikey, skey and host in $config ($duoctl configure does it too), " && return 0; }
    done
}

do_install() {
    refuse_over_our_package
    [ -n "$binary" ] || build
    check_binary
    place_module
    if [ -z "$DESTDIR" ] && [ "$scope" = system ]; then create_user; fi
    if [ "$scope" = user ]; then
        install_all 755 700
        say "$(fill_in)put this before your key in ~/.ssh/authorized_keys, on one line with it:"
        printf '%s\n' "restrict,pty,command=\"$program -c $config\""
        say "Check first: $duoctl check -c $config. Keep this session open, and try a second one." && return 0
    fi
    install_all 4755 755
    if [ -n "$module" ]; then say "no stack of PAM was changed, and $pam_config is for the module: see pam_duo(8)"; fi
    if [ -n "$DESTDIR" ]; then say "the package must create the system user '$USER_NAME', and own these files as root:root" && return 0; fi
    # By this link a purge of the packages knows that their configurations and codes are in use.
    run ln -sfn "$duoctl" "$note"
    say "$(fill_in)then: $duoctl check, and for a group at first: $duoctl enable ssh --group GROUP --confirm 10m"
}

# Whoever is told to run a program that is gone is locked out.
check_unused() {
    what=${purge:+configuration} others='/usr/sbin/duoctl /usr/local/sbin/duoctl'
    [ "$scope" = system ] || others=''
    for asked in "$duoctl" $others; do
        if [ -n "$DESTDIR" ] || [ ! -x "$asked" ]; then continue; fi
        for piece in ${what:-program module}; do
            "$asked" check --unused "$piece" >&2 || die "its users would be locked out; nothing has changed"
        done
        break
    done
}

# The modules that start this install's helper.
our_modules() {
    for folder in $(pam_folders) "${own_module%/*}"; do
        found=$DESTDIR$folder/$module_name
        if holds "$found" "'$helper'"; then printf '%s\n' "$found"; fi
    done
}

# The stacks in which this text stands, but for comments.
stacks_with() {
    for stack in "$DESTDIR"/etc/pam.d/* "$DESTDIR"/usr/etc/pam.d/* "$DESTDIR"/usr/lib/pam.d/* "$DESTDIR"/etc/pam.conf; do
        if [ -f "$stack" ] && sed 's/#.*//' "$stack" | grep -qF -- "$1"; then printf ' %s' "$stack"; fi
    done
}

# Whoever a stack sends to a module that is gone is locked out. Without its configuration
# the module lets nobody in, and Duo's C module everybody.
check_unused_in_pam() {
    modules='' stacks='' text=pam_duo.so
    [ "$scope" = system ] || return 0
    modules=$(our_modules)
    # Then a stack without a path means another module.
    if [ -z "$purge" ] && [ "$modules" = "$DESTDIR$own_module" ]; then text=$own_module; fi
    if [ -n "$purge$modules" ]; then stacks=$(stacks_with "$text"); fi
    [ -z "$stacks" ] || die "pam_duo.so stands in$stacks: its users would be locked out; nothing has changed"
}

remove() {
    if [ ! -e "$1" ] && [ ! -L "$1" ]; then return 0; fi
    removed=yes
    run rm -f "$1"
}

remove_user() {
    account=$(getent passwd "$USER_NAME") || return 0
    if [ -e /usr/lib/sysusers.d/login_duo.conf ]; then say "a package needs the user '$USER_NAME', so that stays" && return 0; fi
    # An install elsewhere (PREFIX) needs it.
    if [ -z "$was_there" ]; then say "no login_duo was at $program, so the user '$USER_NAME' stays: userdel $USER_NAME, if nothing else needs it" && return 0; fi
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

# The module first: from then on nobody starts the helper.
remove_pam() {
    for found in $modules; do remove "$found"; done
    if [ "$scope" = system ]; then remove "$DESTDIR$helper"; fi
    for folder in "${helper%/*}" "${own_module%/*}" "${schema%/*}"; do
        [ -n "$dry" ] || rmdir "$DESTDIR$folder" 2>/dev/null || :
    done
}

# Removes a configuration if that is wanted. $2 is another's program or module that may
# read it too: Duo's own let everybody in without it.
remove_config() {
    if [ ! -e "$DESTDIR$1" ]; then return 0; fi
    if [ -z "$purge" ]; then
        say "$DESTDIR$1 stays: --purge removes it"
    elif [ -n "$2" ]; then
        say "$1 stays too: remove it yourself, if $2 does not read it"
    else
        remove "$DESTDIR$1"
        # What duoctl configure keeps has the secret key too.
        remove "$DESTDIR$1.before"
        remove "$DESTDIR$1.undone"
    fi
}

anothers_module() {
    for folder in $(pam_folders); do
        if is_anothers_module "$DESTDIR$folder/pam_duo.so"; then printf '%s' "$folder/pam_duo.so" && return 0; fi
    done
}

do_uninstall() {
    refuse_over_our_package
    check_unused
    check_unused_in_pam
    was_there='' stranger=''
    if [ -z "$DESTDIR" ] && [ -f "$program" ] && ! is_ours "$program"; then
        say "$program is another program and stays" && stranger=$program
    else
        remove "$DESTDIR$program"
        was_there=$removed
    fi
    remove "$DESTDIR$duoctl"
    if [ -z "$DESTDIR$dry" ] && [ -f "$program.before" ]; then say "$program.before is still there, not setuid"; fi
    for page in login_duo.8 pam_duo.8 duoctl.8 login_duo.conf.5; do remove "$DESTDIR$(place_of_page "$page")"; done
    remove "$DESTDIR$schema"
    remove_pam
    if [ "$scope" = system ] && [ -z "$DESTDIR" ]; then
        for noted in "$note" "$CONFDIR/enabled-in"; do remove "$noted"; done
        if [ -n "$purge" ]; then remove "${codes%/*}/written" && { [ -n "$dry" ] || rmdir "${codes%/*}" 2>/dev/null || :; }; fi
        remove_user
    fi
    remove_config "$config" "$stranger"
    if [ "$scope" = system ]; then remove_config "$pam_config" "$(anothers_module)"; fi
    if [ -n "$purge" ] && [ -d "$DESTDIR$CONFDIR" ] && [ -z "$dry" ] && ! rmdir "$DESTDIR$CONFDIR" 2>/dev/null; then
        say "$DESTDIR$CONFDIR is not empty and stays"
    fi
    if [ "$scope" = system ] && [ -n "$(ls -A "$DESTDIR$codes" 2>/dev/null)" ]; then say "$DESTDIR$codes stays: emergency codes: those that are unused are good again with the next install"; fi
    if [ -z "$removed" ]; then say "nothing was installed"; elif [ -z "$dry" ]; then say "uninstalled"; fi
}

read_options "$@"
"do_$action"
