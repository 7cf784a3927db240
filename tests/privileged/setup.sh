# Makes the inside of a test's mount namespace; $1 is the sandbox's folder, $2
# the built login_duo. /srv becomes the scaffold.
set -e
umask 022
mount -t tmpfs -o mode=755 none /srv
cd /srv
mkdir etc realetc bin home dev

# An /etc that shows the real one, but for the accounts and our configuration.
mount --bind /etc realetc
ln -s /srv/realetc/* etc/
for file in passwd group shadow gshadow nsswitch.conf motd; do rm -f etc/$file; done
rm -rf etc/duo
cp "$1/passwd" "$1/group" "$1/nsswitch.conf" etc/
mkdir etc/duo
mount --bind "$1" etc/duo

# As its installer leaves it, and a user's own.
cp "$2" bin/login_duo
chmod 4755 bin/login_duo
touch bin/plain
mount --bind "$2" bin/plain

while IFS=: read -r name _ uid gid _ home _; do
    case $home in /srv/home/*)
        mkdir -p "$home"
        chown "$uid:$gid" "$home"
        chmod 700 "$home" ;;
    esac
done <etc/passwd

# A /dev with a log of our own.
for node in null zero full random urandom tty; do
    touch dev/$node
    mount --bind /dev/$node dev/$node
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 none dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s "$1/syslog" dev/log

mount -t tmpfs none /run
mount -t tmpfs none /var/log
mkdir -m 755 /run/sshd
mount --rbind dev /dev
mount --rbind etc /etc
cd /
echo ready
exec cat
