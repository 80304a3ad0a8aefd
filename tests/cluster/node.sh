#!/bin/sh
# node.sh: becomes the first process of a test machine, in namespaces that lan.py has just made for it.
# Usage: node.sh NAME DISK SOFTWARE ACCOUNT...
# Reads: / of this machine, which stays as it is; SOFTWARE, shown in the node as /opt/cit, read-only.
# Writes: DISK/up alone: what the node changes of /. It stays when the power goes, so a second boot finds it again.
# How: an overlay over /; /dev /proc /run /tmp of its own; accounts by a line in passwd; then sshd, in the foreground.
# Pages: CONTRIBUTING.md
set -eu
umask 022
name=$1 disk=$2 software=$3
shift 3
root=$disk/root

mount --make-rprivate /
mkdir -p "$disk/up" "$disk/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$disk/up,workdir=$disk/work" "$root"
mkdir -p "$root/opt/cit"
mount --rbind "$software" "$root/opt/cit"
mount -o remount,bind,ro "$root/opt/cit"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
for own in run tmp dev; do
  mount -t tmpfs -o mode=755,size=512m tmpfs "$root/$own"
done
chmod 1777 "$root/tmp"
for device in null zero full random urandom tty; do
  : >"$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir -m 1777 "$root/dev/shm"
mkdir "$root/dev/pts" "$root/run/sshd" "$root/run/lock"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
hostname "$name"

if [ ! -e "$root/etc/ssh/node" ]; then
  rm -rf "$root"/etc/ssh/ssh_host_* "$root"/etc/cron.d/* "$root"/var/spool/cron/crontabs/* "$root/root/.ssh" "$root/root/.cit"
  ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$root/etc/ssh/ssh_host_ed25519_key"
  cat >"$root/etc/ssh/sshd_config" <<END
UsePAM no
PasswordAuthentication no
MaxStartups 200:30:400
MaxSessions 100
PrintMotd no
LogLevel VERBOSE
Subsystem sftp internal-sftp
END
  printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
  printf '%s\n' "$name" >"$root/etc/hostname"
  printf 'PATH=/opt/cit/bin:/usr/local/bin:/usr/bin:/bin\n' >"$root/etc/environment"
  number=2000
  for account; do
    number=$((number + 1))
    echo "$account:x:$number:$number::/home/$account:/bin/bash" >>"$root/etc/passwd"
    echo "$account:*:20000:0:99999:7:::" >>"$root/etc/shadow"
    echo "$account:x:$number:" >>"$root/etc/group"
    mkdir -p "$root/home/$account"
    mkdir -m 700 "$root/home/$account/.ssh"
    chown -R "$number:$number" "$root/home/$account"
  done
  : >"$root/etc/ssh/node"
fi
exec chroot "$root" /usr/sbin/sshd -D -e
