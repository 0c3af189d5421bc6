/** Files that other programs read while they are written anew. */
import { randomBytes } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

import { syncDirectory } from '../server/durable-file.ts'

/**
 * The whole new content, or the old one, whatever happens in between; `mode` does not depend on the
 * umask. The operating system's errors pass through.
 */
export async function replaceFile(
  file: string,
  content: string | Buffer,
  mode: number,
): Promise<void> {
  const fresh = `${file}.${randomBytes(6).toString('hex')}`
  try {
    const handle = await open(fresh, 'wx', 0o600)
    try {
      await handle.writeFile(content)
      await handle.chmod(mode)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(fresh, file)
  } catch (error) {
    await rm(fresh, { force: true })
    throw error
  }
  await syncDirectory(dirname(file))
}
