/**
 * Bytes from a connection to a file, hashed on the way. Sockets hand out small pieces; they are
 * gathered to 1 MiB before a write, and one write runs while the next piece is gathered, so that an
 * upload costs about two such batches of memory whatever its size (../perf figures in README).
 */
import type { Hash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'

import { Failure, invalid } from '../failure.ts'

const batchBytes = 1 << 20

export interface ReceiveOptions {
  /** Where in the file the first byte goes. */
  readonly offset: number
  /** More than this is refused. */
  readonly limitBytes: number
  /** Is given every byte, in order. */
  readonly hash?: Hash | undefined
}

/** Returns the number of bytes received. Nothing is flushed to the disk yet. */
export async function receive(
  source: AsyncIterable<Buffer>,
  file: FileHandle,
  options: ReceiveOptions,
): Promise<number> {
  const { offset, limitBytes, hash } = options
  let received = 0
  let written = offset
  let batch: Buffer[] = []
  let gathered = 0
  let writing: Promise<void> = Promise.resolve()

  async function flush(): Promise<void> {
    await writing
    const pieces = batch
    const position = written
    written += gathered
    batch = []
    gathered = 0
    writing = writeAll(file, pieces, position)
    // Its failure is thrown by the next `await writing`; until then it must not count as unhandled.
    writing.catch(() => {})
  }

  try {
    for await (const piece of source) {
      received += piece.length
      if (received > limitBytes) {
        throw invalid('upload', `More bytes arrived than were announced (${limitBytes}).`)
      }
      hash?.update(piece)
      batch.push(piece)
      gathered += piece.length
      if (gathered >= batchBytes) await flush()
    }
    await flush()
    await writing
  } catch (error) {
    await writing.catch(() => {})
    throw translate(error)
  }
  return received
}

/** Hashes what a file holds from `from` to `to`. */
export async function hashRange(
  file: FileHandle,
  hash: Hash,
  from: number,
  to: number,
): Promise<void> {
  const buffer = Buffer.allocUnsafe(batchBytes)
  for (let position = from; position < to;) {
    const { bytesRead } = await file.read(
      buffer,
      0,
      Math.min(buffer.length, to - position),
      position,
    )
    if (bytesRead === 0) throw invalid('upload', 'The file is shorter than the parts received.')
    hash.update(buffer.subarray(0, bytesRead))
    position += bytesRead
  }
}

async function writeAll(
  file: FileHandle,
  pieces: readonly Buffer[],
  position: number,
): Promise<void> {
  const total = pieces.reduce((sum, piece) => sum + piece.length, 0)
  if (total === 0) return
  const { bytesWritten } = await file.writev(pieces, position)
  if (bytesWritten === total) return
  // A short write: rare (a signal, an almost full disk); the rest goes out in one piece.
  const rest = Buffer.concat(pieces).subarray(bytesWritten)
  let done = 0
  while (done < rest.length) {
    const result = await file.write(rest, done, rest.length - done, position + bytesWritten + done)
    done += result.bytesWritten
  }
}

const brokenConnection = new Set(['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE'])

function translate(error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new Failure('storage-full', 'storage', 'The disk of the library is full.', {
      cause: error,
    })
  }
  if (code !== undefined && brokenConnection.has(code)) {
    return invalid('upload', 'The connection broke off before all bytes had arrived.', error)
  }
  return error
}
