/** The end of an upload: a file that is whole and flushed becomes an image, or nothing at all. */
import type { FileHandle } from 'node:fs/promises'

import type { Actor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
import type { Database } from '../database.ts'
import { notFound } from '../failure.ts'
import { inspectSif } from '../sif/inspect.ts'
import type { ByteSource, SifFacts } from '../sif/inspect.ts'
import { lockDigest } from './blob-lock.ts'
import type { BlobStore } from './blob-store.ts'
import { insertSifBlob, putSifManifest, selectImages } from './images.ts'
import type { ImageRow } from './images.ts'
import type { RepositoryName } from './names.ts'
import { link, lockEntity } from './quota.ts'
import { composeSifManifest } from './sif-manifest.ts'
import { deleteUpload } from './upload-rows.ts'
import type { UploadRow } from './upload-rows.ts'

/** What the bytes say; throws `invalid` with a message for the pusher when they are not a SIF. */
export async function inspectFile(file: FileHandle, size: number): Promise<SifFacts> {
  return await inspectSif(sourceOf(file, size))
}

export function sourceOf(file: FileHandle, size: number): ByteSource {
  return {
    size,
    read: async (offset, length) => {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, offset)
      return buffer.subarray(0, bytesRead)
    },
  }
}

/**
 * In one transaction, under the blob's lock: the file goes to its place (before any row says that it
 * is there), the reservation becomes use, the image gets its manifest.
 */
export async function adopt(
  database: Database,
  blobs: BlobStore,
  actor: Actor,
  image: {
    readonly name: RepositoryName
    readonly upload: UploadRow
    readonly facts: SifFacts
    readonly defaultQuota: number
  },
): Promise<ImageRow> {
  const { name, upload, facts, defaultQuota } = image
  const { id, digest, size, repositoryId, entityId, reservedBytes } = upload
  await database.transaction(async (tx) => {
    await lockEntity(tx, entityId)
    await lockDigest(tx, digest)
    await blobs.admit(id, digest)
    await insertSifBlob(tx, digest, size, facts)
    const place = { entityId, repositoryId }
    await link(tx, place, { digest, size }, { reservedBytes, defaultQuota })
    await deleteUpload(tx, id)
    const manifest = composeSifManifest(digest, size, facts)
    await putSifManifest(tx, repositoryId, digest, manifest, upload.accountId)
    const details = { size, sent: true }
    await audit(tx, actor, { action: 'image.push', target: `${name.path}@${digest}`, details })
  })
  const [adopted] = await selectImages(database, repositoryId, { digest })
  if (adopted === undefined) throw notFound('image', 'The image was deleted meanwhile.')
  return adopted
}
