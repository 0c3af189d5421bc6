/**
 * The whole database as plain files, and back. Made with COPY, so that it works alike for the
 * embedded PostgreSQL, which comes without pg_dump, and for a site's own, whose version differs:
 *
 *   schema.sql            the migrations that the database was made with, word for word
 *   tables/<name>.copy    the rows: PostgreSQL's text form of COPY, one line a row, \N for null
 *   dump.json             the tables with their columns, the sequences, the migrations
 *   load.sql              for psql: makes an empty database out of these files, without Berth
 *
 * All tables are read in one transaction (repeatable read), so that they are of one moment. Loading
 * takes the foreign keys off, fills the tables in any order and puts the keys on again, which checks
 * every row; it is one transaction, and needs no rights but those of the owner.
 */
import { createReadStream } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'

import pg from 'pg'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'
import { z } from 'zod'

import { clientConfig } from './database.ts'
import type { DatabaseAddress, Db, Statement } from './database.ts'
import { writeDurably } from './durable-file.ts'
import type { WrittenFile } from './durable-file.ts'
import { Failure } from './failure.ts'

const dumpSchema = z.object({
  format: z.literal(1),
  /** Of PostgreSQL, for people. */
  server: z.string(),
  migrations: z.array(z.object({ name: z.string(), checksum: z.string() })),
  tables: z.array(
    z.object({ name: z.string(), columns: z.array(z.string()), rows: z.number().int() }),
  ),
  sequences: z.array(z.object({ name: z.string(), value: z.number().int(), called: z.boolean() })),
})

export type DumpIndex = z.infer<typeof dumpSchema>

/** Runs `work` on one connection in one transaction that sees one moment and changes nothing. */
export async function withSnapshot<Result>(
  address: DatabaseAddress,
  work: (snapshot: Snapshot) => Promise<Result>,
): Promise<Result> {
  return await withClient(address, async (client) => {
    await client.query('begin transaction isolation level repeatable read, read only')
    try {
      return await work(new Snapshot(client))
    } finally {
      await client.query('rollback').catch(() => {})
    }
  })
}

export class Snapshot implements Db {
  readonly #client: pg.Client

  constructor(client: pg.Client) {
    this.#client = client
  }

  async query<Row extends object>({ text, values }: Statement): Promise<Row[]> {
    return (await this.#client.query<Row>(text, [...values])).rows
  }

  /**
   * Writes the dump into `directory`, which it makes. `migrationText` finds the text of an applied
   * migration. Returns the files, with paths below `directory`.
   */
  async dump(
    directory: string,
    migrationText: (name: string) => Promise<string>,
    signal?: AbortSignal,
  ): Promise<{ readonly index: DumpIndex; readonly files: readonly WrittenFile[] }> {
    await mkdir(join(directory, 'tables'), { recursive: true, mode: 0o700 })
    const files: WrittenFile[] = []
    const tables: DumpIndex['tables'] = []
    for (const { name, columns } of await this.#tables()) {
      signal?.throwIfAborted()
      const rows = this.#client.query(copyTo(`copy ${target(name, columns)} to stdout`))
      files.push(await writeDurably(directory, `tables/${name}.copy`, rows))
      tables.push({ name, columns, rows: rows.rowCount })
    }
    const [version] = await this.query<{ server: string }>(plain('select version() as server'))
    const migrations = await this.query<{ name: string; checksum: string }>(
      plain('select name, checksum from migrations order by name'),
    )
    const index: DumpIndex = {
      format: 1,
      server: version?.server ?? '',
      migrations,
      tables,
      sequences: await this.#sequences(),
    }
    const texts = await Promise.all(migrations.map(async ({ name }) => await migrationText(name)))
    const own: readonly (readonly [string, string])[] = [
      ['schema.sql', schemaFile(migrations.map(({ name }, at) => [name, texts[at] ?? '']))],
      ['load.sql', loadFile(index)],
      ['dump.json', `${JSON.stringify(index, null, 2)}\n`],
    ]
    for (const [name, text] of own) files.push(await writeDurably(directory, name, [text]))
    return { index, files }
  }

  async #tables(): Promise<{ name: string; columns: string[] }[]> {
    return await this.query(
      plain(`select c.relname as name, array_agg(a.attname::text order by a.attnum) as columns
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
          join pg_attribute a on a.attrelid = c.oid
        where n.nspname = 'public' and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
          and a.attgenerated = ''
        group by c.relname order by c.relname`),
    )
  }

  /** Sequences know no transactions: what they say is at least what the rows have used. */
  async #sequences(): Promise<DumpIndex['sequences']> {
    const names = await this.query<{ name: string }>(
      plain(`select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'public' and c.relkind = 'S' order by c.relname`),
    )
    const found: DumpIndex['sequences'] = []
    for (const { name } of names) {
      const [row] = await this.query<{ value: number; called: boolean }>(
        plain(`select last_value as value, is_called as called from ${quote(name)}`),
      )
      if (row) found.push({ name, ...row })
    }
    return found
  }
}

