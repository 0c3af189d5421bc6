/**
 * What the Tab key asks: the names of accounts, groups or spaces, a line each. A quick look at the
 * database that is there: nothing is started or migrated for it, and where there is nothing to be
 * seen, nothing is said.
 */
import { statSync } from 'node:fs'
import { join } from 'node:path'

import { readConfig } from '../server/config.ts'
import type { Config } from '../server/config.ts'
import { openDatabase, sql } from '../server/database.ts'
import type { DatabaseAddress, Db } from '../server/database.ts'
import { createLog } from '../server/log.ts'

const questions: Readonly<Record<string, (db: Db) => Promise<{ readonly name: string }[]>>> = {
  account: async (db) => await db.query(sql`select name from accounts order by name limit 10000`),
  group: async (db) => await db.query(sql`select name from groups order by name limit 10000`),
  space: async (db) => await db.query(sql`select name from entities order by name limit 10000`),
}

export async function printNames(kind: string): Promise<void> {
  const ask = Object.hasOwn(questions, kind) ? questions[kind] : undefined
  if (ask === undefined) return
  const config = readConfig()
  const owner = statSync(config.dataDir, { throwIfNoEntry: false })?.uid
  if (owner === undefined || owner !== process.getuid?.()) return
  const database = openDatabase(addressOf(config), createLog('silent'))
  try {
    for (const { name } of await ask(database)) process.stdout.write(`${name}\n`)
  } finally {
    await database.close()
  }
}

/** The embedded one where it is while it runs. */
function addressOf({ dataDir, database }: Config): DatabaseAddress {
  if (database === undefined) {
    return { socketDir: join(dataDir, 'postgres/run'), user: 'berth', database: 'berth' }
  }
  const { url, password } = database
  return password === undefined ? { url } : { url, password: password.reveal() }
}
