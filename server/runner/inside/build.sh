# What the build is to be proves its walls here, before anything of the person's has run: exactly
# where the build will be, with exactly what it will have. Then it becomes the build.
set -eu

# No name or content here is secret: they are canaries, and must not be found.
hold() {
  echo "$*" >&4
  exit 97
}
[ ! -e "$(cat /.berth/canary)" ] || hold 'a file of the host is seen'
for path in /root /home /etc/shadow /var/lib/berth /run/systemd /sys/kernel; do
  [ ! -e "$path" ] || hold "$path of the host is seen"
done
for directory in / /usr /etc /dev /.berth; do
  if (: >"$directory/berth-test") 2>/dev/null; then hold "$directory can be written"; fi
  if mount -o remount,bind,rw "$directory" 2>/dev/null; then hold "$directory can be mounted anew"; fi
done
if mknod /build/device b 7 0 2>/dev/null; then hold 'a device can be made'; fi
if env | grep -v -E '^(PATH|HOME|PWD|OLDPWD|SHLVL|_|LC_ALL|APPTAINER_[A-Z]+|SINGULARITY_[A-Z]+|https?_proxy|HTTPS?_PROXY|no_proxy|NO_PROXY)=' >/build/tmp/check; then
  hold 'the environment is not empty'
fi
if cat /proc/[0-9]*/environ 2>/dev/null | grep -q berth-canary; then
  hold 'the environment of the runner is seen'
fi
[ $$ = 1 ] || hold 'processes of the host are seen'
# shellcheck disable=SC2012 # numbers
[ "$(ls -d /proc/[0-9]* | wc -l)" -lt 12 ] || hold 'more processes are seen than this sandbox has'
for descriptor in /proc/$$/fd/*; do
  case ${descriptor##*/} in
    0 | 1 | 2 | 4) ;;
    *)
      # The one in which the shell reads this script is closed on exec; another was open for the list.
      [ ! -h "$descriptor" ] || [ "$(readlink "$descriptor")" = /.berth/build ] ||
        hold "descriptor ${descriptor##*/} was inherited"
      ;;
  esac
done
grep -q '^NoNewPrivs:[[:space:]]*1' /proc/self/status || hold 'privileges can be gained'
grep -q '^Seccomp:[[:space:]]*2' /proc/self/status || hold 'system calls are not filtered'
if grep -v -E '^ *(lo:|Inter-|face)' /proc/net/dev >/build/tmp/check; then
  hold 'there is a network interface'
fi
rm /build/tmp/check

mount --bind /build/tmp /tmp
mount --bind /build/var-tmp /var/tmp
echo 'the walls hold' >&4
exec 4>&-
if [ -e /.berth/with-context ]; then
  tar --extract --gzip --no-same-owner --directory /build/context ||
    { echo 'The build context cannot be unpacked.' >&2; exit 1; }
fi
# As a child, because the first process of a namespace has orphans to bury.
sh /.berth/command </dev/null &
status=0
wait $! || status=$?
exit "$status"
