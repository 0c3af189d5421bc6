/** Uploads of single blobs (blob-uploads.ts): rows and SQL. They share the table of all uploads. */
import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import type { Digest } from './names.ts'

export interface BlobUploadRow {
  readonly id: string
  readonly entityId: number
  readonly repositoryId: number
  readonly reservedBytes: number
  /** Bytes that were acknowledged: where the next chunk begins. */
  readonly receivedBytes: number
  readonly accountId: string
  readonly tokenId: string | null
}

export async function insertBlobUpload(
  tx: Db,
  upload: Omit<BlobUploadRow, 'reservedBytes' | 'receivedBytes'>,
): Promise<void> {
  await tx.query(sql`
    insert into uploads (id, entity_id, repository_id, reserved_bytes, received_bytes, account_id,
      token_id)
    values (${upload.id}, ${upload.entityId}, ${upload.repositoryId}, 0, 0, ${upload.accountId},
      ${upload.tokenId})`)
}

/** One whose token was revoked or has expired since is not found: nobody may go on with it. */
export async function findBlobUpload(db: Db, id: string): Promise<BlobUploadRow | undefined> {
  const [row] = await db.query<BlobUploadRow>(sql`
    select u.* from open_uploads u where u.id = ${id} and u.live and u.digest is null`)
  return row
}

export async function listExpiredBlobUploads(db: Db, hours: number): Promise<BlobUploadRow[]> {
  return await db.query<BlobUploadRow>(sql`
    select u.* from open_uploads u
    where u.digest is null
      and (not u.live or u."activeAt" < now() - make_interval(secs => ${hours * 3600}))`)
}

/** The caller reserves or releases the difference in the same transaction. */
export async function setReserved(tx: Db, id: string, bytes: number): Promise<boolean> {
  const rows = await tx.query(sql`
    update uploads set reserved_bytes = ${bytes}, active_at = now() where id = ${id} returning 1`)
  return rows.length > 0
}

export async function setReceived(tx: Db, id: string, bytes: number): Promise<void> {
  await tx.query(
    sql`update uploads set received_bytes = ${bytes}, active_at = now() where id = ${id}`,
  )
}

/** The bytes are known to be those of an image: from now on the session is an image's upload. */
export async function setExpected(
  tx: Db,
  id: string,
  digest: Digest,
  bytes: number,
): Promise<void> {
  await tx.query(sql`
    update uploads set expected_digest = ${digest}, expected_bytes = ${bytes},
      received_digest = ${digest}, active_at = now()
    where id = ${id}`)
}
