/**
 * The sweep gives disk space back. A blob that no repository links, and no deleted image that can be
 * restored needs, is condemned first and removed
 * after the grace time, so that downloads that were handed out end well and a repeated push finds
 * its way. Rows go before files here, in one transaction under the blob's lock; a file that has no
 * row (left by a crash between rename and commit) is removed when it is older than the grace time.
 * While a backup holds the bytes (deletion-hold.ts) both wait for a later run.
 */
import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import { Failure } from '../failure.ts'
import { listUnneeded, unlinkUnneeded } from './blob-links.ts'
import { lockDigest } from './blob-lock.ts'
import type { BlobStore } from './blob-store.ts'
import type { BlobUploads } from './blob-uploads.ts'
import { mayRemoveBytes } from './deletion-hold.ts'
import type { Digest } from './names.ts'
import { removeIfEmpty } from './places.ts'
import { lockEntity } from './quota.ts'
import type { Trash } from './trash.ts'
import type { Uploads } from './uploads.ts'

export interface SweepResult {
  readonly uploadsEnded: number
  /** Deleted images whose days are over. */
  readonly imagesGivenUp: number
  readonly blobsCondemned: number
  readonly blobsRemoved: number
  readonly bytesFreed: number
  readonly orphansRemoved: number
}

export interface SweepParts {
  readonly database: Database
  readonly blobs: BlobStore
  readonly uploads: Uploads
  readonly blobUploads: BlobUploads
  readonly trash: Trash
  readonly graceHours: number
}

export async function sweep(parts: SweepParts): Promise<SweepResult> {
  const { database, uploads, graceHours } = parts
  const uploadsEnded = (await uploads.expire()) + (await parts.blobUploads.expire())
  await uploads.removeOrphans()
  const { images: imagesGivenUp } = await parts.trash.expire()
  await unlinkAbandoned(database)
  await dropAbandonedNames(database)
  const condemned = await database.query(sql`
    update blobs b set condemned_at = now()
    where b.condemned_at is null
      and not exists (select 1 from repository_blobs l where l.digest = b.digest)
      and not exists (select 1 from deleted_blobs d where d.digest = b.digest)
    returning 1`)
  const removable = await database.query<{ digest: Digest }>(sql`
    select digest from blobs
    where condemned_at <= now() - make_interval(secs => ${graceHours * 3600})`)
  let blobsRemoved = 0
  let bytesFreed = 0
  for (const { digest } of removable) {
    const size = await removeBlob(parts, digest)
    if (size === undefined) continue
    blobsRemoved += 1
    bytesFreed += size
  }
  const orphansRemoved = await removeOrphans(parts)
  return {
    uploadsEnded,
    imagesGivenUp,
    blobsCondemned: condemned.length,
    blobsRemoved,
    bytesFreed,
    orphansRemoved,
  }
}

/** Returns the size, or undefined when the blob is wanted again, or held. */
async function removeBlob(parts: SweepParts, digest: Digest): Promise<number | undefined> {
  return await parts.database.transaction(async (tx) => {
    if (!(await mayRemoveBytes(tx))) return undefined
    await lockDigest(tx, digest)
    const [removed] = await tx.query<{ size: number }>(sql`
      delete from blobs b
      where b.digest = ${digest} and b.condemned_at is not null
        and not exists (select 1 from repository_blobs l where l.digest = b.digest)
        and not exists (select 1 from deleted_blobs d where d.digest = b.digest)
      returning b.size`)
    // Before the commit, under the lock: after it, the same bytes could be arriving again. A crash
    // here leaves a condemned row without a file, which the next sweep removes.
    if (removed) await parts.blobs.removeBlob(digest)
    return removed?.size
  })
}

async function removeOrphans(parts: SweepParts): Promise<number> {
  let removed = 0
  const before = new Date(Date.now() - parts.graceHours * 3_600_000)
  for await (const digest of parts.blobs.listBlobs(before)) {
    await parts.database.transaction(async (tx) => {
      if (!(await mayRemoveBytes(tx))) return
      await lockDigest(tx, digest)
      const [row] = await tx.query(sql`select 1 from blobs where digest = ${digest}`)
      if (row !== undefined) return
      await parts.blobs.removeBlob(digest)
      removed += 1
    })
  }
  return removed
}

/** Blobs that were pushed and never needed by a manifest. */
async function unlinkAbandoned(database: Database): Promise<void> {
  for (const { digest, ...place } of await listUnneeded(database)) {
    await database.transaction(async (tx) => {
      await lockEntity(tx, place.entityId)
      await unlinkUnneeded(tx, place, [digest])
    })
  }
}

/** Announced images that never came, and the empty containers of pushes that were broken off. */
async function dropAbandonedNames(database: Database): Promise<void> {
  await database.query(sql`
    delete from images i
    where i.manifest_digest is null and i.created_at < now() - interval '1 day'
      and not exists (select 1 from uploads u
        where u.repository_id = i.repository_id and u.expected_digest = i.digest)`)
  const empty = await database.query<{ id: number; entityId: number }>(sql`
    select r.id, r.entity_id as "entityId" from repositories r
    where r.updated_at < now() - interval '1 day'
      and not exists (select 1 from images i where i.repository_id = r.id)
      and not exists (select 1 from manifests m where m.repository_id = r.id)
      and not exists (select 1 from deleted_images d where d.repository_id = r.id)
      and not exists (select 1 from retention_rules k where k.repository_id = r.id)`)
  for (const { id, entityId } of empty) {
    try {
      await database.transaction(async (tx) => {
        await lockEntity(tx, entityId)
        await removeIfEmpty(tx, id)
      })
    } catch (error) {
      if (!(error instanceof Failure) || error.kind !== 'conflict') throw error // wanted again
    }
  }
}
