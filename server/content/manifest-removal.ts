import type { Db } from '../database.ts'
import { unlinkUnneeded } from './blob-links.ts'
import type { Place } from './blob-links.ts'
import { forgetManifestOfImage } from './images.ts'
import { deleteManifestRow } from './manifests.ts'
import type { Digest } from './names.ts'
import { credit } from './quota.ts'
import { untagManifest } from './tags.ts'

/** Removes a manifest with its tags; an image lives on where another manifest holds it. */
export async function removeManifest(tx: Db, place: Place, digest: Digest): Promise<void> {
  const { entityId, repositoryId } = place
  await untagManifest(tx, repositoryId, digest)
  await forgetManifestOfImage(tx, repositoryId, digest)
  const { chargedBytes, blobs } = await deleteManifestRow(tx, repositoryId, digest)
  await credit(tx, entityId, chargedBytes)
  await unlinkUnneeded(tx, place, blobs)
}
