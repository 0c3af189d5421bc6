/** Secrets that Berth makes for itself, in the data directory, readable by its account alone. */
import { randomBytes } from 'node:crypto'
import { link, mkdir, open, readFile, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * The content of a secret file, made by `make` when it is missing. Two processes that start at the
 * same time end up with the same secret: the first link wins, and it links complete content only.
 */
export async function readOrMakeSecret(
  path: string,
  make: () => Promise<string> | string,
): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const fresh = `${path}.${randomBytes(6).toString('hex')}`
  const file = await open(fresh, 'wx', 0o600)
  await file.writeFile(await make())
  await file.sync()
  await file.close()
  await link(fresh, path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  await unlink(fresh)
  return await readFile(path, 'utf8')
}
