# Runs first in the sandbox, as its root, and starts the build one user namespace further in: there the
# mounts are locked, and the build does not see this shell, which alone has the door for the image.
# Its own PID namespace is also what lets debootstrap and the like mount a /proc.
#
#   supervise NUMBER-OF-UIDS LIMITS-OF-PRLIMIT…
#
# 0 the context, a tar.gz or nothing   1, 2 the output   3 the image   4 "the walls hold"
set -eu
uids=$1
shift

mkdir -p /build/context /build/home /build/tmp /build/var-tmp /build/cache
chmod 1777 /build/tmp /build/var-tmp
if [ "$uids" -gt 1 ]; then
  map="--map-users 0,0,$uids --map-groups 0,0,$uids --setuid 0 --setgid 0"
else
  map=--map-root-user
fi
# shellcheck disable=SC2086 # words
prlimit "$@" unshare --user --mount --propagation unchanged --pid --fork --kill-child --mount-proc \
  $map sh /.berth/build 3>&-
if [ ! -e /build/image.sif ] && [ ! -h /build/image.sif ]; then exit 0; fi
if [ -h /build/image.sif ] || [ ! -f /build/image.sif ]; then
  echo 'The result of the build is not a regular file.' >&2
  exit 1
fi
cat /build/image.sif >&3
