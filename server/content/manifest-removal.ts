import type { Db } from '../database.ts'
import { unlinkUnneeded } from './blob-links.ts'
import type { Place } from './blob-links.ts'
import { forgetManifestOfImage } from './images.ts'
import { deleteManifestRow } from './manifests.ts'
import type { Digest } from './names.ts'
import { credit } from './quota.ts'
import { untagManifest } from './tags.ts'

/**
 * Removes manifests with their tags; an image lives on where another manifest holds it. The blobs
 * of all of them are unlinked together, in one order: two spaces that share some do not wait for
 * each other in a circle.
 */
export async function removeManifests(
  tx: Db,
  place: Place,
  digests: readonly Digest[],
): Promise<void> {
  const { entityId, repositoryId } = place
  const unneeded = new Set<Digest>()
  for (const digest of digests) {
    await untagManifest(tx, repositoryId, digest)
    await forgetManifestOfImage(tx, repositoryId, digest)
    const { chargedBytes, blobs } = await deleteManifestRow(tx, repositoryId, digest)
    await credit(tx, entityId, chargedBytes)
    for (const blob of blobs) unneeded.add(blob)
  }
  await unlinkUnneeded(tx, place, [...unneeded])
}
