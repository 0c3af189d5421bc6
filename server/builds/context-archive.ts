/**
 * Build contexts: what a client packed of its files as gzip'ed tar, with names below `/` without the
 * leading slash (protocol.md 8.5). Whoever sent one is trusted with nothing: it is read as a stream,
 * within limits, and the first entry that breaks a rule ends the reading.
 *
 * The stock clients follow symbolic links, so that there is no link of any kind in a context of theirs
 * and none is taken. What is unpacked can therefore not be reached through a link either.
 */
import { createReadStream } from 'node:fs'
import { mkdir, open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'

import { invalid } from '../failure.ts'
import { drain } from './byte-queue.ts'
import { ContextNames, tooMany } from './context-names.ts'
import { tarEntries } from './tar-entries.ts'
import type { TarEntry } from './tar-entries.ts'

export interface ContextLimits {
  /** Files and directories, with those above them that have no entry of their own. */
  readonly maxEntries: number
  /** Of all files together when they are unpacked. */
  readonly maxBytes: number
  /** How many times larger than the archive the files may be, once they are larger than 64 MiB. */
  readonly maxRatio: number
}

/** What serves when a site says nothing. */
export const usualContextLimits: ContextLimits = {
  maxEntries: 100_000,
  maxBytes: 16 * 1024 ** 3,
  maxRatio: 200,
}

export interface ContextSummary {
  /** Files and directories that have an entry. */
  readonly entries: number
  /** Of all files together, unpacked. */
  readonly bytes: number
}

/** Reads it through. Throws Failure('invalid', 'context') with a message for the person who sent it. */
export async function checkContext(
  file: string,
  limits: ContextLimits = usualContextLimits,
): Promise<ContextSummary> {
  return await walk(file, limits, async ({ body }) => {
    await drain(body)
  })
}

/**
 * Writes the files below an empty directory, with the permissions that they had but for set-user-ID and
 * the like; directories are open to their owner. Throws as checkContext does, and leaves what it wrote.
 */
export async function unpackContext(
  file: string,
  directory: string,
  limits: ContextLimits = usualContextLimits,
): Promise<ContextSummary> {
  return await walk(file, limits, async ({ name, kind, mode, body }) => {
    const path = join(directory, name)
    if (kind === 'directory') {
      await mkdir(path, { recursive: true, mode: (mode & 0o777) | 0o700 })
      return
    }
    await mkdir(join(path, '..'), { recursive: true, mode: 0o755 })
    const handle = await open(path, 'w', (mode & 0o777) | 0o600)
    try {
      await writeAll(handle, body)
    } finally {
      await handle.close()
    }
  })
}

async function writeAll(handle: FileHandle, body: AsyncIterable<Buffer>): Promise<void> {
  for await (const chunk of body) {
    let rest = chunk
    while (rest.length > 0) rest = rest.subarray((await handle.write(rest)).bytesWritten)
  }
}

async function walk(
  file: string,
  limits: ContextLimits,
  visit: (entry: TarEntry) => Promise<void>,
): Promise<ContextSummary> {
  const names = new ContextNames(limits.maxEntries)
  let entries = 0
  let bytes = 0
  for await (const entry of tarEntries(createReadStream(file), limits)) {
    names.add(entry.name, entry.kind)
    entries += 1
    if (entries > limits.maxEntries) throw tooMany(limits.maxEntries)
    bytes += entry.size
    // By what it claims, before a byte of it is written.
    if (bytes > limits.maxBytes) {
      throw invalid(
        'context',
        `The files of the build have more than ${limits.maxBytes} bytes, and that is the limit: send fewer.`,
      )
    }
    await visit(entry)
  }
  return { entries, bytes }
}
