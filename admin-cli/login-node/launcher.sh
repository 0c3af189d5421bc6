#!/bin/sh
# A command of the login nodes: the name of the link through which this is called says which one.
self=$(readlink -f -- "$0")
# What people set for Node programs of their own is not for this one.
unset NODE_OPTIONS NODE_TLS_REJECT_UNAUTHORIZED
# Node trusts a list of its own. The site's certificate may be one that only this host trusts, as
# singularity and apptainer do (Debian's, Red Hat's and SUSE's place).
if [ -z "${NODE_EXTRA_CA_CERTS-}" ]; then
  for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem; do
    if [ -r "$bundle" ]; then
      export NODE_EXTRA_CA_CERTS="$bundle"
      break
    fi
  done
fi
exec "${self%/*/*}/libexec/berth-login-tools" "${0##*/}" "$@"
