/** The directory host: Debian's slapd with the people of the tests, reached by TLS only. */
import { readFileSync, writeFileSync, copyFileSync } from 'node:fs'
import { join } from 'node:path'

import { CertificateAuthority } from '../support/certificate-authority.ts'
import { slapdConfig } from '../support/slapd-config.ts'
import { siteTree } from '../support/slapd-people.ts'
import { hostNames } from './site.ts'
import type { Site } from './site.ts'

const home = '/etc/ldap/site'

/** Leaves the certificate of the site's authority in the run's directory, as authority.pem. */
export async function openDirectory(site: Site): Promise<void> {
  const { directory } = site.materials
  const host = site.hosts.directory
  await host.must(
    'apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends slapd ldap-utils >/dev/null && systemctl stop slapd',
    { seconds: 180 },
  )
  const authority = new CertificateAuthority(directory)
  copyFileSync(authority.caFile, join(directory, 'authority.pem'))
  const { certificateFile, keyFile } = authority.issue('slapd', `DNS:${hostNames.directory}`)
  const config = slapdConfig({
    directory: '/var/lib/ldap/site',
    caFile: `${home}/authority.pem`,
    certificate: { certificateFile: `${home}/slapd.pem`, keyFile: `${home}/slapd.key` },
  })
  await host.must(
    `mkdir -p ${home} /var/lib/ldap/site/db1 /var/lib/ldap/site/db2 /var/lib/ldap/site/db3`,
  )
  const put = (name: string, text: string): void => writeFileSync(join(host.root, home, name), text)
  put('authority.pem', readFileSync(authority.caFile, 'utf8'))
  put('slapd.pem', readFileSync(certificateFile, 'utf8'))
  put('slapd.key', readFileSync(keyFile, 'utf8'))
  put('config.ldif', config)
  put('people.ldif', siteTree)
  await host.must(
    [
      'rm -rf /etc/ldap/slapd.d/*',
      `slapadd -n 0 -F /etc/ldap/slapd.d -l ${home}/config.ldif`,
      `slapadd -n 1 -F /etc/ldap/slapd.d -l ${home}/people.ldif`,
      `chown -R openldap:openldap /etc/ldap/slapd.d /var/lib/ldap ${home}`,
      `sed -i 's#^SLAPD_SERVICES=.*#SLAPD_SERVICES="ldaps:///"#' /etc/default/slapd`,
      'systemctl start slapd',
    ].join(' && '),
  )
}
