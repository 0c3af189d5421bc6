/** Uploads of images (uploads.ts): rows and SQL. */
import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import type { Digest } from './names.ts'

export interface UploadRow {
  readonly id: string
  readonly entityId: number
  readonly repositoryId: number
  readonly digest: Digest
  readonly size: number
  readonly reservedBytes: number
  /** null: in one piece. */
  readonly partBytes: number | null
  readonly receivedBytes: number | null
  readonly receivedDigest: Digest | null
  readonly accountId: string
}

export interface NewUpload {
  readonly id: string
  readonly entityId: number
  readonly repositoryId: number
  readonly digest: Digest
  readonly size: number
  readonly partBytes: number | null
  readonly accountId: string
  readonly tokenId: string | null
}

export async function insertUpload(tx: Db, upload: NewUpload): Promise<void> {
  await tx.query(sql`
    insert into uploads (id, entity_id, repository_id, expected_digest, expected_bytes,
      reserved_bytes, part_bytes, account_id, token_id)
    values (${upload.id}, ${upload.entityId}, ${upload.repositoryId}, ${upload.digest},
      ${upload.size}, ${upload.size}, ${upload.partBytes}, ${upload.accountId}, ${upload.tokenId})`)
}

/** An upload whose token was revoked or has expired since is not found: nobody may go on with it. */
export async function findUpload(db: Db, id: string): Promise<UploadRow | undefined> {
  const [row] = await db.query<UploadRow>(sql`
    select u.* from open_uploads u where u.id = ${id} and u.live and u.digest is not null`)
  return row
}

/** The upload in one piece of this image that `_complete` means: one that has arrived, if any. */
export async function findCompletable(
  db: Db,
  repositoryId: number,
  digest: Digest,
  accountId: string,
): Promise<UploadRow | undefined> {
  const [row] = await db.query<UploadRow>(sql`
    select u.* from open_uploads u
    where u."repositoryId" = ${repositoryId} and u.digest = ${digest}
      and u."accountId" = ${accountId} and u."partBytes" is null and u.live
    order by (u."receivedDigest" is not distinct from u.digest) desc,
      (u."receivedDigest" is not null) desc, u."createdAt"
    limit 1`)
  return row
}

/** Uploads of the same image that are broken, or quiet for a minute: a repeated push replaces them. */
export async function findStaleRivals(
  db: Db,
  entityId: number,
  digest: Digest,
): Promise<UploadRow[]> {
  return await db.query<UploadRow>(sql`
    select u.* from open_uploads u
    where u."entityId" = ${entityId} and u.digest = ${digest}
      and (u.interrupted or not u.live or u."activeAt" < now() - interval '1 minute')`)
}

export async function listExpired(db: Db, hours: number): Promise<UploadRow[]> {
  return await db.query<UploadRow>(sql`
    select u.* from open_uploads u
    where u.digest is not null
      and (not u.live or u."activeAt" < now() - make_interval(secs => ${hours * 3600}))`)
}

/** Uploads in one piece. */
export async function listWholes(db: Db): Promise<UploadRow[]> {
  return await db.query<UploadRow>(sql`
    select u.* from open_uploads u where u."partBytes" is null and u.digest is not null`)
}

export async function markReceived(
  db: Db,
  id: string,
  bytes: number,
  digest: Digest,
): Promise<void> {
  await db.query(sql`
    update uploads
    set received_bytes = ${bytes}, received_digest = ${digest}, active_at = now()
    where id = ${id}`)
}

export async function markActive(db: Db, id: string): Promise<void> {
  await db.query(sql`update uploads set active_at = now(), interrupted = false where id = ${id}`)
}

export async function markInterrupted(db: Db, id: string): Promise<void> {
  await db.query(sql`update uploads set interrupted = true where id = ${id}`)
}

/** Returns false when somebody else ended it before. */
export async function deleteUpload(tx: Db, id: string): Promise<boolean> {
  const deleted = await tx.query(sql`delete from uploads where id = ${id} returning 1`)
  return deleted.length > 0
}

/** Whether any upload, of an image or of a blob, has this identifier. */
export async function isUpload(db: Db, id: string): Promise<boolean> {
  const rows = await db.query(sql`select 1 from uploads where id = ${id}`)
  return rows.length > 0
}

export async function reservedInTotal(db: Db): Promise<number> {
  const [row] = await db.query<{ total: number }>(
    sql`select coalesce(sum(reserved_bytes), 0) as "total" from uploads`,
  )
  return row?.total ?? 0
}

export interface PartRow {
  readonly number: number
  readonly size: number
  readonly etag: string
}

export async function putPart(db: Db, uploadId: string, part: PartRow): Promise<void> {
  await db.query(sql`
    insert into upload_parts (upload_id, number, size, etag)
    values (${uploadId}, ${part.number}, ${part.size}, ${part.etag})
    on conflict (upload_id, number) do update set size = excluded.size, etag = excluded.etag`)
  await db.query(
    sql`update uploads set active_at = now(), interrupted = false where id = ${uploadId}`,
  )
}

export async function listParts(db: Db, uploadId: string): Promise<PartRow[]> {
  return await db.query<PartRow>(
    sql`select number, size, etag from upload_parts where upload_id = ${uploadId} order by number`,
  )
}
