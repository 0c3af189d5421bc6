import { randomBytes } from 'node:crypto'

import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import { addAccount, hostOperator } from './accounts.ts'

export interface FirstAccount {
  readonly name: string
  /** Shown once, kept nowhere. */
  readonly password: string
}

/** On the very first start there is nobody: makes `admin` with a random password. */
export async function addFirstAccount(database: Database): Promise<FirstAccount | undefined> {
  const [somebody] = await database.query(sql`select 1 from accounts limit 1`)
  if (somebody !== undefined) return undefined
  const first = { name: 'admin', password: randomBytes(15).toString('base64url') }
  await addAccount(database, hostOperator, { ...first, isAdmin: true })
  return first
}
