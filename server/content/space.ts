/** Room on the disk, which the sum of all quotas may exceed. */
import type { Database } from '../database.ts'
import { Failure } from '../failure.ts'
import type { BlobStore } from './blob-store.ts'
import { reservedInTotal } from './upload-rows.ts'

export interface SpaceLimits {
  readonly maxImageBytes: number
  readonly keepFreeBytes: number
}

/** Throws `too-large` or `storage-full` before bytes arrive that the disk could not take. */
export async function requireSpace(
  database: Database,
  blobs: BlobStore,
  size: number,
  { maxImageBytes, keepFreeBytes }: SpaceLimits,
): Promise<void> {
  if (size > maxImageBytes) {
    const text = `Images of more than ${maxImageBytes} bytes are not taken.`
    throw new Failure('too-large', 'image', text)
  }
  const free = await blobs.freeBytes()
  const promised = await reservedInTotal(database)
  if (free - promised - size >= keepFreeBytes) return
  throw new Failure(
    'storage-full',
    'storage',
    'The disk of the library has no room for this image: please tell the administrators.',
  )
}
