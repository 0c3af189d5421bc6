/** Errors of the file system that say something of the disk, and nothing of who asked. */
import { Failure } from './failure.ts'

const full = new Set(['ENOSPC', 'EDQUOT'])
const broken = new Set(['EROFS', 'EIO', 'ESTALE', 'ENODEV', 'ENXIO'])

/** Undefined when the error is of another kind. */
export function diskFailure(error: unknown): Failure | undefined {
  const { code } = error as NodeJS.ErrnoException
  if (code === undefined) return undefined
  if (full.has(code)) {
    const text = 'The disk of the library is full: please tell the administrators.'
    return new Failure('storage-full', 'storage', text, { cause: error })
  }
  if (broken.has(code)) {
    const text = 'The disk of the library takes no changes: please tell the administrators.'
    return new Failure('unavailable', 'storage', text, { cause: error })
  }
  return undefined
}
