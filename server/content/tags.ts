/**
 * Tags. The library's point to one image for each architecture; the registry shows one manifest, the
 * face of the tag: of one architecture its image, of several an index that Berth composes, and
 * otherwise whatever a client of the registry pushed. The row with the architecture '' is a face
 * that is not simply the only image.
 */
import { createHash } from 'node:crypto'

import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import { insertManifest } from './manifests.ts'
import { digestOfHex } from './names.ts'
import type { Arch, Digest, Tag } from './names.ts'

export interface TagRow {
  readonly name: Tag
  readonly arch: Arch
  readonly manifestDigest: Digest
  readonly imageDigest: Digest
  readonly updatedAt: Date
}

/** The architecture of a file that names none. */
const unknownArch = 'unknown'

/** Oldest change first, so that a map built from it keeps the last set of each name. */
export async function selectTags(
  db: Db,
  repositoryId: number,
  filter: { name?: Tag } = {},
): Promise<TagRow[]> {
  return await db.query<TagRow>(sql`
    select t.name, t.arch, t.manifest_digest as "manifestDigest", m.sif_digest as "imageDigest",
      t.updated_at as "updatedAt"
    from tags t join manifests m
      on m.repository_id = t.repository_id and m.digest = t.manifest_digest
    where t.repository_id = ${repositoryId} and t.name = coalesce(${filter.name ?? null}, t.name)
      and m.sif_digest is not null
    order by t.updated_at, t.name, t.arch`)
}

/**
 * Points the tag of this architecture to the image; the other architectures keep theirs. The caller
 * holds the entity's lock: the face of the tag follows from all of its rows.
 */
export async function setTagForArch(
  tx: Db,
  repositoryId: number,
  tag: { readonly name: Tag; readonly arch: string; readonly manifestDigest: Digest },
  updatedBy: string,
): Promise<void> {
  const { name, manifestDigest } = tag
  await putTagRow(tx, repositoryId, name, tag.arch || unknownArch, manifestDigest, updatedBy)
  await composeFace(tx, repositoryId, name, updatedBy)
}

/** What a client of the registry means: from now on the tag is this manifest and nothing else. */
export async function setWholeTag(
  tx: Db,
  repositoryId: number,
  name: Tag,
  manifest: {
    readonly digest: Digest
    /** The SIF images in it by architecture: itself, or the entries of an index. */
    readonly images: ReadonlyMap<string, Digest>
    readonly isIndex: boolean
  },
  updatedBy: string,
): Promise<void> {
  await tx.query(sql`delete from tags where repository_id = ${repositoryId} and name = ${name}`)
  for (const [arch, digest] of manifest.images) {
    await putTagRow(tx, repositoryId, name, arch || unknownArch, digest, updatedBy)
  }
  if (manifest.isIndex || manifest.images.size === 0) {
    await putTagRow(tx, repositoryId, name, '', manifest.digest, updatedBy)
  }
  await dropUnusedIndexes(tx, repositoryId)
}

/** Returns how many architectures of the tag were removed; with `undefined` the tag goes whole. */
export async function removeTag(
  tx: Db,
  repositoryId: number,
  name: Tag,
  arch: string | undefined,
): Promise<number> {
  const wanted = arch === '' ? unknownArch : arch
  const removed = await tx.query(sql`
    delete from tags
    where repository_id = ${repositoryId} and name = ${name}
      and arch = coalesce(${wanted ?? null}, arch)
    returning 1`)
  if (removed.length > 0 && wanted !== undefined) {
    await dropBareFace(tx, repositoryId, name)
    await composeFace(tx, repositoryId, name, 'unknown')
  }
  await dropUnusedIndexes(tx, repositoryId)
  return removed.length
}

/**
 * Takes a manifest out of all tags. Those that had it as their face go whole, and those that showed
 * it among others get another face.
 */
export async function untagManifest(tx: Db, repositoryId: number, digest: Digest): Promise<void> {
  await tx.query(sql`
    delete from tags t using tags face
    where face.repository_id = ${repositoryId} and face.manifest_digest = ${digest}
      and face.arch = '' and t.repository_id = face.repository_id and t.name = face.name`)
  const rows = await tx.query<{ name: Tag; arch: string }>(sql`
    delete from tags where repository_id = ${repositoryId} and manifest_digest = ${digest}
    returning name, arch`)
  for (const name of new Set(rows.map((row) => row.name))) {
    await dropBareFace(tx, repositoryId, name)
    await composeFace(tx, repositoryId, name, 'unknown')
  }
}

/** With its last image a tag goes, whatever index a client of the registry had pushed for it. */
async function dropBareFace(tx: Db, repositoryId: number, name: Tag): Promise<void> {
  await tx.query(sql`
    delete from tags t
    where t.repository_id = ${repositoryId} and t.name = ${name} and t.arch = ''
      and not exists (select 1 from tags o where o.repository_id = t.repository_id
        and o.name = t.name and o.arch <> '')`)
}

