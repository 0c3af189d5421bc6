/** What this site sets of the role `berth`. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

import { trees } from '../support/slapd-config.ts'
import { servicePassword, serviceDn } from '../support/slapd-people.ts'
import { hostNames } from './site.ts'
import type { Site } from './site.ts'

export function applianceVariables(site: Site): Readonly<Record<string, unknown>> {
  const { materials } = site
  const { node } = materials.appliance
  return {
    berth_host_name: hostNames.appliance,
    berth_site_name: 'Example',
    berth_release: materials.releases[0],
    berth_database: 'host',
    berth_files: [
      { src: join(materials.directory, 'authority.pem'), dest: '/etc/berth/site-ca.pem' },
    ],
    berth_directory: {
      provider: 'ldap',
      preset: 'openldap',
      servers: [`ldaps://${hostNames.directory}`],
      ca_file: '/etc/berth/site-ca.pem',
      bind_dn: serviceDn(trees.site),
      base: `ou=people,${trees.site}`,
    },
    berth_secrets: { 'directory.bind_password_file': servicePassword },
    berth_firewall: 'nftables',
    ...(node === undefined
      ? {}
      : {
          berth_node_source: 'archive',
          berth_node_archive: node.path,
          berth_node_sha256: node.sha256,
        }),
    ...(canBuild(site) ? builderVariables(site) : {}),
  }
}

/** Whether builds run on the appliance: there is no Apptainer that can be installed on Debian 12. */
export function canBuild({ materials }: Site): boolean {
  return materials.appliance.suite !== 'bookworm'
}

function builderVariables({ materials }: Site): Readonly<Record<string, unknown>> {
  const packages = join(materials.appliance.images, 'packages')
  const apptainer = readdirSync(packages).find((name) => name.startsWith('apptainer_'))
  if (apptainer === undefined) throw new Error(`There is no Apptainer in ${packages}.`)
  return {
    berth_builder_host: true,
    berth_apptainer_package: join(packages, apptainer),
    // The control groups of a host that is a container have no memory to hand out.
    berth_builder_host_settings: { limiter: 'prlimit', scratch_dir: '/var/lib/berth-builder' },
    berth_builder: { enabled: true, memory: '1 GiB', scratch: '1 GiB' },
  }
}
