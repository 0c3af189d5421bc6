import { statSync } from 'node:fs'

import { openAppliance } from '../server/appliance.ts'
import type { Appliance } from '../server/appliance.ts'
import { readConfig } from '../server/config.ts'
import type { Config } from '../server/config.ts'
import { openDatabaseServer } from '../server/database-server.ts'
import { openDatabase } from '../server/database.ts'
import type { Database } from '../server/database.ts'
import { createLog } from '../server/log.ts'
import { CommandError } from './exit.ts'

/** The server's configuration, after a look at the data directory that it names. */
export function configOfServer(): Config {
  const config = readConfig()
  const owner = statSync(config.dataDir, { throwIfNoEntry: false })?.uid
  if (owner === undefined) {
    // Making a new one here would look like success to whoever forgot where the server keeps it.
    throw new CommandError(
      `There is no Berth in ${config.dataDir}: run this where the server runs, or set BERTH_DATA_DIR.`,
    )
  }
  if (owner !== process.getuid?.()) {
    // What another account makes in there, root above all, the server could not read afterwards.
    throw new CommandError(
      `${config.dataDir} belongs to the account with the uid ${owner}: run this as that account, for example with sudo -u '#${owner}'.`,
    )
  }
  return config
}

/**
 * Opens what the server opens, without HTTP, and closes it again. An embedded database that runs is
 * joined; one that does not is started for the moment.
 */
export async function withAppliance(
  config: Config,
  work: (appliance: Appliance) => Promise<void>,
): Promise<void> {
  const interrupted = interruption()
  // Silent, because log lines go to standard output, which holds results here; what goes wrong is thrown.
  const appliance = await openAppliance(config, createLog('silent'))
  try {
    await Promise.race([interrupted, work(appliance)])
  } finally {
    await appliance.close()
  }
}

/** The database alone, at whatever schema it is: opening everything would migrate it. */
export async function withDatabase(
  config: Config,
  work: (database: Database) => Promise<void>,
): Promise<void> {
  const interrupted = interruption()
  const log = createLog('silent')
  const server = await openDatabaseServer(config, log)
  try {
    const database = openDatabase(server.address, log)
    try {
      await Promise.race([interrupted, work(database)])
    } finally {
      await database.close()
    }
  } finally {
    await server.leave()
  }
}

/**
 * Rejects at a signal. An end without close() would leave the embedded PostgreSQL behind, so a signal
 * waits even while the appliance is still being opened.
 */
function interruption(): Promise<never> {
  const interrupted = new Promise<never>((_resolve, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
      process.on(signal, () => reject(new CommandError('Interrupted.')))
    }
  })
  interrupted.catch(() => {}) // nobody may be waiting yet
  return interrupted
}
