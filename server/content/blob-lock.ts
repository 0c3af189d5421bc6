import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import type { Digest } from './names.ts'

/**
 * Serialises the two that touch both the file and the row of a blob: an upload that puts them there
 * and the sweep that removes them. Held until the end of the transaction. The first number keeps
 * these locks apart from the others.
 */
export async function lockDigest(tx: Db, digest: Digest): Promise<void> {
  await tx.query(sql`select pg_advisory_xact_lock(1, hashtext(${digest}))`)
}
