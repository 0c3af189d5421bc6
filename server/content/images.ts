/** SIF images of repositories: rows and SQL. An image is there once it has a manifest. */
import type { Viewer } from '../accounts/permissions.ts'
import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import type { SifFacts } from '../sif/inspect.ts'
import type { Arch, Digest, ImageReference, RepositoryPath, Tag } from './names.ts'
import type { ComposedManifest } from './sif-manifest.ts'

export interface ImageRow {
  readonly repositoryId: number
  readonly path: RepositoryPath
  readonly entity: string
  readonly collection: string
  readonly container: string
  readonly containerDescription: string
  readonly containerDownloads: number
  readonly ownerId: string | null
  readonly ownerName: string | null
  readonly private: boolean
  readonly readers: readonly string[]
  readonly digest: Digest
  readonly manifestDigest: Digest
  readonly sizeBytes: number
  readonly description: string
  /** Empty when the file names none. */
  readonly arch: string
  /** There is a signature, and none that is known to be bad. */
  readonly signed: boolean
  readonly encrypted: boolean
  /** Of those who have signed, or say so: which is which is in `signers`. */
  readonly fingerprints: readonly string[]
  /** VerdictState of keystore/image-verdict.ts, or `unchecked`. */
  readonly signatureState: string
  readonly signatureReason: string | null
  readonly signers: readonly ImageSigner[]
  readonly tags: readonly Tag[]
  readonly createdBy: string | null
  readonly createdAt: Date
  readonly uploadedAt: Date
}

/** One for each signature, as the keystore judged it. */
export interface ImageSigner {
  /** Of the primary key; only claimed while `signedAt` is null. */
  readonly fingerprint: string | null
  readonly keyId: string | null
  /** The account whose key it is now; null for keys that are not here, and for mere claims. */
  readonly account: string | null
  readonly state: string
  /** For people. */
  readonly reason: string | null
  /** ISO 8601, by the signer's clock. */
  readonly signedAt: string | null
}

/** The images of a repository, in the order of their arrival. */
export async function selectImages(
  db: Db,
  repositoryId: number,
  filter: { digest?: Digest } = {},
): Promise<ImageRow[]> {
  return await db.query<ImageRow>(sql`
    select d.*, s.* from image_details d join image_signatures s on s.digest = d.digest
    where d."repositoryId" = ${repositoryId} and d.digest = coalesce(${filter.digest ?? null}, d.digest)
    order by d."uploadedAt", d.digest`)
}

/** What a reference names. Of a tag without an architecture, what was tagged last comes first. */
export async function lookUpImages(
  db: Db,
  reference: ImageReference,
  arch: Arch | undefined,
): Promise<ImageRow[]> {
  const { path } = reference.repository
  if (reference.kind === 'digest') {
    return await db.query<ImageRow>(sql`
      select d.*, s.* from image_details d join image_signatures s on s.digest = d.digest
      where d.path = ${path} and d.digest = ${reference.digest}`)
  }
  if (reference.kind === 'uuid') {
    return await db.query<ImageRow>(sql`
      select d.*, s.* from image_details d join image_signatures s on s.digest = d.digest
      where d.path = ${path} and d.uuid = ${reference.uuid}`)
  }
  return await db.query<ImageRow>(sql`
    select d.*, s.*
    from repositories r join tags t on t.repository_id = r.id
      join image_details d
        on d."repositoryId" = t.repository_id and d."manifestDigest" = t.manifest_digest
      join image_signatures s on s.digest = d.digest
    where r.path = ${path} and t.name = ${reference.tag} and t.arch = coalesce(${arch ?? null}, t.arch)
    order by t.updated_at desc
    limit 1`)
}

/** Readable images with a signature of this key (or one that claims to be), the newest first. */
export async function selectImagesSignedBy(
  db: Db,
  fingerprint: string,
  viewer: Viewer,
  limit: number,
): Promise<ImageRow[]> {
  return await db.query<ImageRow>(sql`
    select d.*, s.* from image_details d join image_signatures s on s.digest = d.digest
    where d.digest in (select w.digest from verdict_signers w where w.fingerprint = ${fingerprint})
      and readable_by(d.private, d."ownerId", d.readers, ${viewer.principals}, ${viewer.isAdmin})
    order by d."uploadedAt" desc, d.digest limit ${limit}`)
}

/** Remembers that an image is to come, with its description; says nothing about bytes. */
export async function announceImage(
  db: Db,
  image: {
    readonly repositoryId: number
    readonly digest: Digest
    readonly description: string
    readonly createdBy: string
  },
): Promise<void> {
  await db.query(sql`
    insert into images (repository_id, digest, description, created_by)
    values (${image.repositoryId}, ${image.digest}, ${image.description}, ${image.createdBy})
    on conflict (repository_id, digest) do update
    set description = case when excluded.description = '' then images.description
      else excluded.description end`)
}

