/** PostgreSQL: whether it can be reached, is new enough, safe enough, and holds what this Berth knows. */
import { join } from 'node:path'

import { storeStanding } from '../../server/content/store-marker.ts'
import { sql } from '../../server/database.ts'
import type { Database } from '../../server/database.ts'
import { migrationStates } from '../../server/migrate.ts'
import { fault, skipped, warning } from './check.ts'
import type { Check, Finding, Outcome } from './check.ts'
import type { SiteWithDatabase } from './site.ts'

/** Of the server's pool, of those who administrate, and of backups. */
const connectionsNeeded = 30
const oldestVersion = 13
/** By which tokens and capabilities could end too early or too late, and logs do not fit together. */
const skewSeconds = 2

export function unreachable(why: string): Finding {
  return {
    check: 'database-reachable',
    state: 'fault',
    what: why,
    fix: 'Start PostgreSQL, and compare [database] url and its password_file with what it expects (pg_hba.conf, its log).',
  }
}

export const databaseChecks: readonly Check<SiteWithDatabase>[] = [
  {
    name: 'database-reachable',
    fix: 'Start PostgreSQL.',
    run: async ({ database }) => void (await database.query(sql`select 1`)),
  },
  {
    name: 'database-version',
    fix: 'Upgrade PostgreSQL to a release that its makers still mend.',
    run: async ({ database }) =>
      versionOutcome(Number(await setting(database, 'server_version_num'))),
  },
  {
    name: 'database-encoding',
    fix: "Dump, make the database anew with create database … encoding 'UTF8' template template0, and restore.",
    run: async ({ database }) => {
      const encoding = await setting(database, 'server_encoding')
      return encoding === 'UTF8' ? undefined : fault(`its encoding is ${encoding}, not UTF8`)
    },
  },
  {
    name: 'database-extension',
    fix: 'As superuser in the database of Berth: create extension pg_trgm; (Debian: package postgresql-contrib of old releases).',
    run: async ({ database }) => {
      const [row] = await database.query<{ installed: boolean; available: boolean }>(sql`
        select exists (select 1 from pg_extension where extname = 'pg_trgm') as "installed",
          exists (select 1 from pg_available_extensions where name = 'pg_trgm') as "available"`)
      if (row?.installed === true) return undefined
      return fault(
        row?.available === true
          ? 'the extension pg_trgm is not in the database: searches cannot work'
          : 'the extension pg_trgm is not installed on the database host',
      )
    },
  },
  {
    name: 'database-connections',
    fix: `Set max_connections to 60 or more in postgresql.conf and restart PostgreSQL.`,
    run: async ({ database }) => {
      const most = Number(await setting(database, 'max_connections'))
      const reserved = Number(await setting(database, 'superuser_reserved_connections'))
      if (most - reserved >= connectionsNeeded) return undefined
      return fault(`it takes ${most - reserved} connections, and Berth needs ${connectionsNeeded}`)
    },
  },
  durability('database-fsync', 'fsync', 'a power cut can destroy the database'),
  durability(
    'database-full-page-writes',
    'full_page_writes',
    'a power cut can destroy the database',
  ),
  durability(
    'database-synchronous-commit',
    'synchronous_commit',
    'pushes that were acknowledged can be lost in a power cut',
  ),
  {
    name: 'database-clock',
    fix: 'Let chrony or systemd-timesyncd keep the clocks of both hosts.',
    run: async ({ database, host }) => {
      const before = host.now().getTime()
      const [row] = await database.query<{ now: Date }>(sql`select clock_timestamp() as "now"`)
      const middle = (before + host.now().getTime()) / 2
      const skew = ((row?.now.getTime() ?? middle) - middle) / 1000
      if (Math.abs(skew) <= skewSeconds) return undefined
      return fault(
        `its clock is ${Math.abs(skew).toFixed(1)} s ${skew > 0 ? 'ahead of' : 'behind'} this host's`,
      )
    },
  },
  {
    name: 'database-migrations',
    fix: 'Restart Berth: it applies them when it starts (berthctl migrate shows what).',
    run: async ({ database }) => {
      const pending = await inState(database, ['pending'])
      if (pending.length === 0) return undefined
      return fault(`not applied yet: ${pending.join(', ')}`)
    },
  },
  {
    name: 'database-newer',
    fix: 'Install the Berth that wrote the database, or a newer one, or restore the backup from before its upgrade.',
    run: async ({ database }) => {
      const newer = await inState(database, ['too-new'])
      if (newer.length === 0) return undefined
      return fault(`a newer Berth has changed the schema: ${newer.join(', ')}`)
    },
  },
  {
    name: 'database-changed-migration',
    fix: 'Install the released files again: npm ci from the release, nothing edited.',
    run: async ({ database }) => {
      const changed = await inState(database, ['changed'])
      return changed.length === 0
        ? undefined
        : fault(`applied, and other now: ${changed.join(', ')}`)
    },
  },
  {
    name: 'store-marker',
    fix: 'Mount the disk of the images at store/, or restore it. Berth does not start before, and must not be made to.',
    run: async ({ config, database }) => {
      if (!(await hasTable(database, 'store'))) return skipped('the database is empty')
      const standing = await storeStanding(join(config.dataDir, 'store'), database)
      return standing === 'missing'
        ? fault(`store/store.json is not in ${config.dataDir}: is the disk mounted?`)
        : undefined
    },
  },
  {
    name: 'store-foreign',
    fix: 'Put the disk of this site and its database together again: data_dir or [database] url is that of another.',
    run: async ({ config, database }) => {
      if (!(await hasTable(database, 'store'))) return skipped('the database is empty')
      const standing = await storeStanding(join(config.dataDir, 'store'), database)
      return standing === 'foreign'
        ? fault(`the store in ${config.dataDir} does not belong to this database`)
        : undefined
    },
  },
]

/** `number` as in server_version_num: 150008. */
export function versionOutcome(number: number): Outcome {
  const major = Math.floor(number / 10_000)
  if (major < oldestVersion) return fault(`it is PostgreSQL ${major}; Berth needs ${oldestVersion}`)
  if (major === oldestVersion) return warning(`PostgreSQL ${major} gets no corrections any more`)
  return undefined
}

function durability(name: string, key: string, consequence: string): Check<SiteWithDatabase> {
  return {
    name,
    fix: `Set ${key} = on in postgresql.conf, reload, and look who has switched it off.`,
    run: async ({ database }) =>
      (await setting(database, key)) === 'off' ? fault(`${key} is off: ${consequence}`) : undefined,
  }
}

async function setting(database: Database, name: string): Promise<string> {
  const [row] = await database.query<{ value: string }>(
    sql`select current_setting(${name}) as "value"`,
  )
  return row?.value ?? ''
}

async function inState(database: Database, states: readonly string[]): Promise<string[]> {
  const all = await migrationStates(database)
  return all.filter(({ state }) => states.includes(state)).map(({ name }) => name)
}

export async function hasTable(database: Database, name: string): Promise<boolean> {
  const [row] = await database.query<{ there: boolean }>(
    sql`select to_regclass(${name}) is not null as "there"`,
  )
  return row?.there === true
}
