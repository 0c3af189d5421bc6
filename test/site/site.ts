/** The hosts of the site: their names, their network, and the machine that administers them. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'

import { must } from './commands.ts'
import { bootHost } from './host.ts'
import type { Host } from './host.ts'
import type { NodeArchive } from './node-archive.ts'

/** What the outside has made; it goes into the box as JSON. */
export interface Materials {
  /** Everything of this run, which is removed afterwards. */
  readonly directory: string
  readonly box: string
  /** Of .ci/site-images: what the directory and the login node are made of. */
  readonly images: string
  readonly appliance: ApplianceMaterials
  /** The directory of Ansible's commands. */
  readonly ansible: string
  readonly loginTools: string
  /** Archives of the release to install and of the next one. */
  readonly releases: readonly [string, string]
}

interface ApplianceMaterials {
  readonly suite: Suite
  /** Of .ci/site-images, for that suite. */
  readonly images: string
  /** Where the suite's own Node is too old. */
  readonly node?: NodeArchive
}

/** Debian 13 has all that an appliance needs; Debian 12 neither a Node nor an Apptainer that do. */
export const suites = ['trixie', 'bookworm'] as const
export type Suite = (typeof suites)[number]

export const hostNames = {
  appliance: 'scs.site.test',
  directory: 'ldap.site.test',
  login: 'es1.site.test',
} as const

type HostName = keyof typeof hostNames

const addresses: Readonly<Record<HostName, string>> = {
  appliance: '10.77.0.11',
  directory: '10.77.0.12',
  login: '10.77.0.13',
}

export interface Site {
  readonly materials: Materials
  readonly hosts: Readonly<Record<HostName, Host>>
  /** The private key with which root of every host lets in. */
  readonly key: string
}

/** Boots all hosts at the same time. The network's own namespace is that of this process. */
export async function openSite(materials: Materials): Promise<Site> {
  await openNetwork()
  const key = join(materials.directory, 'key')
  await must('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'site', '-f', key])
  const names = Object.keys(hostNames) as HostName[]
  const hostsFile = [
    '127.0.0.1 localhost',
    ...names.map(
      (name) => `${addresses[name]} ${hostNames[name]} ${hostNames[name].split('.')[0]}`,
    ),
    '',
  ].join('\n')
  const booted = await Promise.all(
    names.map(
      async (name) =>
        await bootHost({
          materials,
          images: name === 'appliance' ? materials.appliance.images : materials.images,
          key,
          hostsFile,
          name: hostNames[name],
          address: addresses[name],
          // The clients look into images through it, on hosts where people run them.
          devices: name === 'login' ? ['/dev/fuse'] : [],
        }),
    ),
  )
  const [appliance, directory, login] = booted
  if (!appliance || !directory || !login) throw new Error('A host is missing.')
  return { materials, key, hosts: { appliance, directory, login } }
}

/** One cable for all. `ip netns` keeps its names in /run, of which the box gets a directory of its own. */
async function openNetwork(): Promise<void> {
  mkdirSync('/run/netns', { recursive: true })
  await must('mount', ['-t', 'tmpfs', 'tmpfs', '/run/netns'])
  await must('ip', ['link', 'set', 'lo', 'up'])
  await must('ip', ['link', 'add', 'site', 'type', 'bridge'])
  await must('ip', ['address', 'add', '10.77.0.1/24', 'dev', 'site'])
  await must('ip', ['link', 'set', 'site', 'up'])
}