export async function readDumpIndex(directory: string): Promise<DumpIndex> {
  const file = join(directory, 'dump.json')
  const parsed = dumpSchema.safeParse(JSON.parse(await readFile(file, 'utf8')))
  if (parsed.success) return parsed.data
  throw new Failure('invalid', 'database', `${file} is not a dump that this Berth can read.`)
}

/**
 * Fills a database that has the dump's migrations and nothing else. `finish` runs in the same
 * transaction, with the rows there and the foreign keys on: all of it happens, or nothing.
 */
export async function loadDump(
  address: DatabaseAddress,
  directory: string,
  finish: (tx: Db) => Promise<void>,
): Promise<DumpIndex> {
  const index = await readDumpIndex(directory)
  await withClient(address, async (client) => {
    await client.query('begin')
    try {
      await client.query(takeForeignKeysOff)
      await client.query(`truncate ${index.tables.map(({ name }) => quote(name)).join(', ')}`)
      for (const { name, columns, rows } of index.tables) {
        const into = client.query(copyFrom(`copy ${target(name, columns)} from stdin`))
        await pipeline(createReadStream(join(directory, 'tables', `${name}.copy`)), into)
        if (into.rowCount === rows) continue
        throw new Failure(
          'invalid',
          'database',
          `The dump says ${rows} rows of ${name}, and ${into.rowCount} are there.`,
        )
      }
      for (const { name, value, called } of index.sequences) {
        await client.query('select setval($1::regclass, $2, $3)', [quote(name), value, called])
      }
      await client.query(putForeignKeysOn)
      await finish(new Snapshot(client))
      await client.query('commit')
      await client.query('analyze')
    } catch (error) {
      await client.query('rollback').catch(() => {})
      throw error
    }
  })
  return index
}

async function withClient<Result>(
  address: DatabaseAddress,
  work: (client: pg.Client) => Promise<Result>,
): Promise<Result> {
  const client = new pg.Client(clientConfig(address))
  client.on('error', () => {}) // the statement that runs then fails
  await client.connect()
  try {
    // What values look like must not depend on how a site has set up its server.
    await client.query(
      "set client_encoding = 'UTF8'; set datestyle = 'ISO, MDY'; set timezone = 'UTC'; set intervalstyle = 'postgres'; set bytea_output = 'hex'; set extra_float_digits = 1; set statement_timeout = 0; set lock_timeout = 0; set idle_in_transaction_session_timeout = 0; set search_path = public",
    )
    return await work(client)
  } finally {
    await client.end().catch(() => {})
  }
}

function plain(text: string): Statement {
  return { text, values: [] }
}

function target(table: string, columns: readonly string[]): string {
  return `${quote(table)} (${columns.map(quote).join(', ')})`
}

function quote(name: string): string {
  return pg.escapeIdentifier(name)
}

const takeForeignKeysOff = `
create temporary table foreign_keys on commit drop as
  select conrelid::regclass::text as of_table, quote_ident(conname) as name,
    pg_get_constraintdef(oid) as definition
  from pg_constraint where contype = 'f' and connamespace = 'public'::regnamespace;
do $$ declare k record; begin
  for k in select * from foreign_keys loop
    execute format('alter table %s drop constraint %s', k.of_table, k.name);
  end loop;
end $$;
`

const putForeignKeysOn = `
do $$ declare k record; begin
  for k in select * from foreign_keys loop
    execute format('alter table %s add constraint %s %s', k.of_table, k.name, k.definition);
  end loop;
end $$;
`

/** As migrate.ts makes them, for a database that is made by hand. */
const migrationsTables = `create table migrations (
  name text primary key,
  checksum text not null,
  applied_at timestamptz not null default now(),
  expands boolean not null default false
);
create table migrations_aside (like migrations including all);
`

function schemaFile(migrations: readonly (readonly [string, string])[]): string {
  return [
    '-- The schema of this backup: what Berth applied, in order.\n',
    migrationsTables,
    ...migrations.map(([name, text]) => `\n-- ${name}\n\n${text}`),
  ].join('')
}

function loadFile(index: DumpIndex): string {
  const names = index.tables.map(({ name }) => quote(name)).join(', ')
  return [
    '-- Makes the database of this backup without Berth. In this directory, with an empty database:',
    '--   psql --no-psqlrc -d DATABASE -f load.sql',
    '\\set ON_ERROR_STOP on',
    "set client_encoding = 'UTF8';",
    "set datestyle = 'ISO, MDY';",
    "set timezone = 'UTC';",
    'begin;',
    '\\i schema.sql',
    takeForeignKeysOff.trim(),
    `truncate ${names};`,
    ...index.tables.map(
      ({ name, columns }) => `\\copy ${target(name, columns)} from 'tables/${name}.copy'`,
    ),
    ...index.sequences.map(
      ({ name, value, called }) =>
        `select setval(${pg.escapeLiteral(quote(name))}::regclass, ${value}, ${called});`,
    ),
    putForeignKeysOn.trim(),
    'commit;',
    'analyze;',
    '',
  ].join('\n')
}
