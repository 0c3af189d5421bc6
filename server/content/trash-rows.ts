/** Deleted images: rows and SQL. trash.ts has the rules. */
import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import type { Place } from './blob-links.ts'
import type { NewManifest } from './manifests.ts'
import type { Digest, RepositoryPath, Tag } from './names.ts'

export type DeletionReason = 'request' | 'retention'

/** A row of tags as it was; the architecture '' is a face (tags.ts). */
export interface KeptTag {
  readonly name: Tag
  readonly arch: string
}

export interface DeletedImageRow {
  readonly id: number
  readonly repositoryId: number
  readonly entityId: number
  readonly path: RepositoryPath
  readonly entity: string
  readonly ownerId: string | null
  readonly private: boolean
  readonly readers: readonly string[]
  readonly digest: Digest
  readonly isSif: boolean
  readonly description: string
  readonly createdBy: string | null
  readonly sizeBytes: number
  /** Names, sorted. */
  readonly tags: readonly Tag[]
  readonly deletedBy: string | null
  readonly reason: DeletionReason
  readonly deletedAt: Date
}

/** What is inserted again when it is restored, and the tags that showed it. */
export interface DeletedManifestRow extends Omit<NewManifest, 'composed'> {
  readonly tags: readonly KeptTag[]
}

/** The tags of manifests, to be asked before the first of them goes. */
export async function tagsOfManifests(
  tx: Db,
  repositoryId: number,
  digests: readonly Digest[],
): Promise<ReadonlyMap<Digest, readonly KeptTag[]>> {
  const rows = await tx.query<KeptTag & { readonly digest: Digest }>(sql`
    select manifest_digest as "digest", name, arch from tags
    where repository_id = ${repositoryId} and manifest_digest = any(${digests})
    order by name, arch`)
  const tags = new Map<Digest, KeptTag[]>()
  for (const { digest, name, arch } of rows) {
    tags.set(digest, [...(tags.get(digest) ?? []), { name, arch }])
  }
  return tags
}

/**
 * Copies manifests that are about to go, one row for each image that they hold. What was kept of the
 * same image before is kept with it. Indexes that Berth composed are composed again some day.
 */
export async function insertDeleted(
  tx: Db,
  { entityId, repositoryId }: Place,
  digests: readonly Digest[],
  deletion: {
    readonly tags: ReadonlyMap<Digest, readonly KeptTag[]>
    readonly deletedBy: string | null
    readonly deletedByName: string | null
    readonly reason: DeletionReason
  },
): Promise<void> {
  await tx.query(sql`
    insert into deleted_images (repository_id, entity_id, digest, is_sif, description, created_by,
      uploaded_at, size_bytes, deleted_by, deleted_by_name, reason)
    select m.repository_id, ${entityId}::bigint, coalesce(m.sif_digest, m.digest),
      bool_or(m.sif_digest is not null), coalesce(max(i.description), ''),
      coalesce(max(i.created_by), max(m.created_by)), max(coalesce(i.uploaded_at, m.created_at)),
      (select coalesce(sum(b.size), 0) from blobs b where b.digest in (
        select mb.blob_digest from manifest_blobs mb
        where mb.repository_id = m.repository_id and mb.manifest_digest = any(array_agg(m.digest)))),
      ${deletion.deletedBy}, ${deletion.deletedByName}, ${deletion.reason}
    from manifests m left join images i
      on i.repository_id = m.repository_id and i.digest = m.sif_digest
    where m.repository_id = ${repositoryId} and m.digest = any(${digests}) and not m.composed
    group by m.repository_id, coalesce(m.sif_digest, m.digest)
    on conflict (repository_id, digest) do update
    set description = excluded.description, created_by = excluded.created_by,
      uploaded_at = excluded.uploaded_at,
      size_bytes = greatest(deleted_images.size_bytes, excluded.size_bytes),
      deleted_by = excluded.deleted_by, deleted_by_name = excluded.deleted_by_name,
      reason = excluded.reason, deleted_at = now()`)
  await tx.query(sql`
    insert into deleted_manifests (deleted_id, digest, media_type, bytes, config_digest, config,
      sif_digest, artifact_type, subject, annotations, charged_bytes, created_by, created_at,
      pulled_at, tags)
    select d.id, m.digest, m.media_type, m.bytes, m.config_digest, m.config, m.sif_digest,
      m.artifact_type, m.subject, m.annotations, m.charged_bytes, m.created_by, m.created_at,
      m.pulled_at, coalesce(${JSON.stringify(Object.fromEntries(deletion.tags))}::jsonb -> m.digest, '[]')
    from manifests m join deleted_images d
      on d.repository_id = m.repository_id and d.digest = coalesce(m.sif_digest, m.digest)
    where m.repository_id = ${repositoryId} and m.digest = any(${digests}) and not m.composed
    on conflict (deleted_id, digest) do update
    set tags = excluded.tags, charged_bytes = excluded.charged_bytes`)
  await tx.query(sql`
    insert into deleted_blobs (deleted_id, manifest_digest, digest)
    select d.id, m.digest, mb.blob_digest
    from manifests m join deleted_images d
      on d.repository_id = m.repository_id and d.digest = coalesce(m.sif_digest, m.digest)
      join manifest_blobs mb
        on mb.repository_id = m.repository_id and mb.manifest_digest = m.digest
    where m.repository_id = ${repositoryId} and m.digest = any(${digests}) and not m.composed
    on conflict do nothing`)
}

