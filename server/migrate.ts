/**
 * Applies server/migrations/NNNN-name.sql in order, each once, under an advisory lock, so that two
 * processes may start at the same time. A database that knows more migrations than this program is
 * refused: an old program must not write into a newer schema. A released file is never edited; its
 * checksum is kept to notice when that happens.
 */
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { sql } from './database.ts'
import type { Database, Db } from './database.ts'
import { Failure } from './failure.ts'
import { packageRoot } from './package-root.ts'

interface Migration {
  readonly name: string
  readonly text: string
  readonly checksum: string
}

/** Returns the names of those that it applied; `directory` is for tests of the way up. */
export async function migrate(
  database: Database,
  directory = join(packageRoot, 'server/migrations'),
): Promise<readonly string[]> {
  const migrations = await readMigrations(directory)
  return await database.transaction(async (tx) => {
    // One lock for all starts; it ends with the transaction. The number is arbitrary but fixed.
    await tx.query(sql`select pg_advisory_xact_lock(5080)`)
    await tx.query(sql`
      create table if not exists migrations (
        name text primary key,
        checksum text not null,
        applied_at timestamptz not null default now()
      )`)
    const applied = await tx.query<{ name: string; checksum: string }>(
      sql`select name, checksum from migrations order by name`,
    )
    refuseNewerSchema(applied, migrations)
    const known = new Map(applied.map((row) => [row.name, row.checksum]))
    const added: string[] = []
    for (const migration of migrations) {
      const checksum = known.get(migration.name)
      if (checksum === undefined) {
        await apply(tx, migration)
        added.push(migration.name)
      } else if (checksum !== migration.checksum) {
        throw new Failure(
          'conflict',
          'database',
          `Migration ${migration.name} differs from the one that this database was made with.`,
        )
      }
    }
    return added
  })
}

export interface MigrationState {
  readonly name: string
  /** `changed`: applied, but the file is another now. `ahead` and `too-new`: of a newer Berth. */
  readonly state: 'applied' | 'pending' | 'changed' | 'ahead' | 'too-new'
}

/** What is applied and what is not; changes nothing, and works on an empty database. */
export async function migrationStates(
  db: Db,
  directory = join(packageRoot, 'server/migrations'),
): Promise<readonly MigrationState[]> {
  const [table] = await db.query<{ there: boolean }>(
    sql`select to_regclass('migrations') is not null as "there"`,
  )
  const rows =
    table?.there === true
      ? await db.query<{ name: string; checksum: string }>(
          sql`select name, checksum from migrations order by name`,
        )
      : []
  const applied = new Map(rows.map(({ name, checksum }) => [name, checksum]))
  const ours = await readMigrations(directory)
  const known = new Set(ours.map(({ name }) => name))
  return [
    ...ours.map(({ name, checksum }): MigrationState => {
      const found = applied.get(name)
      if (found === undefined) return { name, state: 'pending' }
      return { name, state: found === checksum ? 'applied' : 'changed' }
    }),
    ...rows
      .filter(({ name }) => !known.has(name))
      .map(({ name }): MigrationState => ({ name, state: 'too-new' })),
  ]
}

async function apply(tx: Db, migration: Migration): Promise<void> {
  await tx.query({ text: migration.text, values: [] })
  await tx.query(
    sql`insert into migrations (name, checksum) values (${migration.name}, ${migration.checksum})`,
  )
}

function refuseNewerSchema(
  applied: readonly { name: string }[],
  migrations: readonly Migration[],
): void {
  const ours = new Set(migrations.map((migration) => migration.name))
  const unknown = applied.filter((row) => !ours.has(row.name)).map((row) => row.name)
  if (unknown.length === 0) return
  throw new Failure(
    'conflict',
    'database',
    `The database was written by a newer Berth (${unknown.join(', ')}): install that version or a newer one.`,
  )
}

async function readMigrations(directory: string): Promise<Migration[]> {
  const names = (await readdir(directory)).filter((name) => /^\d{4}-[a-z0-9-]+\.sql$/.test(name))
  return await Promise.all(
    names.sort().map(async (name) => {
      const text = await readFile(join(directory, name), 'utf8')
      return { name, text, checksum: createHash('sha256').update(text).digest('hex') }
    }),
  )
}