/** The tags whose face is this manifest. */
export async function tagsShowing(db: Db, repositoryId: number, digest: Digest): Promise<Tag[]> {
  const rows = await db.query<{ name: Tag }>(sql`
    select name from tags
    where repository_id = ${repositoryId} and manifest_digest = ${digest} and arch = ''`)
  return rows.map(({ name }) => name)
}

/** Whether any tag points to a manifest that holds this image. */
export async function isTagged(
  tx: Db,
  repositoryId: number,
  imageDigest: Digest,
): Promise<boolean> {
  const rows = await tx.query(sql`
    select 1 from tags t join manifests m
      on m.repository_id = t.repository_id and m.digest = t.manifest_digest
    where t.repository_id = ${repositoryId} and m.sif_digest = ${imageDigest} limit 1`)
  return rows.length > 0
}

/** What the registry shows under a tag. */
export async function findFace(
  db: Db,
  repositoryId: number,
  name: Tag,
): Promise<Digest | undefined> {
  const [row] = await db.query<{ digest: Digest }>(sql`
    select manifest_digest as "digest" from tags
    where repository_id = ${repositoryId} and name = ${name} order by arch limit 1`)
  return row?.digest
}

/** Names in the order of bytes, after `last`; at most `limit`. */
export async function listTagNames(
  db: Db,
  repositoryId: number,
  page: { readonly last: string; readonly limit: number },
): Promise<Tag[]> {
  const rows = await db.query<{ name: Tag }>(sql`
    select distinct name collate "C" as "name" from tags
    where repository_id = ${repositoryId} and name collate "C" > ${page.last}
    order by 1 limit ${page.limit}`)
  return rows.map(({ name }) => name)
}

async function putTagRow(
  tx: Db,
  repositoryId: number,
  name: Tag,
  arch: string,
  manifestDigest: Digest,
  updatedBy: string,
): Promise<void> {
  await tx.query(sql`
    insert into tags (repository_id, name, arch, manifest_digest, updated_by, updated_at)
    values (${repositoryId}, ${name}, ${arch}, ${manifestDigest}, ${updatedBy}, clock_timestamp())
    on conflict (repository_id, name, arch) do update
    set manifest_digest = excluded.manifest_digest, updated_by = excluded.updated_by,
      updated_at = excluded.updated_at`)
}

interface Entry {
  readonly arch: string
  readonly digest: Digest
  readonly mediaType: string
  readonly size: number
}

/** Gives a tag of several architectures its index; of one, the image is the face. */
async function composeFace(
  tx: Db,
  repositoryId: number,
  name: Tag,
  createdBy: string,
): Promise<void> {
  const entries = await tx.query<Entry>(sql`
    select t.arch, m.digest, m.media_type as "mediaType", octet_length(m.bytes) as "size"
    from tags t join manifests m
      on m.repository_id = t.repository_id and m.digest = t.manifest_digest
    where t.repository_id = ${repositoryId} and t.name = ${name} and t.arch <> ''
    order by t.arch collate "C"`)
  if (entries.length > 1) {
    const index = composeIndex(entries, createdBy)
    await insertManifest(tx, repositoryId, index)
    await putTagRow(tx, repositoryId, name, '', index.digest, createdBy)
  } else if (entries.length === 1) {
    await tx.query(sql`
      delete from tags where repository_id = ${repositoryId} and name = ${name} and arch = ''`)
  }
  await dropUnusedIndexes(tx, repositoryId)
}

const indexType = 'application/vnd.oci.image.index.v1+json'

/** Equal entries give equal bytes, so that the tag keeps its digest while nothing changes. */
function composeIndex(entries: readonly Entry[], createdBy: string) {
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: indexType,
      manifests: entries.map(({ arch, digest, mediaType, size }) => ({
        mediaType,
        digest,
        size,
        platform: { architecture: arch, os: 'linux' },
      })),
    }),
  )
  return {
    digest: digestOfHex(createHash('sha256').update(bytes).digest('hex')),
    mediaType: indexType,
    bytes,
    configDigest: null,
    config: null,
    sifDigest: null,
    artifactType: null,
    subject: null,
    annotations: {},
    composed: true,
    chargedBytes: 0,
    blobs: [],
    createdBy,
  }
}

async function dropUnusedIndexes(tx: Db, repositoryId: number): Promise<void> {
  await tx.query(sql`
    delete from manifests m
    where m.repository_id = ${repositoryId} and m.composed
      and not exists (select 1 from tags t
        where t.repository_id = m.repository_id and t.manifest_digest = m.digest)`)
}
