/** The PostgreSQL that the configuration names: the site's own, or the embedded one. */
import { join } from 'node:path'

import type { Config } from './config.ts'
import type { DatabaseAddress } from './database.ts'
import { openEmbeddedPostgres } from './embedded-postgres.ts'
import type { Log } from './log.ts'

export interface DatabaseServer {
  readonly address: DatabaseAddress
  /** Ends this process' use of it. */
  readonly leave: () => Promise<void>
}

export async function openDatabaseServer(config: Config, log: Log): Promise<DatabaseServer> {
  if (config.database === undefined) {
    return await openEmbeddedPostgres(join(config.dataDir, 'postgres'), log)
  }
  const { url, password } = config.database
  const address = password === undefined ? { url } : { url, password: password.reveal() }
  return { address, leave: async () => {} }
}
