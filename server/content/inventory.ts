/** All that is stored, for a backup: as of one moment, when asked in one snapshot. */
import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import type { Digest, RepositoryPath } from './names.ts'

export interface StoredBlob {
  readonly digest: Digest
  readonly size: number
}

export async function listStoredBlobs(db: Db): Promise<StoredBlob[]> {
  return await db.query<StoredBlob>(sql`select digest, size from blobs order by digest`)
}

/** A document that the database keeps: a manifest, or the configuration of one that Berth composed. */
export interface StoredDocument {
  readonly digest: Digest
  readonly kind: 'manifest' | 'config'
  readonly bytes: Buffer
}

/** Each once, in pages: there are as many as images. `after` is the last digest of the page before. */
export async function listStoredDocuments(
  db: Db,
  after: string,
  limit: number,
): Promise<StoredDocument[]> {
  return await db.query<StoredDocument>(sql`
    select distinct on (digest) digest, kind, bytes from (
      select digest, 'manifest' as kind, bytes from manifests where digest > ${after}
      union all
      select config_digest, 'config', config from manifests
        where config is not null and config_digest > ${after}) documents
    order by digest, kind desc limit ${limit}`)
}

export interface StoredImage {
  readonly path: RepositoryPath
  readonly tag: string | null
  /** Of a SIF what it says; empty for images of other kinds. */
  readonly arch: string
  readonly mediaType: string
  readonly manifestDigest: Digest
  readonly manifestBytes: number
  /** The SIF itself, which runs as it is; null for images of other kinds. */
  readonly sifDigest: Digest | null
  /** Of all its blobs together. */
  readonly size: number
  readonly owner: string | null
  readonly private: boolean
}

/** One for each tag and architecture; a manifest without a tag has one too. */
export async function listStoredImages(db: Db): Promise<StoredImage[]> {
  return await db.query<StoredImage>(sql`
    select r.path, t.name as "tag", coalesce(nullif(t.arch, ''), f.arch, '') as "arch",
      m.media_type as "mediaType", m.digest as "manifestDigest",
      octet_length(m.bytes) as "manifestBytes", m.sif_digest as "sifDigest",
      (select coalesce(sum(b.size), 0) from manifest_blobs n join blobs b on b.digest = n.blob_digest
        where n.repository_id = m.repository_id and n.manifest_digest = m.digest) as "size",
      r."ownerName" as "owner", r.private
    from manifests m join repository_details r on r.id = m.repository_id
      left join tags t on t.repository_id = m.repository_id and t.manifest_digest = m.digest
      left join sif_facts f on f.digest = m.sif_digest
    order by r.path, t.name, t.arch, m.digest`)
}
