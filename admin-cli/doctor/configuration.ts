/** What the configuration says, beyond being well-formed. */
import { statSync } from 'node:fs'

import { fault, warning } from './check.ts'
import type { Check, Finding } from './check.ts'
import { isProduction } from './site.ts'
import type { Site } from './site.ts'

/** Each mistake by itself; nothing else can be looked at then. */
export function configurationFindings(mistakes: readonly string[]): Finding[] {
  return mistakes.map((what) => {
    const isUnknown = what.endsWith(': unknown key')
    return {
      check: isUnknown ? 'configuration-key' : 'configuration-value',
      state: 'fault',
      what,
      fix: isUnknown
        ? 'Take the key out of the file, or correct its spelling; README "Configure" has them all.'
        : 'Correct the value; README "Configure" says what each key takes.',
    }
  })
}

export const configurationChecks: readonly Check<Site>[] = [
  {
    name: 'configuration-permissions',
    fix: 'chown root:berth and chmod 0640 the file: whoever writes it runs Berth as he likes.',
    run: ({ configFile }) => {
      const found = statSync(configFile, { throwIfNoEntry: false })
      if (found === undefined || !found.isFile() || (found.mode & 0o022) === 0) return undefined
      const mode = (found.mode & 0o777).toString(8)
      return fault(`${configFile} can be written by others than its owner (mode 0${mode})`)
    },
  },
  {
    name: 'public-port',
    fix: 'Serve the public address on port 443, with public_url = "https://<name>" without a port.',
    run: ({ config }) => {
      const { port, hostname } = new URL(config.publicUrl)
      if (port === '' || hostname === 'localhost' || hostname === '127.0.0.1') return undefined
      return fault(
        `public_url has the port ${port}: "remote add" of the clients takes no address with a port`,
      )
    },
  },
  {
    name: 'public-tls',
    fix: 'Put nginx with a certificate before Berth (systemd/nginx/berth.conf) and set public_url = "https://…".',
    run: ({ config }) => {
      const { protocol, hostname } = new URL(config.publicUrl)
      const isLocal =
        hostname === 'localhost' || hostname.startsWith('127.') || hostname === '[::1]'
      if (protocol === 'https:' || isLocal) return undefined
      return fault(`public_url is ${config.publicUrl}: passwords and tokens would go in clear`)
    },
  },
  {
    name: 'listen-address',
    fix: 'Listen on loopback or on a unix socket, and let the proxy alone speak to the network.',
    run: (site) => {
      const { listen, tls } = site.config
      if ('path' in listen || tls !== undefined || isLoopback(listen.host)) return undefined
      return warning(
        `listen is ${listen.host}: without TLS, and past the proxy, for all who reach it`,
      )
    },
  },
  {
    name: 'metrics-address',
    fix: 'Set [metrics] listen = "127.0.0.1:9180" or a unix socket: it asks nobody who he is.',
    run: ({ config }) => {
      const { listen } = config.metrics
      if (listen === undefined || 'path' in listen || isLoopback(listen.host)) return undefined
      return warning(`the figures of /metrics are open to all who reach ${listen.host}`)
    },
  },
  {
    name: 'anonymous-pull',
    fix: 'Set [access] anonymous_pull = false, or make groups.allowed empty, whichever is meant.',
    run: ({ config }) => {
      const { groups, access } = config
      if (groups.allowed.length === 0 || !access.anonymousPull) return undefined
      return warning(
        'only members of groups.allowed may sign in, but whoever reaches the address may pull without signing in',
      )
    },
  },
  {
    name: 'embedded-database',
    fix: 'Use a PostgreSQL of the system, with backups and updates of its own: [database] url = "postgres://…".',
    run: (site) => {
      if (site.config.database !== undefined || !isProduction(site)) return undefined
      return warning(
        'a site that people reach by its name keeps its rows in the embedded PostgreSQL',
      )
    },
  },
  {
    name: 'disk-reserve-setting',
    fix: 'Set [storage] keep_free, 1 GiB or more.',
    run: ({ config }) =>
      config.storage.keepFreeBytes === 0
        ? warning('storage.keep_free is 0: pushes may fill the disk to its last byte')
        : undefined,
  },
]

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.')
}
