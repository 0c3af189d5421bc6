/**
 * Applies server/migrations/NNNN-name.sql in order, each once, under an advisory lock, so that two
 * processes may start at the same time. A released file is never edited; its checksum is kept to
 * notice when that happens.
 *
 * There is no way down: a migration whose first line is `-- expand` only adds, in such a way that the
 * release before runs on it. A database that knows more migrations than this program is taken when
 * all of them say so, which is how one goes back to the release before; else it is refused. A release
 * from before this rule knows it not: `stepBack` puts such rows aside for it, and the next start of a
 * newer program takes them up again.
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
  /** The release before runs on it. */
  readonly expands: boolean
}

interface AppliedRow {
  readonly name: string
  readonly checksum: string
  readonly appliedAt: Date
  readonly expands: boolean
}

export interface MigrationState {
  readonly name: string
  readonly state:
    | 'applied'
    | 'pending'
    /** Applied, but the file is another now. */
    | 'changed'
    /** Of a newer Berth: this one runs on it. */
    | 'ahead'
    /** Of a newer Berth: this one must not run on it. */
    | 'too-new'
  readonly expands: boolean
  readonly checksum: string
  readonly appliedAt: Date | null
}

export const migrationsDirectory: string = join(packageRoot, 'server/migrations')

export interface MigrateOptions {
  /** For tests of the way up. */
  readonly directory?: string
  /** Only these names, which must be the first ones: for a dump of an older schema. */
  readonly only?: readonly string[]
}

/** Returns the names of those that it applied. */
export async function migrate(
  database: Database,
  options: MigrateOptions = {},
): Promise<readonly string[]> {
  const all = await readMigrations(options.directory ?? migrationsDirectory)
  const { only } = options
  const migrations = only === undefined ? all : all.filter(({ name }) => only.includes(name))
  return await database.transaction(async (tx) => {
    await lockMigrations(tx)
    await prepare(tx)
    await tx.query(sql`
      with back as (delete from migrations_aside returning name, checksum, applied_at, expands)
      insert into migrations (name, checksum, applied_at, expands) select * from back`)
    const states = compare(await listApplied(tx), migrations)
    refuse(states)
    const pending = new Set(
      states.filter(({ state }) => state === 'pending').map((one) => one.name),
    )
    const added: string[] = []
    for (const migration of migrations) {
      if (!pending.has(migration.name)) continue
      await apply(tx, migration)
      added.push(migration.name)
    }
    return added
  })
}

/** What is applied and what is not; changes nothing, and works on an empty database. */
export async function migrationStates(
  db: Db,
  directory = migrationsDirectory,
): Promise<readonly MigrationState[]> {
  return compare(await listApplied(db), await readMigrations(directory))
}

/** Throws the Failure with which a start would be refused. */
export function refuse(states: readonly MigrationState[]): void {
  const newer = states.filter(({ state }) => state === 'too-new').map(({ name }) => name)
  if (newer.length > 0) {
    throw new Failure(
      'conflict',
      'database',
      `The database was written by a newer Berth (${newer.join(', ')}): install that version or a newer one, or restore the backup from before its upgrade.`,
    )
  }
  const changed = states.find(({ state }) => state === 'changed')
  if (changed !== undefined) {
    throw new Failure(
      'conflict',
      'database',
      `Migration ${changed.name} differs from the one that this database was made with.`,
    )
  }
}

/**
 * For a release whose last migration is `last`, and that refuses every name that it does not know:
 * puts the later rows aside. Failure `conflict` when one of them does more than add.
 */
export async function stepBack(
  database: Database,
  last: string,
  directory = migrationsDirectory,
): Promise<readonly string[]> {
  return await database.transaction(async (tx) => {
    await lockMigrations(tx)
    await prepare(tx)
    const states = compare(await listApplied(tx), await readMigrations(directory))
    refuse(states)
    const applied = states.filter(({ state }) => state !== 'pending')
    if (!applied.some(({ name }) => name === last)) {
      throw new Failure('not-found', 'database', `No migration ${last} is applied here.`)
    }
    const later = applied.filter(({ name }) => name > last)
    const hard = later.filter(({ expands }) => !expands).map(({ name }) => name)
    if (hard.length > 0) {
      throw new Failure(
        'conflict',
        'database',
        `Older programs cannot run on ${hard.join(', ')}: restore the backup from before the upgrade.`,
      )
    }
    const names = later.map(({ name }) => name)
    await tx.query(sql`
      with back as (delete from migrations where name = any(${names})
        returning name, checksum, applied_at, expands)
      insert into migrations_aside (name, checksum, applied_at, expands) select * from back`)
    return names
  })
}

async function lockMigrations(tx: Db): Promise<void> {
  // One lock for all starts; it ends with the transaction. The number is arbitrary but fixed.
  await tx.query(sql`select pg_advisory_xact_lock(5080)`)
}

async function prepare(tx: Db): Promise<void> {
  await tx.query(sql`
    create table if not exists migrations (
      name text primary key,
      checksum text not null,
      applied_at timestamptz not null default now()
    )`)
  await tx.query(
    sql`alter table migrations add column if not exists expands boolean not null default false`,
  )
  await tx.query(sql`create table if not exists migrations_aside (like migrations including all)`)
}

async function listApplied(db: Db): Promise<AppliedRow[]> {
  const [table] = await db.query<{ there: boolean; expands: boolean }>(sql`
    select to_regclass('migrations') is not null as "there",
      exists (select 1 from information_schema.columns where table_schema = current_schema()
        and table_name = 'migrations' and column_name = 'expands') as "expands"`)
  if (table?.there !== true) return []
  if (!table.expands) {
    return await db.query<AppliedRow>(sql`
      select name, checksum, applied_at as "appliedAt", false as "expands"
      from migrations order by name`)
  }
  return await db.query<AppliedRow>(sql`
    select name, checksum, applied_at as "appliedAt", expands from migrations
    union all
    select name, checksum, applied_at, expands from migrations_aside
    order by name`)
}

function compare(
  applied: readonly AppliedRow[],
  migrations: readonly Migration[],
): readonly MigrationState[] {
  const rows = new Map(applied.map((row) => [row.name, row]))
  const ours = migrations.map(({ name, checksum, expands }): MigrationState => {
    const row = rows.get(name)
    const state = row === undefined ? 'pending' : row.checksum === checksum ? 'applied' : 'changed'
    return { name, state, expands, checksum, appliedAt: row?.appliedAt ?? null }
  })
  const known = new Set(ours.map(({ name }) => name))
  const newer = applied
    .filter(({ name }) => !known.has(name))
    .map((row): MigrationState => ({ ...row, state: row.expands ? 'ahead' : 'too-new' }))
  return [...ours, ...newer]
}

async function apply(tx: Db, migration: Migration): Promise<void> {
  await tx.query({ text: migration.text, values: [] })
  await tx.query(
    sql`insert into migrations (name, checksum, expands)
      values (${migration.name}, ${migration.checksum}, ${migration.expands})`,
  )
}

async function readMigrations(directory: string): Promise<Migration[]> {
  const names = (await readdir(directory)).filter((name) => /^\d{4}-[a-z0-9-]+\.sql$/.test(name))
  return await Promise.all(
    names.sort().map(async (name) => {
      const text = await readFile(join(directory, name), 'utf8')
      const checksum = createHash('sha256').update(text).digest('hex')
      return { name, text, checksum, expands: /^-- expand\s*$/.test(text.split('\n', 1)[0] ?? '') }
    }),
  )
}
