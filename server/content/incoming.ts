/**
 * Bytes from a connection to a file, hashed on the way. Sockets hand out small pieces; they are
 * gathered into a few pieces of shared memory, and each is written by the main thread's file
 * operations and hashed by the other thread at the same time. An upload holds these few pieces
 * whatever its size, and a slow disk or hash makes the socket wait.
 */
import type { FileHandle } from 'node:fs/promises'

import { diskFailure } from '../disk-failure.ts'
import { invalid } from '../failure.ts'
import type { SharedPiece, StreamHash } from './hash-thread.ts'

const pieceBytes = 1 << 19
const piecesPerUpload = 4
const spare: SharedPiece[] = []
const maxSpare = 64

export interface ReceiveOptions {
  /** Where in the file the first byte goes. */
  readonly offset: number
  /** More than this is refused. */
  readonly limitBytes: number
  /** Is given every byte, in order. */
  readonly hash?: StreamHash | undefined
}

/** Returns the number of bytes received. Nothing is flushed to the disk yet. */
export async function receive(
  source: AsyncIterable<Buffer>,
  file: FileHandle,
  options: ReceiveOptions,
): Promise<number> {
  const { offset, limitBytes, hash } = options
  // One write at a time: several into one file only wait for its lock, and spin meanwhile.
  let written: Promise<unknown> = Promise.resolve()
  const pieces = new PieceQueue(async (piece, position) => {
    const writing = written.then(async () => await writeAll(file, piece, position))
    written = writing.catch(() => {})
    // Both must be over, whatever happens, before the memory is used again.
    const hashing = hash?.update(piece).catch((error: unknown) => ({ error }))
    await writing.finally(() => hashing)
    const hashed = await hashing
    if (hashed) throw hashed.error
  }, offset)
  let received = 0
  try {
    for await (const chunk of source) {
      received += chunk.length
      if (received > limitBytes) {
        throw invalid('upload', `More bytes arrived than were announced (${limitBytes}).`)
      }
      await pieces.append(chunk)
    }
    await pieces.end()
  } catch (error) {
    await pieces.settle()
    throw translate(error)
  }
  return received
}

/** Hashes what a file holds from `from` to `to`. */
export async function hashRange(
  file: FileHandle,
  hash: StreamHash,
  from: number,
  to: number,
): Promise<void> {
  const piece = takePiece()
  try {
    for (let position = from; position < to;) {
      const wanted = Math.min(pieceBytes, to - position)
      const { bytesRead } = await file.read(piece, 0, wanted, position)
      if (bytesRead === 0) throw invalid('upload', 'The file is shorter than the parts received.')
      await hash.update(piece.subarray(0, bytesRead))
      position += bytesRead
    }
  } finally {
    givePiece(piece)
  }
}

/** Gathers chunks into pieces and hands them on, a few at a time. */
class PieceQueue {
  readonly #work: (piece: SharedPiece, position: number) => Promise<void>
  readonly #running: Promise<void>[] = []
  #piece = takePiece()
  #filled = 0
  #position: number

  constructor(work: (piece: SharedPiece, position: number) => Promise<void>, position: number) {
    this.#work = work
    this.#position = position
  }

  async append(chunk: Buffer): Promise<void> {
    for (let copied = 0; copied < chunk.length;) {
      const count = chunk.copy(this.#piece, this.#filled, copied)
      copied += count
      this.#filled += count
      if (this.#filled === pieceBytes) await this.#handOn()
    }
  }

  async end(): Promise<void> {
    if (this.#filled > 0) await this.#handOn()
    givePiece(this.#piece)
    await Promise.all(this.#running)
  }

  /** Waits until nothing uses the pieces any more, whatever became of it. */
  async settle(): Promise<void> {
    await Promise.allSettled(this.#running)
  }

  async #handOn(): Promise<void> {
    const piece = this.#piece
    const position = this.#position
    this.#position += this.#filled
    const work = this.#work(piece.subarray(0, this.#filled), position).then(() => givePiece(piece))
    work.catch(() => {}) // thrown where it is awaited; must not count as unhandled until then
    this.#running.push(work)
    this.#filled = 0
    if (this.#running.length >= piecesPerUpload) await this.#running.shift()
    this.#piece = takePiece()
  }
}

function takePiece(): SharedPiece {
  return spare.pop() ?? Buffer.from(new SharedArrayBuffer(pieceBytes))
}

function givePiece(piece: SharedPiece): void {
  if (spare.length < maxSpare) spare.push(piece)
}

async function writeAll(file: FileHandle, piece: SharedPiece, position: number): Promise<void> {
  for (let done = 0; done < piece.length;) {
    const { bytesWritten } = await file.write(piece, done, piece.length - done, position + done)
    done += bytesWritten
  }
}

const brokenConnection = new Set(['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE'])

function translate(error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException
  if (code !== undefined && brokenConnection.has(code)) {
    return invalid('upload', 'The connection broke off before all bytes had arrived.', error)
  }
  return diskFailure(error) ?? error
}
