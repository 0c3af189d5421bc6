/** Files that are on the disk when the promise resolves, and whole or not there at all. */
import { createHash } from 'node:crypto'
import { link, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'

export interface WrittenFile {
  /** Below the directory that was named. */
  readonly path: string
  readonly size: number
  /** 64 lower-case hex digits. */
  readonly sha256: string
}

export type Pieces = Iterable<string | Buffer> | AsyncIterable<string | Buffer>

/**
 * Writes `directory/path` (0600) under another name first, flushes it and renames it. The directories
 * on the way are made; the caller flushes them with syncDirectory when everything is written.
 */
export async function writeDurably(
  directory: string,
  path: string,
  pieces: Pieces,
): Promise<WrittenFile> {
  const target = join(directory, path)
  const unfinished = `${target}.part`
  await mkdir(dirname(target), { recursive: true, mode: 0o700 })
  const hash = createHash('sha256')
  let size = 0
  try {
    const file = await open(unfinished, 'w', 0o600)
    try {
      for await (const piece of pieces) {
        const bytes = typeof piece === 'string' ? Buffer.from(piece) : piece
        hash.update(bytes)
        size += bytes.length
        for (let done = 0; done < bytes.length;) {
          done += (await file.write(bytes, done)).bytesWritten
        }
      }
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(unfinished, target)
  } catch (error) {
    await rm(unfinished, { force: true })
    throw error
  }
  return { path, size, sha256: hash.digest('hex') }
}

/** Makes the names in a directory as durable as the files. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

const unlinkable = new Set(['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP', 'EOPNOTSUPP'])

/** A second name for the same bytes; false where the file system cannot, or it is another one. */
export async function tryHardLink(source: string, target: string): Promise<boolean> {
  try {
    await link(source, target)
    return true
  } catch (error) {
    if (unlinkable.has(String((error as NodeJS.ErrnoException).code))) return false
    throw error
  }
}
