/** The bytes of all backups in one directory: `blobs/<algorithm>/<hex>`, each once, never changed. */
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { copyFile, mkdir, open, readdir, rename, rm, stat, unlink } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'

import { algorithmOf, hexOf } from '../content/names.ts'
import type { Digest } from '../content/names.ts'
import { syncDirectory, tryHardLink } from '../durable-file.ts'
import { incomingDirectory } from './layout.ts'

const algorithms = ['sha256', 'sha512'] as const
const pieceBytes = 1 << 20

export interface Reading {
  readonly signal: AbortSignal
  /** Bytes that were read since the last call. */
  readonly onBytes: (count: number) => void
}

export interface Copying extends Reading {
  /** Take a second name of the source where that is possible. */
  readonly hardLinks: boolean
}

/** The source has other bytes than its name says; nothing was kept of it. */
export class DamagedSource extends Error {
  override readonly name = 'DamagedSource'
}

export class BlobPool {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  /** Makes the directories, and clears away what an earlier backup left half-written. */
  async prepare(): Promise<void> {
    await rm(join(this.#directory, incomingDirectory), { recursive: true, force: true })
    for (const name of [incomingDirectory, ...algorithms.map((one) => `blobs/${one}`)]) {
      await mkdir(join(this.#directory, name), { recursive: true, mode: 0o700 })
    }
  }

  /** Below the directory of backups. */
  pathOf(digest: Digest): string {
    return join('blobs', algorithmOf(digest), hexOf(digest))
  }

  async has(digest: Digest, size: number): Promise<boolean> {
    return await stat(join(this.#directory, this.pathOf(digest))).then(
      (found) => found.size === size,
      () => false,
    )
  }

  /** Copies a file and compares its hash: what gets the name has the bytes. Flushed to the disk. */
  async copyIn(source: string, digest: Digest, size: number, copying: Copying): Promise<void> {
    const unfinished = this.#incomingPath(digest)
    await rm(unfinished, { force: true })
    try {
      const isLinked = copying.hardLinks && (await tryHardLink(source, unfinished))
      if (isLinked || (await tryClone(source, unfinished))) {
        await readThrough(unfinished, undefined, digest, size, copying)
      } else {
        await readThrough(source, unfinished, digest, size, copying)
      }
      await this.#admit(digest)
    } catch (error) {
      await rm(unfinished, { force: true })
      throw error
    }
  }

  /** For a document of the database; the caller knows that the digest is that of the bytes. */
  async put(digest: Digest, bytes: Buffer): Promise<void> {
    const file = await open(this.#incomingPath(digest), 'w', 0o600)
    try {
      await file.writeFile(bytes)
      await file.sync()
    } finally {
      await file.close()
    }
    await this.#admit(digest)
  }

  /** Throws DamagedSource where a kept file is not what its name says. */
  async check(digest: Digest, size: number, reading: Reading): Promise<void> {
    await readThrough(join(this.#directory, this.pathOf(digest)), undefined, digest, size, reading)
  }

  /** Copies a kept file to `target`, checking it on the way; flushed to the disk. */
  async copyOut(digest: Digest, size: number, target: string, reading: Reading): Promise<void> {
    await readThrough(join(this.#directory, this.pathOf(digest)), target, digest, size, reading)
  }

  /** Makes the names as durable as the bytes. */
  async sync(): Promise<void> {
    for (const one of algorithms) await syncDirectory(join(this.#directory, 'blobs', one))
    await syncDirectory(join(this.#directory, 'blobs'))
  }

  /** Removes what none of the `needed` digests names; returns files and bytes. */
  async removeOthers(
    needed: ReadonlySet<string>,
  ): Promise<{ readonly files: number; readonly bytes: number }> {
    let files = 0
    let bytes = 0
    for (const algorithm of algorithms) {
      const root = join(this.#directory, 'blobs', algorithm)
      for (const name of await readdir(root)) {
        if (needed.has(`${algorithm}:${name}`)) continue
        bytes += (await stat(join(root, name))).size
        files += 1
        await unlink(join(root, name))
      }
    }
    return { files, bytes }
  }

  #incomingPath(digest: Digest): string {
    return join(this.#directory, incomingDirectory, hexOf(digest))
  }

  async #admit(digest: Digest): Promise<void> {
    await rename(this.#incomingPath(digest), join(this.#directory, this.pathOf(digest)))
  }
}

/** A copy that shares the disk's blocks until one side changes, on file systems that can. */
async function tryClone(source: string, target: string): Promise<boolean> {
  try {
    await copyFile(source, target, constants.COPYFILE_FICLONE_FORCE)
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    // What is missing is missing however it is copied.
    if (code === 'ENOENT' || code === 'ENOSPC') throw error
    await rm(target, { force: true })
    return false
  }
}

/** Reads `source`, writes it to `target` where there is one, and compares the digest. */
async function readThrough(
  source: string,
  target: string | undefined,
  digest: Digest,
  size: number,
  { signal, onBytes }: Reading,
): Promise<void> {
  const from = await open(source, 'r')
  let to: FileHandle | undefined
  try {
    if (target !== undefined) to = await open(target, 'w', 0o600)
    const hash = createHash(algorithmOf(digest))
    const piece = Buffer.alloc(pieceBytes)
    let length = 0
    for (;;) {
      signal.throwIfAborted()
      const { bytesRead } = await from.read(piece, 0, pieceBytes, length)
      if (bytesRead === 0) break
      hash.update(piece.subarray(0, bytesRead))
      if (to !== undefined) await writeAll(to, piece.subarray(0, bytesRead), length)
      length += bytesRead
      onBytes(bytesRead)
    }
    if (length !== size) throw new DamagedSource(`it has ${length} bytes instead of ${size}`)
    if (hash.digest('hex') !== hexOf(digest)) throw new DamagedSource('its bytes are other ones')
    // A clone must reach the disk as well as a copy.
    await (to ?? from).sync()
  } finally {
    await from.close()
    await to?.close()
  }
}

async function writeAll(file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten
  }
}
