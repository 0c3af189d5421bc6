/** All checks of a site. Nothing is changed: what is missing is not made, what is old is not migrated. */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

import { parse as parseToml } from 'smol-toml'

import { ConfigError, configFile, readConfig } from '../../server/config.ts'
import type { Config } from '../../server/config.ts'
import { openDatabaseServer } from '../../server/database-server.ts'
import { openDatabase } from '../../server/database.ts'
import type { Database } from '../../server/database.ts'
import { createLog } from '../../server/log.ts'
import { builderChecks } from './builder.ts'
import { messageOf, runChecks, skipAll } from './check.ts'
import type { Finding } from './check.ts'
import { configurationChecks, configurationFindings } from './configuration.ts'
import { databaseChecks, unreachable } from './database.ts'
import { askDirectory, directoryChecks } from './directory.ts'
import { dataChecks, diskChecks, secretChecks } from './files.ts'
import { hostChecks } from './host.ts'
import { proxyChecks, reachProxy } from './proxy.ts'
import { publicChecks, visitPublicAddress } from './public-address.ts'
import { readHost } from './site.ts'
import type { Host, Site } from './site.ts'
import { upkeepChecks } from './upkeep.ts'

export interface ExamineOptions {
  readonly holdSeconds: number
  /** Ten seconds by default. */
  readonly patienceMs?: number
  readonly ca?: string | undefined
  readonly env?: NodeJS.ProcessEnv
  /** Other facts of the host than those that are found. */
  readonly host?: Partial<Host>
}

export async function examine(options: ExamineOptions): Promise<Finding[]> {
  const file = configFile(options.env)
  let config: Config
  try {
    config = readConfig(options.env)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return configurationFindings(error.mistakes)
  }
  const site: Site = {
    config,
    settings: existsSync(file) ? parseToml(readFileSync(file, 'utf8')) : {},
    configFile: file,
    host: { ...readHost(), ...options.host },
    holdSeconds: options.holdSeconds,
    patienceMs: options.patienceMs ?? 10_000,
    ca: options.ca,
  }
  const found = await Promise.all([
    runChecks(
      [...configurationChecks, ...dataChecks, ...secretChecks, ...diskChecks, ...hostChecks],
      site,
    ),
    examineDatabase(site),
    askDirectory(site).then(async (subject) => await runChecks(directoryChecks, subject)),
    visitPublicAddress(site).then(async (subject) => await runChecks(publicChecks, subject)),
    reachProxy(site).then(async (subject) => await runChecks(proxyChecks, subject)),
    runChecks(builderChecks, site),
  ])
  return found.flat()
}

async function examineDatabase(site: Site): Promise<Finding[]> {
  const checks = [...databaseChecks, ...upkeepChecks]
  const why = whyNotOpened(site.config)
  if (why !== undefined) return skipAll(checks, why)
  const log = createLog('silent')
  let leave = async (): Promise<void> => {}
  let database: Database | undefined
  try {
    const opened = await openDatabaseServer(site.config, log)
    leave = opened.leave
    database = openDatabase(opened.address, log)
    const [first] = await runChecks(databaseChecks.slice(0, 1), { ...site, database })
    if (first?.state !== 'ok') {
      return [
        unreachable(first?.what ?? ''),
        ...skipAll(checks.slice(1), 'the database does not answer'),
      ]
    }
    return await runChecks(checks, { ...site, database })
  } catch (error) {
    return [
      unreachable(messageOf(error)),
      ...skipAll(checks.slice(1), 'the database does not answer'),
    ]
  } finally {
    await database?.close()
    await leave()
  }
}

/** The embedded server is started for the moment, but never made, and never by another account. */
function whyNotOpened({ database, dataDir }: Config): string | undefined {
  if (database !== undefined) return undefined
  const cluster = statSync(join(dataDir, 'postgres/cluster'), { throwIfNoEntry: false })
  if (cluster === undefined) return 'there is no embedded database yet'
  const owner = statSync(dataDir).uid
  return owner === process.getuid?.() ? undefined : 'the data directory is another account’s'
}
