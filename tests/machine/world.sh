# Run by root in a new mount namespace: one machine of its own. $1 is its
# folder, the rest is what then runs.
set -e
umask 022

# An /etc that shows the real one, but for the accounts and our configuration.
mount -t tmpfs -o mode=755 none /etc
ln -s /srv/realetc/* /etc/
cd /etc
rm -f passwd group shadow gshadow nsswitch.conf motd ld.so.conf duo
cp "$1/passwd" "$1/group" "$1/nsswitch.conf" .
mkdir duo
mount --bind "$1" duo

mount -t tmpfs -o mode=755 none /srv/home
mount -t tmpfs -o mode=755 none /run
mount -t tmpfs none /var/log
mount -t tmpfs -o mode=755 none /var/lib
mount -t tmpfs -o mode=1777 none /dev/shm
mkdir -m 755 /run/sshd
cd /
shift
exec "$@"
