#!/usr/bin/env bash
# What runs first in a pretend host, within namespaces of its own (hosts.py): its file system, its home, its sshd.
#   FOLDER NAME ADDRESS SHARED ("": none) PATH PYTHON, and on standard input the lines of /etc/hosts
set -euo pipefail
folder=$1 name=$2 address=$3 shared=$4 path=$5 python=$6
root=$folder/root disk=$folder/disk

mount --make-rprivate /
hostname "$name"
mkdir -p "$root"
# The disk is a tmpfs: the upper folder of an overlay must not lie within its lower one.
mkdir -p "$disk/upper" "$disk/work" "$disk/home" "$disk/ray"
mount -t overlay root -o "lowerdir=/,upperdir=$disk/upper,workdir=$disk/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o size=1g,mode=1777 shm "$root/dev/shm"
mount -t tmpfs -o mode=755 run "$root/run"
mkdir -p "$root/run/sshd" "$root/shared" "$root/tmp/ray"
[[ -z $shared ]] || mount --bind "$shared" "$root/shared"
mount --bind "$disk/ray" "$root/tmp/ray" # what Ray has on this machine is not this host's

# A home of its own, but for a Python that lies in the real one.
mount --bind "$disk/home" "$root/root"
if [[ $python == /root/* ]]; then
    mkdir -p "$root$python"
    mount --bind "$python" "$root$python"
    mount -o remount,bind,ro "$root$python"
fi
mkdir -p -m 700 "$root/root/.ssh"
cat "$folder/../"*.pub > "$root/root/.ssh/authorized_keys"
chmod 600 "$root/root/.ssh/authorized_keys"
printf 'export PATH=%s:$PATH\n' "$path" > "$root/root/.bashrc"
printf '. ~/.bashrc\n' > "$root/root/.profile"
cat > "$root/etc/hosts"
echo "$name" > "$root/etc/hostname"

rm -f "$root"/etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -f "$root/etc/ssh/ssh_host_ed25519_key"
cat > "$root/etc/ssh/sshd_config" << CONFIG
ListenAddress $address
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
MaxStartups 50
MaxSessions 50
PidFile none
Subsystem sftp internal-sftp
CONFIG
# The first process of a host takes in the orphans that Ray leaves behind.
exec env -i HOME=/root USER=root TERM=dumb PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    chroot "$root" /bin/bash -c '/usr/sbin/sshd -D -e & while :; do wait; sleep 1; done'
