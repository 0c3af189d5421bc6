/**
 * A part of a file as the body of one request: for uploads in pieces, where a process for every
 * piece would cost more than the piece. One buffer, filled and written out again and again, so that
 * it is as cheap as curl.
 */
import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { Agent, request as httpRequest } from 'node:http'
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http'

import { onLoopback, withoutQuery } from './call.ts'
import type { Target } from './contender.ts'
import type { Payload } from './payload.ts'
import { MIB } from './units.ts'

export interface Slice {
  readonly payload: Payload
  readonly offset: number
  readonly length: number
}

const idleMs = 120_000
const agent = new Agent({ keepAlive: true })

/** Returns the headers of the answer, which must be a 2xx. */
export async function sendSlice(
  method: string,
  { url, headers }: Target,
  slice: Slice,
): Promise<IncomingHttpHeaders> {
  const file = await open(slice.payload.file, 'r')
  try {
    const request = httpRequest(onLoopback(url), {
      method,
      agent,
      headers: { ...headers, 'Content-Length': slice.length },
    })
    request.setTimeout(idleMs, () => request.destroy(new Error('the server went quiet')))
    const answer = answerOf(request)
    // The answer tells more than the broken pipe that a refusal may cause.
    await feed(request, file, slice).catch(async (error: unknown) => {
      await answer
      throw error
    })
    const { status, headers: received, text } = await answer
    if (status >= 200 && status < 300) return received
    throw new Error(`${method} ${withoutQuery(url)}: ${status} ${text}`)
  } finally {
    await file.close()
  }
}

async function feed(request: ClientRequest, file: FileHandle, slice: Slice): Promise<void> {
  const { payload, offset, length } = slice
  const buffer = Buffer.allocUnsafe(Math.min(MIB, Math.max(1, length)))
  const tailStart = payload.sizeBytes - payload.tail.length
  for (let sent = 0; sent < length;) {
    const position = offset + sent
    const { bytesRead } = await file.read(
      buffer,
      0,
      Math.min(buffer.length, length - sent),
      position,
    )
    if (bytesRead === 0) throw new Error(`${payload.file} is too short`)
    if (position + bytesRead > tailStart) {
      const skip = Math.max(0, position - tailStart)
      payload.tail.copy(buffer, Math.max(0, tailStart - position), skip)
    }
    await write(request, buffer.subarray(0, bytesRead))
    sent += bytesRead
  }
  request.end()
}

async function write(request: ClientRequest, bytes: Buffer): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    request.write(bytes, (error) => (error ? reject(error) : resolve()))
  })
}

interface Received {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
}

function answerOf(request: ClientRequest): Promise<Received> {
  const answer = new Promise<Received>((resolve, reject) => {
    request.once('error', reject)
    request.once('response', (response: IncomingMessage) => {
      let text = ''
      response.on('data', (chunk: Buffer) => (text = (text + chunk.toString()).slice(0, 500)))
      response.once('error', reject)
      response.once('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text })
      })
    })
  })
  answer.catch(() => {}) // it is awaited after the body has gone out
  return answer
}
