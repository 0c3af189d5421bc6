/** The image on its way from the sandbox to the server: a file that only the runner writes. */
import { createReadStream, createWriteStream } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

export interface ReceivedImage {
  readonly sizeBytes: number
  /** Why it cannot be an image; undefined for one that the server may look at. */
  readonly fault: string | undefined
  readonly read: () => Readable
}

/** The launcher line, and the magic at its place in the header (SIF 1.0). */
const magic = { text: 'SIF_MAGIC', at: 32 }

/**
 * Writes what comes into a new file in `directory`, up to `limitBytes`; what is over is read to its end
 * and thrown away, so that the sandbox can finish.
 */
export async function receiveImage(
  stream: Readable,
  directory: string,
  limitBytes: number,
): Promise<ReceivedImage> {
  const path = join(directory, 'image.sif')
  let sizeBytes = 0
  let head = Buffer.alloc(0)
  async function* withinLimit(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      sizeBytes += chunk.length
      if (sizeBytes > limitBytes) continue
      if (head.length < 64) head = Buffer.concat([head, chunk]).subarray(0, 64)
      yield chunk
    }
  }
  // What comes while a write is under way is written together by the next: a pipe gives 64 KiB.
  const file = createWriteStream(path, { flags: 'wx', mode: 0o600, highWaterMark: 2 ** 22 })
  await pipeline(stream, withinLimit, file)
  return {
    sizeBytes,
    fault: faultOf(sizeBytes, limitBytes, head),
    read: () => createReadStream(path, { highWaterMark: 2 ** 20 }),
  }
}

function faultOf(sizeBytes: number, limitBytes: number, head: Buffer): string | undefined {
  if (sizeBytes === 0) return 'The build ended well, but left no image.'
  if (sizeBytes > limitBytes) {
    return `The image is larger than the ${limitBytes} bytes that there is room for.`
  }
  const found = head.subarray(magic.at, magic.at + magic.text.length).toString('latin1')
  return found === magic.text ? undefined : 'What the build left is not a SIF image.'
}
