/** The file that tells a store of images from an empty directory, and from the store of another site. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { sql } from '../database.ts'
import type { Db } from '../database.ts'

export type StoreStanding =
  | 'ours'
  /** No file: the disk is not mounted, or nothing was ever stored here. */
  | 'missing'
  /** The marker or the database is that of another store. */
  | 'foreign'
  /** Neither the disk nor the database knows of a store: Berth was never started here. */
  | 'new'

/** Whether the directory holds what the rows of this database speak of. Throws what reading throws. */
export async function storeStanding(directory: string, db: Db): Promise<StoreStanding> {
  const [row] = await db.query<{ id: string }>(sql`select id from store`)
  const marker = await readStoreMarker(directory)
  if (marker === undefined) return row === undefined ? 'new' : 'missing'
  return row?.id === marker ? 'ours' : 'foreign'
}

async function readStoreMarker(directory: string): Promise<string | undefined> {
  try {
    const text = await readFile(join(directory, 'store.json'), 'utf8')
    return String((JSON.parse(text) as { storeId?: unknown }).storeId)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    if (error instanceof SyntaxError) return ''
    throw error
  }
}
