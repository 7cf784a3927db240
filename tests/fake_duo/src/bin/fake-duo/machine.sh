# Run by root as process 1 of new mount, pid, uts and ipc namespaces, in a net
# namespace with a fake Duo service: becomes the machine of `fake-duo demo --pam`,
# and runs a program on it. Whatever is written goes to file systems in memory.
# $1 is pam_duo.so, $2 its helper, which is to be at $3, $4 the configuration, $5
# the CA's certificate, $6 su, sudo or sshd; the rest is the program, if there is one.
set -eu
umask 022
# Their folders may be hidden in a moment.
exec 3<"$1" 4<"$2"
helper=$3 conf=$4 ca=$5 service=$6
shift 6
terminal=$(tty) || :
cd /

mount -t tmpfs -o mode=755 none /run
for folder in /home /var/lib /var/log; do
    [ ! -d "$folder" ] || mount -t tmpfs -o mode=755 none "$folder"
done
mount -t tmpfs -o mode=1777 none /tmp

# Hides a folder behind one of memory that shows the same and that may be changed.
cover() {
    mkdir -p "/run/real$1"
    mount --bind "$1" "/run/real$1"
    mount -t tmpfs -o mode=755 none "$1"
    for entry in "/run/real$1"/*; do
        [ ! -e "$entry" ] || ln -s "$entry" "$1/"
    done
}

# The terminals are the real ones, since one of them is the person's. There is no
# /dev/log, so nothing comes into the real machine's log.
mkdir /run/dev /run/dev/pts
mkdir -m 1777 /run/dev/shm
for node in null zero full random urandom tty; do
    : >/run/dev/$node
    mount --bind /dev/$node /run/dev/$node
done
mount --rbind /dev/pts /run/dev/pts
# It makes terminals in the folder pts beside it.
mknod -m 666 /run/dev/ptmx c 5 2 2>/dev/null || ln -s pts/ptmx /run/dev/ptmx
case $terminal in
/dev/pts/*) ;;
/dev/*) : >"/run$terminal" && mount --bind "$terminal" "/run$terminal" ;;
esac
ln -s /proc/self/fd /run/dev/fd
ln -s fd/0 /run/dev/stdin
ln -s fd/1 /run/dev/stdout
ln -s fd/2 /run/dev/stderr
mount --rbind /run/dev /dev

# The module may be anywhere; the helper has its one place.
mkdir /run/demo
cat <&3 >/run/demo/pam_duo.so
place=${helper%/*}
existing=$place
while [ ! -d "$existing" ]; do existing=${existing%/*}; done
cover "$existing"
mkdir -p "$place"
rm -f "$helper"
cat <&4 >"$helper"
chmod 755 "$helper"
exec 3<&- 4<&-

cover /etc
cd /etc
rm -f passwd group shadow gshadow nsswitch.conf hosts hostname motd pam.d sudo.conf sudoers sudoers.d duo
{
    echo 'root:x:0:0:root:/root:/bin/sh'
    echo 'duo:x:64100:64100::/nonexistent:/usr/sbin/nologin'
    echo 'demo:x:64101:64101:the account of the demo:/home/demo:/bin/sh'
    echo 'visitor:x:64102:64102:who runs su, sudo and ssh:/home/visitor:/bin/sh'
    grep '^sshd:' /run/real/etc/passwd || echo 'sshd:x:64103:64103::/run/sshd:/usr/sbin/nologin'
} >passwd
{
    echo 'root:x:0:'
    echo 'duo:x:64100:'
    echo 'demo:x:64101:'
    echo 'visitor:x:64102:'
    # sshd gives terminals to the group tty, and its own user may have any group.
    grep -v -e '^root:' -e '^duo:' -e '^demo:' -e '^visitor:' /run/real/etc/group || :
} >group
# The password is demo.
# shellcheck disable=SC2016 # it is meant as it stands
hash='$6$loginduodemo$F029G95CXG78DavEmg1/U63dyevLgn0v./TwPL.JNmoZ23/4n2OZ8sexq3GkZ8JDEu/SR6RN2FP0EDrwWEXPl.'
: >shadow
chmod 600 shadow
printf '%s\n' 'root:*:20000::::::' "demo:$hash:20000::::::" 'visitor:*:20000::::::' >shadow
printf '%s: files\n' passwd group shadow hosts >nsswitch.conf
printf '127.0.0.1 %s\n' localhost demo >hosts
echo demo >/proc/sys/kernel/hostname
for name in demo visitor; do
    mkdir -m 700 "/home/$name"
    chown "$name:$name" "/home/$name"
done

mkdir duo pam.d
printf '%s\n' "$ca" >duo/ca.pem
: >duo/pam_duo.conf
chmod 600 duo/pam_duo.conf
printf '%s\n' "$conf" >duo/pam_duo.conf
for name in su su-l sudo sudo-i sshd; do
    cat >"pam.d/$name" <<'STACK'
auth     requisite  pam_unix.so
auth     required   /run/demo/pam_duo.so
account  required   pam_unix.so
session  required   pam_permit.so
STACK
done
printf '%s required pam_deny.so\n' auth account password session >pam.d/other

case $service in
sudo)
    {
        echo 'demo ALL=(root) ALL'
        case $(sudo --version) in sudo-rs*) ;; *) echo 'Defaults lecture = never' ;; esac
    } >sudoers
    chmod 440 sudoers
    ;;
sshd)
    mkdir /run/sshd
    ssh-keygen -q -t ed25519 -N '' -f /run/demo/host_key
    cat >/run/demo/sshd_config <<'CONFIG'
ListenAddress 127.0.0.1:22
HostKey /run/demo/host_key
PidFile /run/demo/sshd.pid
UsePAM yes
AuthenticationMethods keyboard-interactive
PasswordAuthentication no
PermitRootLogin no
PrintLastLog no
CONFIG
    sshd=$(command -v sshd)
    "$sshd" -t -f /run/demo/sshd_config
    "$sshd" -f /run/demo/sshd_config
    # sshd writes this file once it listens.
    tries=100
    until [ -s /run/demo/sshd.pid ]; do
        [ "$tries" -gt 0 ] || { echo 'sshd does not listen' >&2 && exit 1; }
        tries=$((tries - 1))
        sleep 0.1
    done
    ;;
esac

cd /
# It was to be seen whether all of this can be done here.
[ $# -gt 0 ] || exit 0
# The terminal belongs to a process group outside, which has no number here: a login
# shell could not give the terminal back to it. So the program gets a group of its own,
# by a shell with job control, whose last complaint nobody needs.
# shellcheck disable=SC2016 # the inner shell expands it
sh -c 'set -m; "$@"; echo $? >/run/demo/status; exec 2>/dev/null' sh "$@" || :
# The program was interrupted, and so was the shell that would have written it.
[ -f /run/demo/status ] || exit 130
read -r status </run/demo/status
exit "$status"
