/**
 * Files to upload: a small valid SIF, random bytes after its last object, and a tail that changes
 * from upload to upload, because an image that a server has already is not sent again. The digests
 * before the tail are kept, so that a new variant costs 32 bytes of writing and hashing.
 */
import { createCipheriv, createHash, randomBytes } from 'node:crypto'
import type { Hash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'

import { makeSif } from '../support/sif.ts'
import { MIB } from './units.ts'

export interface Payload {
  readonly file: string
  readonly sizeBytes: number
  /** The last bytes, whatever the file ends in. */
  readonly tail: Buffer
  /** Whether the file itself ends in the tail; else only `sendSlice` can send this payload. */
  readonly written: boolean
  readonly sha256: string
  readonly md5: string
}

const tailBytes = 32

export class PayloadSource {
  readonly #directory: string
  readonly #base: string
  readonly #hashes: ReadonlyMap<number, Hashes>
  readonly #files = new Set<string>()

  private constructor(directory: string, base: string, hashes: ReadonlyMap<number, Hashes>) {
    this.#directory = directory
    this.#base = base
    this.#hashes = hashes
  }

  static async create(directory: string, sizes: readonly number[]): Promise<PayloadSource> {
    const base = join(directory, 'base.sif')
    const file = await open(base, 'wx')
    try {
      return new PayloadSource(directory, base, await writeBase(file, sizes))
    } finally {
      await file.close()
    }
  }

  /** A file with a tail of its own. The same size and number use the same file again. */
  async fresh(sizeBytes: number, number: number): Promise<Payload> {
    const file = join(this.#directory, `${sizeBytes}-${number}.sif`)
    if (!this.#files.has(file)) {
      const source = createReadStream(this.#base, { end: sizeBytes - 1, highWaterMark: MIB })
      await pipeline(source, createWriteStream(file, { flags: 'wx' }))
      this.#files.add(file)
    }
    const payload = { ...this.unwritten(sizeBytes), file, written: true }
    const handle = await open(file, 'r+')
    try {
      await handle.write(payload.tail, 0, tailBytes, sizeBytes - tailBytes)
    } finally {
      await handle.close()
    }
    return payload
  }

  /** One of many large payloads that share a file: there is no room for sixteen of 1 GiB. */
  unwritten(sizeBytes: number): Payload {
    const hashes = this.#hashes.get(sizeBytes)
    if (hashes === undefined) throw new Error(`no payload of ${sizeBytes} bytes was prepared`)
    const tail = randomBytes(tailBytes)
    return {
      file: this.#base,
      sizeBytes,
      tail,
      written: false,
      sha256: hashes.sha256.copy().update(tail).digest('hex'),
      md5: hashes.md5.copy().update(tail).digest('hex'),
    }
  }
}

interface Hashes {
  readonly sha256: Hash
  readonly md5: Hash
}

/** Writes the largest size and keeps the digests of what comes before each size's tail. */
async function writeBase(
  file: FileHandle,
  sizes: readonly number[],
): Promise<ReadonlyMap<number, Hashes>> {
  const kept = new Map<number, Hashes>()
  const running = { sha256: createHash('sha256'), md5: createHash('md5') }
  // A cipher's key stream is as good as random and faster than asking for random bytes.
  const cipher = createCipheriv('aes-128-ctr', randomBytes(16), Buffer.alloc(16))
  const zeros = Buffer.alloc(MIB)
  let end = 0

  async function append(bytes: Buffer): Promise<void> {
    running.sha256.update(bytes)
    running.md5.update(bytes)
    await file.write(bytes)
    end += bytes.length
  }

  await append(makeSif({ payload: 4096, seed: randomBytes(8).toString('hex') }))
  for (const size of [...new Set(sizes)].sort((a, b) => a - b)) {
    const boundary = size - tailBytes
    while (end < boundary) {
      await append(cipher.update(zeros.subarray(0, Math.min(MIB, boundary - end))))
    }
    kept.set(size, { sha256: running.sha256.copy(), md5: running.md5.copy() })
  }
  await file.write(zeros.subarray(0, tailBytes))
  return kept
}
