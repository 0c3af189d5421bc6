#!/bin/sh
# berthctl for root: as the server's account and with the server's secrets, which systemd hands to it
# as it does to the server, so that they stay where nobody but root can read them.
set -eu
[ "$(id -u)" -eq 0 ] || exec /opt/berth/bin/berthctl "$@"
# The audit log names whoever typed it: the account of the session outlives sudo and su.
session=$(cat /proc/self/loginuid 2>/dev/null || echo 4294967295)
who=$(getent passwd "$session" | cut -d: -f1)
[ -n "$who" ] || who=${SUDO_USER:-root}
how=--pipe
if [ -t 0 ] && [ -t 1 ]; then how=--pty; fi
exec systemd-run --quiet --collect --wait "$how" \
  --property=User=berth --property=Group=berth --property=UMask=0077 \
  --property=WorkingDirectory=/var/lib/berth --property=LoadCredential=berth:/etc/berth/secrets \
  --setenv=BERTH_CONFIG=/etc/berth/berth.toml --setenv=SUDO_USER="$who" \
  --setenv=TERM="${TERM-dumb}" --setenv=LANG="${LANG-C.UTF-8}" \
  /opt/berth/bin/berthctl "$@"