export async function isAnnounced(db: Db, repositoryId: number, digest: Digest): Promise<boolean> {
  const rows = await db.query(
    sql`select 1 from images where repository_id = ${repositoryId} and digest = ${digest}`,
  )
  return rows.length > 0
}

/** Drops an announced image that never arrived. */
export async function forgetAnnounced(tx: Db, repositoryId: number, digest: Digest): Promise<void> {
  await tx.query(sql`
    delete from images i
    where i.repository_id = ${repositoryId} and i.digest = ${digest} and i.manifest_digest is null
      and not exists (select 1 from uploads u
        where u.repository_id = i.repository_id and u.expected_digest = i.digest)`)
}

/** The bytes are stored and linked: gives the image its manifest. */
export async function putSifManifest(
  tx: Db,
  repositoryId: number,
  digest: Digest,
  manifest: ComposedManifest,
  createdBy: string,
): Promise<void> {
  await tx.query(sql`
    insert into manifests
      (repository_id, digest, media_type, bytes, config_digest, config, created_by)
    values (${repositoryId}, ${manifest.digest}, ${manifest.mediaType}, ${manifest.bytes},
      ${manifest.configDigest}, ${manifest.config}, ${createdBy})
    on conflict (repository_id, digest) do nothing`)
  await tx.query(sql`
    insert into images (repository_id, digest, manifest_digest, uploaded_at, created_by)
    values (${repositoryId}, ${digest}, ${manifest.digest}, now(), ${createdBy})
    on conflict (repository_id, digest) do update
    set manifest_digest = excluded.manifest_digest,
      uploaded_at = coalesce(images.uploaded_at, excluded.uploaded_at)`)
  await tx.query(sql`update repositories set updated_at = now() where id = ${repositoryId}`)
}

/** Removes an image, its manifest and every tag that points to it; the blob's link is the caller's. */
export async function removeImage(tx: Db, image: ImageRow): Promise<void> {
  const { repositoryId, digest, manifestDigest } = image
  await tx.query(sql`
    delete from tags where repository_id = ${repositoryId} and manifest_digest = ${manifestDigest}`)
  await tx.query(
    sql`delete from images where repository_id = ${repositoryId} and digest = ${digest}`,
  )
  await tx.query(
    sql`delete from manifests where repository_id = ${repositoryId} and digest = ${manifestDigest}`,
  )
  await tx.query(sql`update repositories set updated_at = now() where id = ${repositoryId}`)
}

export interface BlobRow {
  readonly digest: Digest
  readonly size: number
  readonly facts: SifFacts
}

/** A stored SIF that the viewer may read in some repository: it need not be sent again. */
export async function findReadableSif(
  tx: Db,
  digest: Digest,
  viewer: Viewer,
): Promise<BlobRow | undefined> {
  const [row] = await tx.query<{
    size: number
    arch: string | null
    uuid: string | null
    signed: boolean
    fingerprints: string[]
    encrypted: boolean
    definition: string | null
    labels: Record<string, string>
  }>(sql`
    select b.size, f.arch, f.uuid, f.signed, f.fingerprints, f.encrypted, f.definition, f.labels
    from blobs b join sif_facts f on f.digest = b.digest
    where b.digest = ${digest} and exists (
      select 1 from repository_blobs l join repositories r on r.id = l.repository_id
        join collection_details c on c.id = r.collection_id
      where l.digest = b.digest
        and readable_by(c.private, c."ownerId", c.readers, ${viewer.principals}, ${viewer.isAdmin}))
    for update of b`)
  if (row === undefined) return undefined
  return {
    digest,
    size: row.size,
    facts: {
      ...row,
      arch: row.arch ?? undefined,
      uuid: row.uuid ?? undefined,
      definition: row.definition ?? undefined,
      oci: undefined,
    },
  }
}

/** Writes down a stored blob and what its bytes say. A condemned blob lives again. */
export async function insertSifBlob(
  tx: Db,
  digest: Digest,
  size: number,
  facts: SifFacts,
): Promise<void> {
  await tx.query(sql`
    insert into blobs (digest, size) values (${digest}, ${size})
    on conflict (digest) do update set condemned_at = null`)
  await tx.query(sql`
    insert into sif_facts
      (digest, arch, uuid, signed, fingerprints, encrypted, definition, labels, oci)
    values (${digest}, ${facts.arch ?? null}, ${facts.uuid ?? null}, ${facts.signed},
      ${[...facts.fingerprints]}, ${facts.encrypted}, ${facts.definition ?? null},
      ${JSON.stringify(facts.labels)}, ${facts.oci ? JSON.stringify(facts.oci) : null})
    on conflict (digest) do nothing`)
}
