import { createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'

import { create } from 'tar'

/** Of every file in it: what the file system says of times would make each archive another one. */
const moment = new Date(0)

/**
 * Writes a tar.gz of these files and links, which are named as they will be in it, below `directory`.
 * Owners and times are left out, so that the same files make the same bytes.
 */
export async function writeArchive(
  archive: string,
  directory: string,
  files: readonly string[],
): Promise<void> {
  const entries = create(
    { cwd: directory, portable: true, noDirRecurse: true, mtime: moment, gzip: { level: 6 } },
    [...files],
  )
  await pipeline(entries, createWriteStream(archive))
}
