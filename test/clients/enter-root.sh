#!/bin/sh
# Runs one command as the ordinary user of the Apptainer root (.ci/apptainer-root), as root of the host:
#
#   unshare --mount --pid --fork --kill-child --propagation private \
#     sh enter-root.sh ROOT HOME WORK ETC command…
#
# HOME and WORK are directories of the host; inside they are /home/user and /mnt. ETC is one that is
# /etc/apptainer, or empty for the root's own. All mounts are in the
# private namespace of the caller and end with it. Plain chroot would not do: Apptainer refuses to run
# where "/" is no mount point. The network is the host's, so a server on 127.0.0.1 is reached.
set -eu
root=$1 home=$2 work=$3 etc=$4
shift 4

mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/var/tmp"
# squashfuse, by which an ordinary user runs an image, must be able to open this device.
if [ -e /dev/fuse ]; then
  mount -t tmpfs tmpfs "$root/run"
  mknod -m 666 "$root/run/fuse" c 10 229
  mount --bind "$root/run/fuse" "$root/dev/fuse"
fi
mount --bind "$home" "$root/home/user"
mount --bind "$work" "$root/mnt"
if [ -n "$etc" ]; then mount --bind "$etc" "$root/etc/apptainer"; fi
# The root is shared by everything that runs on this machine: nobody writes to it.
mount -o remount,bind,ro "$root"

cd "$root"
pivot_root . mnt
# The old root now lies over WORK; without it WORK is seen again.
umount -l /mnt
cd /mnt
# Not by exec: --kill-child works through the parent-death signal, which a change of user clears. This
# shell stays as PID 1 of the namespace, dies with unshare, and takes everything in there with it.
status=0
setpriv --reuid=user --regid=user --init-groups "$@" || status=$?
exit "$status"
