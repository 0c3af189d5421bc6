/** What /readyz looks at: the database, its schema, the store's marker, the disk, the directory. */
import { statfs } from 'node:fs/promises'
import { join } from 'node:path'

import type { Config } from './config.ts'
import { storeStanding } from './content/store-marker.ts'
import { sql } from './database.ts'
import type { Database } from './database.ts'
import { probeDirectory } from './directory/probe.ts'
import type { HealthCheck } from './health.ts'
import type { Log } from './log.ts'
import { migrationStates } from './migrate.ts'

/** How often a directory is asked on behalf of those who look, at most. */
const directoryMs = 30_000

export function healthChecks(config: Config, database: Database, log: Log): readonly HealthCheck[] {
  const store = join(config.dataDir, 'store')
  const { directory } = config
  return [
    {
      name: 'database',
      isVital: true,
      look: async () => await database.query(sql`select 1`),
    },
    {
      name: 'migrations',
      isVital: true,
      look: async () => {
        const states = await migrationStates(database)
        const wrong = states.filter(({ state }) => state !== 'applied' && state !== 'ahead')
        if (wrong.length > 0) throw new Error(wrong.map(({ name }) => name).join(', '))
      },
    },
    {
      name: 'store',
      isVital: true,
      look: async () => {
        const standing = await storeStanding(store, database)
        if (standing !== 'ours') throw new Error(`the marker of the store is ${standing}`)
      },
    },
    {
      name: 'space',
      isVital: true,
      look: async () => {
        const { bavail, bsize } = await statfs(store)
        if (bavail * bsize < config.storage.keepFreeBytes) throw new Error('below the reserve')
      },
    },
    ...(directory === undefined
      ? []
      : [
          {
            // Whoever has a token works on, and local accounts sign in.
            name: 'directory',
            isVital: false,
            look: remembered(directoryMs, async () => await probeDirectory(directory, log)),
          },
        ]),
  ]
}

/** The last answer, good or bad, for so long; one question at a time. */
function remembered(ms: number, ask: () => Promise<void>): () => Promise<void> {
  let last: { readonly at: number; readonly answer: Promise<void> } | undefined
  return async () => {
    if (last === undefined || performance.now() - last.at > ms) {
      last = { at: performance.now(), answer: ask() }
    }
    await last.answer
  }
}
