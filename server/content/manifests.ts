/** Manifests of repositories: rows and SQL. Their bytes are kept as they came; the digest is of these. */
import type { Viewer } from '../accounts/permissions.ts'
import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import type { Digest, RepositoryPath, Tag } from './names.ts'

export interface ManifestRow {
  readonly repositoryId: number
  readonly digest: Digest
  readonly mediaType: string
  readonly bytes: Buffer
  readonly sifDigest: Digest | null
  readonly composed: boolean
  readonly isIndex: boolean
}

export interface NewManifest {
  readonly digest: Digest
  readonly mediaType: string
  readonly bytes: Buffer
  readonly configDigest: Digest | null
  /** The configuration itself, where no blob holds it. */
  readonly config: Buffer | null
  readonly sifDigest: Digest | null
  readonly artifactType: string | null
  readonly subject: Digest | null
  readonly annotations: Readonly<Record<string, string>>
  readonly composed: boolean
  readonly chargedBytes: number
  /** Blobs that must stay linked to the repository while the manifest is there. */
  readonly blobs: readonly Digest[]
  readonly createdBy: string
}

/**
 * Returns false when the same manifest was there already. An index that Berth composed and a client
 * pushes is the client's from then on: it stays when no tag shows it any more, and is charged.
 */
export async function insertManifest(
  tx: Db,
  repositoryId: number,
  manifest: NewManifest,
): Promise<boolean> {
  const made = await tx.query(sql`
    insert into manifests (repository_id, digest, media_type, bytes, config_digest, config,
      sif_digest, artifact_type, subject, annotations, composed, charged_bytes, created_by)
    values (${repositoryId}, ${manifest.digest}, ${manifest.mediaType}, ${manifest.bytes},
      ${manifest.configDigest}, ${manifest.config}, ${manifest.sifDigest}, ${manifest.artifactType},
      ${manifest.subject}, ${JSON.stringify(manifest.annotations)}, ${manifest.composed},
      ${manifest.chargedBytes}, ${manifest.createdBy})
    on conflict (repository_id, digest) do update
    set composed = false, charged_bytes = excluded.charged_bytes, created_by = excluded.created_by
    where manifests.composed and not excluded.composed
    returning 1`)
  if (made.length === 0) return false
  await tx.query(sql`
    insert into manifest_blobs (repository_id, manifest_digest, blob_digest)
    select distinct ${repositoryId}::bigint, ${manifest.digest}, blob
    from unnest(${manifest.blobs}::text[]) as blob`)
  await tx.query(sql`update repositories set updated_at = now() where id = ${repositoryId}`)
  return true
}

export async function findManifest(
  db: Db,
  repositoryId: number,
  digest: Digest,
): Promise<ManifestRow | undefined> {
  const [row] = await db.query<ManifestRow>(sql`
    select repository_id as "repositoryId", digest, media_type as "mediaType", bytes,
      sif_digest as "sifDigest", composed, config_digest is null as "isIndex"
    from manifests where repository_id = ${repositoryId} and digest = ${digest}`)
  return row
}

/** What follows the colon or the at-sign of a reference. */
export type ManifestReference =
  | { readonly kind: 'tag'; readonly tag: Tag }
  | { readonly kind: 'digest'; readonly digest: Digest }

/**
 * What a reference shows to somebody who reads; undefined when there is no such thing, or he may
 * not see it. One statement, so that a tag which moves meanwhile shows the one or the other: the
 * index of a tag with several architectures goes in the moment in which the tag gets another.
 */
export async function lookUpManifest(
  db: Db,
  path: RepositoryPath,
  reference: ManifestReference,
  viewer: Viewer,
): Promise<ManifestRow | undefined> {
  const [row] = await (reference.kind === 'digest'
    ? db.query<ManifestRow>(sql`
        select m.repository_id as "repositoryId", m.digest, m.media_type as "mediaType", m.bytes,
          m.sif_digest as "sifDigest", m.composed, m.config_digest is null as "isIndex"
        from repositories r join collection_details c on c.id = r.collection_id
          join manifests m on m.repository_id = r.id and m.digest = ${reference.digest}
        where r.path = ${path}
          and readable_by(c.private, c."ownerId", c.readers, ${viewer.principals}, ${viewer.isAdmin})`)
    : db.query<ManifestRow>(sql`
        select m.repository_id as "repositoryId", m.digest, m.media_type as "mediaType", m.bytes,
          m.sif_digest as "sifDigest", m.composed, m.config_digest is null as "isIndex"
        from repositories r join collection_details c on c.id = r.collection_id
          join tags t on t.repository_id = r.id and t.name = ${reference.tag}
          join manifests m on m.repository_id = r.id and m.digest = t.manifest_digest
        where r.path = ${path}
          and readable_by(c.private, c."ownerId", c.readers, ${viewer.principals}, ${viewer.isAdmin})
        order by t.arch limit 1`))
  return row
}

/** Removes the row; returns what the entity was charged and the blobs that the manifest needed. */
export async function deleteManifestRow(
  tx: Db,
  repositoryId: number,
  digest: Digest,
): Promise<{ readonly chargedBytes: number; readonly blobs: readonly Digest[] }> {
  const blobs = await tx.query<{ digest: Digest }>(sql`
    select blob_digest as "digest" from manifest_blobs
    where repository_id = ${repositoryId} and manifest_digest = ${digest}`)
  const [row] = await tx.query<{ chargedBytes: number }>(sql`
    delete from manifests where repository_id = ${repositoryId} and digest = ${digest}
    returning charged_bytes as "chargedBytes"`)
  await tx.query(sql`update repositories set updated_at = now() where id = ${repositoryId}`)
  return { chargedBytes: row?.chargedBytes ?? 0, blobs: blobs.map((blob) => blob.digest) }
}

/** The manifests that hold a SIF, of those that are there. */
export async function manifestsOfSif(
  db: Db,
  repositoryId: number,
  sifDigest: Digest,
): Promise<Digest[]> {
  const rows = await db.query<{ digest: Digest }>(sql`
    select digest from manifests
    where repository_id = ${repositoryId} and sif_digest = ${sifDigest} order by digest`)
  return rows.map(({ digest }) => digest)
}

export interface ReferrerRow {
  readonly digest: Digest
  readonly mediaType: string
  readonly size: number
  readonly artifactType: string | null
  readonly annotations: Readonly<Record<string, string>>
}

/** What was attached to a manifest, by its `subject`. */
export async function listReferrers(
  db: Db,
  repositoryId: number,
  subject: Digest,
): Promise<ReferrerRow[]> {
  return await db.query<ReferrerRow>(sql`
    select digest, media_type as "mediaType", octet_length(bytes) as "size",
      artifact_type as "artifactType", annotations
    from manifests where repository_id = ${repositoryId} and subject = ${subject}
    order by created_at, digest`)
}
