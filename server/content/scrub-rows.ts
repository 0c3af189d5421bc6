/** How far the store was read again: the one row, and the blobs that are next. */
import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import type { Digest } from './names.ts'

export interface ScrubPass {
  readonly pass: number
  /** null between two passes. */
  readonly beganAt: Date | null
  /** The last digest that was looked at; empty at the start. */
  readonly cursor: string
  readonly blobsRead: number
  readonly bytesRead: number
  /** Of these, how many were found damaged. */
  readonly damaged: number
  /** The last pass that came to its end; null before the first. */
  readonly finishedBeganAt: Date | null
  readonly finishedAt: Date | null
  readonly finishedBlobs: number | null
  readonly finishedBytes: number | null
  readonly finishedDamaged: number | null
}

export interface StoreSize {
  readonly blobs: number
  readonly bytes: number
}

export async function readPass(db: Db): Promise<ScrubPass> {
  const [row] = await db.query<ScrubPass>(sql`
    select pass, began_at as "beganAt", cursor, blobs_read as "blobsRead",
      bytes_read as "bytesRead", damaged, finished_began_at as "finishedBeganAt",
      finished_at as "finishedAt", finished_blobs as "finishedBlobs",
      finished_bytes as "finishedBytes", finished_damaged as "finishedDamaged"
    from scrub`)
  if (row === undefined) throw new Error('the row of the scrub is missing')
  return row
}

export async function beginPass(db: Db): Promise<void> {
  await db.query(sql`
    update scrub set pass = pass + 1, began_at = now(), cursor = '', blobs_read = 0,
      bytes_read = 0, damaged = 0`)
}

export async function saveProgress(
  db: Db,
  { cursor, blobsRead, bytesRead, damaged }: ScrubPass,
): Promise<void> {
  await db.query(sql`
    update scrub set cursor = ${cursor}, blobs_read = ${blobsRead}, bytes_read = ${bytesRead},
      damaged = ${damaged}`)
}

export async function finishPass(db: Db): Promise<void> {
  await db.query(sql`
    update scrub set finished_began_at = began_at, finished_at = now(), began_at = null,
      finished_blobs = blobs_read, finished_bytes = bytes_read, finished_damaged = damaged`)
}

export async function nextBlobs(
  db: Db,
  after: string,
  limit: number,
): Promise<{ readonly digest: Digest; readonly size: number }[]> {
  return await db.query(sql`
    select digest, size from blobs where digest > ${after} order by digest limit ${limit}`)
}

export async function sizeOfStore(db: Db): Promise<StoreSize> {
  const [row] = await db.query<StoreSize>(
    sql`select count(*) as "blobs", coalesce(sum(size), 0) as "bytes" from blobs`,
  )
  return row ?? { blobs: 0, bytes: 0 }
}

/** Whether any process is taking in bytes, as far as rows say it. */
export async function isUploadMoving(db: Db): Promise<boolean> {
  const rows = await db.query(sql`
    select 1 from uploads
    where not interrupted and received_digest is null and active_at > now() - interval '5 minutes'
    limit 1`)
  return rows.length > 0
}
