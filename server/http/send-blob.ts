/**
 * A stored file to a connection. Two buffers take turns: one is read from the disk while the other
 * is on its way, so a download costs two of them whatever its size. Large reads are what makes it
 * fast (a stream of 64 KiB pieces costs five times the processor time).
 */
import { once } from 'node:events'
import type { FileHandle } from 'node:fs/promises'

import type { Request, Response } from 'express'

import { Failure } from '../failure.ts'
import { accelPath } from './accel.ts'

export interface SendOptions {
  readonly size: number
  readonly etag: string
  /** The file below the store's blobs, for a proxy that can send it; undefined: it never does. */
  readonly stored?: string
  readonly headers?: Readonly<Record<string, string>>
}

const bufferBytes = 1 << 20
const spare: Buffer[] = []
const maxSpare = 64

/** Answers GET and HEAD with 200 or 206. Closes the file. Throws `range` for one outside the file. */
export async function sendBlob(
  req: Request,
  res: Response,
  file: FileHandle,
  options: SendOptions,
): Promise<void> {
  try {
    const { size } = options
    const range = wantedRange(req, size)
    const { start, end } = range ?? { start: 0, end: size - 1 }
    res.set({
      'Content-Type': 'application/octet-stream',
      'Cache-Control': 'private, no-transform',
      ETag: `"${options.etag}"`,
      ...options.headers,
    })
    const accelerated = accelPath(req, options.stored, range !== undefined)
    if (accelerated !== undefined) {
      // The proxy makes the status, the length and the range of the answer from the file.
      res.set('X-Accel-Redirect', accelerated).end()
      return
    }
    res.status(range === undefined ? 200 : 206).set({
      'Accept-Ranges': 'bytes',
      'Content-Length': String(end - start + 1),
    })
    if (range !== undefined) res.set('Content-Range', `bytes ${start}-${end}/${size}`)
    if (req.method === 'HEAD') res.end()
    else await copy(file, res, start, end + 1)
  } finally {
    await file.close()
  }
}

/** Several ranges at once are answered with the whole file, as RFC 9110 allows. */
function wantedRange(req: Request, size: number): { start: number; end: number } | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(req.get('range') ?? '')
  const [, first = '', last = ''] = match ?? []
  if (first === '' && last === '') return undefined
  // Without a first byte it is the last so many: all, if there are not so many.
  const start = first === '' ? Math.max(0, size - Number(last)) : Number(first)
  const end = first === '' || last === '' ? size - 1 : Math.min(Number(last), size - 1)
  if (first !== '' && last !== '' && Number(last) < start) return undefined
  if (start <= end) return { start, end }
  throw new Failure('range', 'blob', `The file has ${size} bytes.`)
}

async function copy(file: FileHandle, res: Response, from: number, to: number): Promise<void> {
  const buffers = [spare.pop() ?? Buffer.allocUnsafeSlow(bufferBytes)]
  buffers.push(spare.pop() ?? Buffer.allocUnsafeSlow(bufferBytes))
  let writing: Promise<void> = Promise.resolve()
  try {
    for (let position = from, turn = 0; position < to; turn += 1) {
      const buffer = buffers[turn % 2] ?? Buffer.alloc(0)
      const wanted = Math.min(bufferBytes, to - position)
      const { bytesRead } = await file.read(buffer, 0, wanted, position)
      if (bytesRead === 0) throw new Error('a stored file became shorter while it was sent')
      position += bytesRead
      await writing
      writing = write(res, buffer.subarray(0, bytesRead))
      writing.catch(() => {}) // thrown by the next await; must not count as unhandled until then
    }
    await writing
    res.end()
    if (spare.length < maxSpare) spare.push(...buffers)
  } catch (error) {
    // The length has been promised: a broken connection is the only honest end. The buffers are
    // not used again, since the socket may still hold one.
    res.destroy()
    if (!isHangUp(error)) throw error
  }
}

async function write(res: Response, piece: Buffer): Promise<void> {
  if (res.destroyed) throw hangUp()
  const stop = new AbortController()
  const closed = once(res, 'close', { signal: stop.signal }).then(() => {
    throw hangUp()
  })
  const written = new Promise<void>((resolve, reject) => {
    res.write(piece, (error) => (error ? reject(error) : resolve()))
  })
  try {
    await Promise.race([written, closed])
  } finally {
    stop.abort()
    closed.catch(() => {})
    written.catch(() => {})
  }
}

function hangUp(): NodeJS.ErrnoException {
  return Object.assign(new Error('the client hung up'), { code: 'ECONNRESET' })
}

function isHangUp(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'ECONNRESET' || code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED'
}
