import { algorithmOf, hexOf } from './names.ts'
import type { Digest } from './names.ts'

/**
 * Where the file of a blob is below `blobs/` of the store: `sha256/<2 hex>/<64 hex>`. A proxy that
 * sends blobs itself is told this path.
 */
export function blobPath(digest: Digest): string {
  const hex = hexOf(digest)
  return `${algorithmOf(digest)}/${hex.slice(0, 2)}/${hex}`
}
