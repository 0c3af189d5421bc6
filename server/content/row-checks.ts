/** Rows that contradict each other, as far as no constraint of the database forbids it. */
import { sql } from '../database.ts'
import type { Db } from '../database.ts'

export interface RowProblem {
  readonly kind: 'link' | 'manifest' | 'image' | 'tag' | 'condemned'
  /** The path or the digest that it is about. */
  readonly subject: string
  readonly problem: string
}

export async function listRowProblems(db: Db): Promise<RowProblem[]> {
  return [
    ...(await wrongPlaces(db)),
    ...(await lackingBlobs(db)),
    ...(await wrongManifests(db)),
    ...(await lackingImages(db)),
    ...(await lackingChildren(db)),
    ...(await wronglyCondemned(db)),
  ]
}

/** What the repetitions of an entity's number say against the original. */
async function wrongPlaces(db: Db): Promise<RowProblem[]> {
  return await db.query<RowProblem>(sql`
    select 'link' as "kind", r.path as "subject",
      'the repository is charged to another space than its collection' as "problem"
    from repositories r join collections c on c.id = r.collection_id
    where c.entity_id <> r.entity_id
    union all
    select 'link', r.path, 'the blob ' || l.digest || ' is charged to another space'
    from repository_blobs l join repositories r on r.id = l.repository_id
    where l.entity_id <> r.entity_id`)
}

async function lackingBlobs(db: Db): Promise<RowProblem[]> {
  return await db.query<RowProblem>(sql`
    select 'manifest' as "kind", r.path || '@' || m.manifest_digest as "subject",
      'needs ' || m.blob_digest || ', which the repository does not have' as "problem"
    from manifest_blobs m join repositories r on r.id = m.repository_id
    where not exists (select 1 from repository_blobs l
      where l.repository_id = m.repository_id and l.digest = m.blob_digest)
    order by 2, 3`)
}

async function wrongManifests(db: Db): Promise<RowProblem[]> {
  return await db.query<RowProblem>(sql`
    select 'manifest' as "kind", r.path || '@' || m.digest as "subject",
      'its bytes have another digest' as "problem"
    from manifests m join repositories r on r.id = m.repository_id
    where m.digest <> case when m.digest like 'sha512:%'
      then 'sha512:' || encode(sha512(m.bytes), 'hex')
      else 'sha256:' || encode(sha256(m.bytes), 'hex') end
    order by 2`)
}

async function lackingImages(db: Db): Promise<RowProblem[]> {
  return await db.query<RowProblem>(sql`
    select 'image' as "kind", r.path || '@' || i.digest as "subject",
      'the image has a manifest and no bytes here' as "problem"
    from images i join repositories r on r.id = i.repository_id
    where i.manifest_digest is not null and not exists (select 1
      from repository_blobs l join sif_facts f on f.digest = l.digest
      where l.repository_id = i.repository_id and l.digest = i.digest)
    order by 2`)
}

/** The index that Berth composed for a tag names images that are not there. */
async function lackingChildren(db: Db): Promise<RowProblem[]> {
  return await db.query<RowProblem>(sql`
    select 'tag' as "kind", r.path || coalesce(':' || t.name, '@' || m.digest) as "subject",
      'its index names ' || (child.entry ->> 'digest') || ', which is not there' as "problem"
    from manifests m join repositories r on r.id = m.repository_id
      left join tags t on t.repository_id = m.repository_id and t.manifest_digest = m.digest
      cross join lateral jsonb_array_elements(
        convert_from(m.bytes, 'UTF8')::jsonb -> 'manifests') as child (entry)
    where m.composed and not exists (select 1 from manifests n
      where n.repository_id = m.repository_id and n.digest = child.entry ->> 'digest')
    order by 2, 3`)
}

/** The sweep would not remove it, for it asks again; but the grace time would have begun too early. */
async function wronglyCondemned(db: Db): Promise<RowProblem[]> {
  return await db.query<RowProblem>(sql`
    select 'condemned' as "kind", b.digest as "subject",
      'the bytes wait for their removal although an image has them' as "problem"
    from blobs b where b.condemned_at is not null
      and exists (select 1 from repository_blobs l where l.digest = b.digest)
    order by 2`)
}

export async function reprieve(db: Db, digest: string): Promise<void> {
  await db.query(sql`
    update blobs b set condemned_at = null where b.digest = ${digest}
      and exists (select 1 from repository_blobs l where l.digest = b.digest)`)
}
