/**
 * Which blobs a repository serves, and until when. A blob stays linked while a manifest of the
 * repository needs it, and for an hour after somebody who pushes was told that it is there: nobody
 * takes it away between the blob and the manifest of a push.
 */
import type { Viewer } from '../accounts/permissions.ts'
import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import type { Digest } from './names.ts'
import { unlink } from './quota.ts'

export interface Place {
  readonly entityId: number
  readonly repositoryId: number
}

const claimMinutes = 60

/** Bytes of a blob that the repository serves; undefined when it does not. */
export async function linkedSize(
  db: Db,
  repositoryId: number,
  digest: Digest,
): Promise<number | undefined> {
  const [row] = await db.query<{ size: number }>(sql`
    select b.size from repository_blobs l join blobs b on b.digest = l.digest
    where l.repository_id = ${repositoryId} and l.digest = ${digest}`)
  return row?.size
}

/** Bytes of a stored blob, whoever serves it. */
export async function sizeOfBlob(db: Db, digest: Digest): Promise<number | undefined> {
  const [row] = await db.query<{ size: number }>(
    sql`select size from blobs where digest = ${digest}`,
  )
  return row?.size
}

/** A repository that serves the blob, of those that the viewer may read. */
export async function findReadableLink(
  db: Db,
  digest: Digest,
  viewer: Viewer,
): Promise<number | undefined> {
  const [row] = await db.query<{ repositoryId: number }>(sql`
    select l.repository_id as "repositoryId"
    from repository_blobs l join repositories r on r.id = l.repository_id
      join collection_details c on c.id = r.collection_id
    where l.digest = ${digest}
      and readable_by(c.private, c."ownerId", c.readers, ${viewer.principals}, ${viewer.isAdmin})
    limit 1`)
  return row?.repositoryId
}

/** Of these, the ones that the repository serves. */
export async function linkedAmong(
  db: Db,
  repositoryId: number,
  digests: readonly Digest[],
): Promise<ReadonlySet<Digest>> {
  const rows = await db.query<{ digest: Digest }>(sql`
    select digest from repository_blobs
    where repository_id = ${repositoryId} and digest = any(${digests})`)
  return new Set(rows.map(({ digest }) => digest))
}

/** The account was told that the blob is there and is about to need it. */
export async function claimBlob(
  db: Db,
  repositoryId: number,
  digest: Digest,
  accountId: string,
): Promise<void> {
  await db.query(sql`
    insert into blob_claims (repository_id, digest, account_id, until)
    values (${repositoryId}, ${digest}, ${accountId}, now() + make_interval(mins => ${claimMinutes}))
    on conflict (repository_id, digest, account_id) do update set until = excluded.until,
      told = case when blob_claims.until > now() then blob_claims.told + 1 else 1 end`)
}

/**
 * The manifest that the account claimed these for has come. Where the account was told twice, the
 * other push may be still to come: the claim stays for its hour. A manifest that was there already
 * may come from somebody who only sets a tag and was told nothing of its blobs; then the claims are
 * another push's.
 */
export async function settleClaims(
  tx: Db,
  repositoryId: number,
  accountId: string,
  blobs: readonly Digest[],
  options: { readonly isNew: boolean },
): Promise<void> {
  await tx.query(sql`
    with mine as (
      select digest, told from blob_claims
      where repository_id = ${repositoryId} and account_id = ${accountId}
        and digest = any(${blobs}))
    delete from blob_claims c using mine
    where c.repository_id = ${repositoryId} and c.account_id = ${accountId}
      and c.digest = mine.digest and mine.told = 1
      and (${options.isNew} or (select count(*) from mine) = ${blobs.length})`)
}

/** Unlinks those that nothing needs any more; the entity gets their bytes back. */
export async function unlinkUnneeded(
  tx: Db,
  place: Place,
  digests: readonly Digest[],
): Promise<void> {
  const { repositoryId } = place
  const rows = await tx.query<{ digest: Digest }>(sql`
    select digest from repository_blobs l
    where l.repository_id = ${repositoryId} and l.digest = any(${digests})
      and not exists (select 1 from manifest_blobs m
        where m.repository_id = l.repository_id and m.blob_digest = l.digest)
      and not exists (select 1 from blob_claims c
        where c.repository_id = l.repository_id and c.digest = l.digest and c.until > now())
    order by digest`)
  for (const { digest } of rows) await unlink(tx, place, digest)
}

/** Links of blobs whose push never came to its manifest, for the sweep. */
export async function listUnneeded(db: Db): Promise<(Place & { readonly digest: Digest })[]> {
  await db.query(sql`delete from blob_claims where until <= now()`)
  return await db.query<Place & { readonly digest: Digest }>(sql`
    select l.entity_id as "entityId", l.repository_id as "repositoryId", l.digest
    from repository_blobs l
    where l.created_at < now() - make_interval(mins => ${claimMinutes})
      and not exists (select 1 from manifest_blobs m
        where m.repository_id = l.repository_id and m.blob_digest = l.digest)
      and not exists (select 1 from blob_claims c
        where c.repository_id = l.repository_id and c.digest = l.digest)
    limit 10000`)
}
