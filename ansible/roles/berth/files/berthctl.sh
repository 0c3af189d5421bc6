#!/bin/sh
# berthctl for root: as the server's account and with the server's secrets, which systemd hands to it
# as it does to the server, so that they stay where nobody but root can read them.
set -eu
[ "$(id -u)" -eq 0 ] || exec /opt/berth/bin/berthctl "$@"
how=--pipe
if [ -t 0 ] && [ -t 1 ]; then how=--pty; fi
exec systemd-run --quiet --collect --wait "$how" \
  --property=User=berth --property=Group=berth --property=UMask=0077 \
  --property=WorkingDirectory=/var/lib/berth --property=LoadCredential=berth:/etc/berth/secrets \
  --setenv=BERTH_CONFIG=/etc/berth/berth.toml --setenv=SUDO_USER="${SUDO_USER-}" \
  --setenv=TERM="${TERM-dumb}" --setenv=LANG="${LANG-C.UTF-8}" \
  /opt/berth/bin/berthctl "$@"
