# Run by root in new mount, pid, net and uts namespaces, as process 1 of them:
# what all machines of one test run share. $1 is the built login_duo, $2 the
# program that checks, $3 the PAM module's helper and $4 the module; the rest is
# what then runs, and process 1 reaps for it.
set -e
umask 022
perl -e 'use Socket; socket(my $s, AF_INET, SOCK_DGRAM, 0) or die;
    ioctl($s, 0x8914, my $up = pack("a16s", "lo", 0x41)) or die "lo: $!"'
mount -t tmpfs -o mode=755 none /srv
cd /srv
mkdir bin home dev realetc
mkdir -m 1777 tmp
mount --bind /etc realetc

# As a release is built: stripped, since each check and each copy installs a copy.
mkdir release
for built in "$1" "$2" "$3" "$4"; do
    at=release/${built##*/}
    [ -e "$at" ] || strip -o "$at" "$built" 2>/dev/null || cp "$built" "$at"
done
chmod 755 release/*

# As the installer leaves it, and a user's own.
cp "release/${1##*/}" "release/${2##*/}" bin
cp bin/login_duo bin/plain
chmod 4755 bin/login_duo

# The PAM module, and its helper where the module looks for it, in a /usr/libexec
# that shows the real one.
mkdir lib reallibexec
cp "release/${4##*/}" lib/pam_duo.so
chmod 644 lib/pam_duo.so
if [ -d /usr/libexec ] && [ -n "$3" ]; then
    mount --bind /usr/libexec reallibexec
    mount -t tmpfs -o mode=755 none /usr/libexec
    ln -s /srv/reallibexec/* /usr/libexec/
    rm -f /usr/libexec/login_duo
    mkdir /usr/libexec/login_duo
    cp "release/${3##*/}" /usr/libexec/login_duo/pam-duo-helper
fi

# A /dev with terminals of its own. Each machine has its log at the link's end.
for node in null zero full random urandom tty; do
    touch dev/$node
    mount --bind /dev/$node dev/$node
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 none dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /etc/duo/syslog dev/log
mount --rbind dev /dev

cd "$OLDPWD"
shift 4
status=0
TMPDIR=/srv/tmp "$@" || status=$?
exit $status