/** What can still be restored, the newest first. Without a filter everybody's. */
export async function selectDeleted(
  db: Db,
  filter: {
    readonly keepDays: number
    readonly entity?: string | undefined
    /** Spaces of these only. */
    readonly principals?: readonly string[] | undefined
    readonly id?: number | undefined
  },
): Promise<DeletedImageRow[]> {
  const { keepDays, entity = null, principals = null, id = null } = filter
  return await db.query<DeletedImageRow>(sql`
    select d.id, d.repository_id as "repositoryId", d.entity_id as "entityId", r.path, r.entity,
      r."ownerId", r.private, r.readers, d.digest, d.is_sif as "isSif", d.description,
      d.created_by as "createdBy", d.size_bytes as "sizeBytes",
      (select coalesce(array_agg(distinct t ->> 'name' order by t ->> 'name'), '{}')
        from deleted_manifests m, jsonb_array_elements(m.tags) t where m.deleted_id = d.id) as "tags",
      d.deleted_by_name as "deletedBy", d.reason, d.deleted_at as "deletedAt"
    from deleted_images d join repository_details r on r.id = d.repository_id
    where d.deleted_at > now() - make_interval(days => ${keepDays})
      and (${entity}::text is null or r.entity = ${entity})
      and (${principals}::text[] is null or r."ownerId" = any(${principals}))
      and (${id}::bigint is null or d.id = ${id})
    order by d.deleted_at desc, d.id desc`)
}

/** Manifests before the indexes that name them. */
export async function manifestsOfDeleted(tx: Db, id: number): Promise<DeletedManifestRow[]> {
  return await tx.query<DeletedManifestRow>(sql`
    select m.digest, m.media_type as "mediaType", m.bytes, m.config_digest as "configDigest",
      m.config, m.sif_digest as "sifDigest", m.artifact_type as "artifactType", m.subject,
      m.annotations, m.charged_bytes as "chargedBytes", m.created_by as "createdBy", m.tags,
      array(select b.digest from deleted_blobs b
        where b.deleted_id = m.deleted_id and b.manifest_digest = m.digest) as "blobs"
    from deleted_manifests m where m.deleted_id = ${id}
    order by m.config_digest is null, m.created_at, m.digest`)
}

/** In the order in which everybody links several. */
export async function blobsOfDeleted(
  tx: Db,
  id: number,
): Promise<{ readonly digest: Digest; readonly size: number }[]> {
  return await tx.query(sql`
    select b.digest, b.size from blobs b
    where b.digest in (select digest from deleted_blobs where deleted_id = ${id})
    order by b.digest`)
}

export async function deleteDeleted(tx: Db, id: number): Promise<boolean> {
  const rows = await tx.query(sql`delete from deleted_images where id = ${id} returning 1`)
  return rows.length > 0
}

/**
 * A blob that only this deleted image had: its grace time counts from the deletion, not from the day
 * on which the image is given up, so that its bytes leave with the next sweep when they may.
 */
export async function condemnSince(db: Db, digest: Digest, since: Date): Promise<void> {
  await db.query(sql`
    update blobs b set condemned_at = ${since}
    where b.digest = ${digest} and (b.condemned_at is null or b.condemned_at > ${since})
      and not exists (select 1 from repository_blobs l where l.digest = b.digest)
      and not exists (select 1 from deleted_blobs d where d.digest = b.digest)`)
}
