/** SIF images of repositories: rows and SQL. An image is there once it has a manifest. */
import type { Viewer } from '../accounts/permissions.ts'
import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import type { SifFacts } from '../sif/inspect.ts'
import { forgetDamage } from './damage.ts'
import { insertManifest } from './manifests.ts'
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
      join manifests m on m.repository_id = t.repository_id and m.digest = t.manifest_digest
      join image_details d on d."repositoryId" = m.repository_id and d.digest = m.sif_digest
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

/**
 * The bytes are stored and linked: gives the image its manifest. Where a client of the registry has
 * pushed one that holds it, that is it: one more, which nobody knows of, would outlive its deletion.
 */
export async function putSifManifest(
  tx: Db,
  repositoryId: number,
  digest: Digest,
  manifest: ComposedManifest,
  createdBy: string,
): Promise<void> {
  const [held] = await tx.query(sql`
    select 1 from images
    where repository_id = ${repositoryId} and digest = ${digest} and manifest_digest is not null`)
  if (held !== undefined) return
  const { mediaType, bytes, configDigest, config } = manifest
  await insertManifest(tx, repositoryId, {
    digest: manifest.digest,
    mediaType,
    bytes,
    configDigest,
    config,
    sifDigest: digest,
    artifactType: null,
    subject: null,
    annotations: {},
    composed: false,
    chargedBytes: 0,
    blobs: [digest],
    createdBy,
  })
  await putImage(tx, repositoryId, { digest, manifestDigest: manifest.digest, createdBy })
}

/** The image is there: a manifest holds it. It keeps the first one that did. */
export async function putImage(
  tx: Db,
  repositoryId: number,
  image: {
    readonly digest: Digest
    readonly manifestDigest: Digest
    readonly createdBy: string
  },
): Promise<void> {
  await tx.query(sql`
    insert into images (repository_id, digest, manifest_digest, uploaded_at, created_by)
    values (${repositoryId}, ${image.digest}, ${image.manifestDigest}, now(), ${image.createdBy})
    on conflict (repository_id, digest) do update
    set manifest_digest = coalesce(images.manifest_digest, excluded.manifest_digest),
      uploaded_at = coalesce(images.uploaded_at, excluded.uploaded_at)`)
}

/** A manifest is about to go: the image lives on with the oldest other that holds it, or goes too. */
export async function forgetManifestOfImage(
  tx: Db,
  repositoryId: number,
  manifestDigest: Digest,
): Promise<void> {
  await tx.query(sql`
    delete from images i
    where i.repository_id = ${repositoryId} and i.manifest_digest = ${manifestDigest}
      and not exists (select 1 from manifests m where m.repository_id = i.repository_id
        and m.sif_digest = i.digest and m.digest <> ${manifestDigest})`)
  await tx.query(sql`
    update images i set manifest_digest = (
      select m.digest from manifests m where m.repository_id = i.repository_id
        and m.sif_digest = i.digest and m.digest <> ${manifestDigest}
      order by m.created_at, m.digest limit 1)
    where i.repository_id = ${repositoryId} and i.manifest_digest = ${manifestDigest}`)
}

export interface BlobRow {
  readonly digest: Digest
  readonly size: number
  readonly facts: SifFacts
}

interface FactsRow {
  readonly arch: string | null
  readonly uuid: string | null
  readonly signed: boolean
  readonly fingerprints: string[]
  readonly encrypted: boolean
  readonly definition: string | null
  readonly labels: Record<string, string>
}

/** A stored SIF that the viewer may read in some repository: it need not be sent again. */
export async function findReadableSif(
  tx: Db,
  digest: Digest,
  viewer: Viewer,
): Promise<BlobRow | undefined> {
  const [row] = await tx.query<FactsRow & { readonly size: number }>(sql`
    select b.size, f.arch, f.uuid, f.signed, f.fingerprints, f.encrypted, f.definition, f.labels
    from blobs b join sif_facts f on f.digest = b.digest
    where b.digest = ${digest} and exists (
      select 1 from repository_blobs l join repositories r on r.id = l.repository_id
        join collection_details c on c.id = r.collection_id
      where l.digest = b.digest
        and readable_by(c.private, c."ownerId", c.readers, ${viewer.principals}, ${viewer.isAdmin}))
    for update of b`)
  if (row === undefined) return undefined
  return { digest, size: row.size, facts: factsOf(row) }
}

/** What the bytes of a stored SIF say; undefined for a blob that nobody has read as one. */
export async function findSifFacts(db: Db, digest: Digest): Promise<SifFacts | undefined> {
  const [row] = await db.query<FactsRow>(sql`
    select arch, uuid, signed, fingerprints, encrypted, definition, labels
    from sif_facts where digest = ${digest}`)
  return row && factsOf(row)
}

function factsOf(row: FactsRow): SifFacts {
  return {
    ...row,
    arch: row.arch ?? undefined,
    uuid: row.uuid ?? undefined,
    definition: row.definition ?? undefined,
    oci: undefined,
  }
}

/** Writes down a stored blob and what its bytes say. A condemned blob lives again. */
export async function insertSifBlob(
  tx: Db,
  digest: Digest,
  size: number,
  facts: SifFacts,
): Promise<void> {
  await insertBlob(tx, digest, size)
  await insertSifFacts(tx, digest, facts)
}

/** Writes down a stored blob. A condemned one lives again, and a damaged one is whole. */
export async function insertBlob(tx: Db, digest: Digest, size: number): Promise<void> {
  await tx.query(sql`
    insert into blobs (digest, size) values (${digest}, ${size})
    on conflict (digest) do update set condemned_at = null`)
  await forgetDamage(tx, digest)
}

export async function insertSifFacts(tx: Db, digest: Digest, facts: SifFacts): Promise<void> {
  await tx.query(sql`
    insert into sif_facts
      (digest, arch, uuid, signed, fingerprints, encrypted, definition, labels, oci)
    values (${digest}, ${facts.arch ?? null}, ${facts.uuid ?? null}, ${facts.signed},
      ${[...facts.fingerprints]}, ${facts.encrypted}, ${facts.definition ?? null},
      ${JSON.stringify(facts.labels)}, ${facts.oci ? JSON.stringify(facts.oci) : null})
    on conflict (digest) do nothing`)
}
