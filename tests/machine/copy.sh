# Run by root in new mount and pid namespaces: a copy of this machine, with the
# scratch folder as $1 and the program behind it. Everything written goes to a
# file system in memory.
set -e
mount -t tmpfs -o mode=755 none "$1"
for folder in etc usr var; do
    mkdir "$1/$folder" "$1/$folder.work"
    mount -t overlay overlay \
        -o "lowerdir=/$folder,upperdir=$1/$folder,workdir=$1/$folder.work" /$folder
done
mount -t tmpfs -o mode=755 none /run
mkdir -m 755 /run/sshd
mount -t tmpfs -o mode=755 none /home
# An install of the machine's own, by hand or from the packages.
userdel duo 2>/dev/null || :
rm -rf /usr/sbin/duoctl /usr/lib/sysusers.d/login_duo.conf /usr/share/login_duo /usr/libexec/login_duo
rm -rf /etc/duo /etc/ssh/sshd_config.d/00-login_duo.conf /usr/sbin/login_duo
rm -f /usr/sbin/login_duo.before /usr/share/man/man8/login_duo.8 /usr/share/man/man5/login_duo.conf.5
shift
exec "$@"
