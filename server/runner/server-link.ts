/** The runner's side of the protocol with the server; the token serves this build alone. */
import { request as requestPlain } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { request as requestSecure } from 'node:https'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'

import { jobReply, outputReply } from './job.ts'
import type { Job, JobFile } from './job.ts'

/** `unable`: the walls do not hold here, and the build has to be done somewhere else. */
export type EndState = 'succeeded' | 'failed' | 'cancelled' | 'unable'

export interface ServerLink {
  /** Of the server, without a slash at its end. */
  readonly address: string
  readonly job: () => Promise<Job>
  /** Sends output from an offset on. Throws OffsetWrong, or LinkLost when the build is over there. */
  readonly sendOutput: (offset: number, bytes: Buffer) => Promise<{ size: number; cancel: boolean }>
  /** Says that the walls around the build hold. Whether the server has heard it does not matter. */
  readonly wallsHold: () => Promise<void>
  readonly context: (url: string) => Promise<Readable>
  /** Undefined when the image was taken, or why not. */
  readonly putImage: (
    make: () => Readable,
    sizeBytes: number,
    stop: AbortSignal,
  ) => Promise<string | undefined>
  readonly end: (state: EndState, reason: string) => Promise<void>
}

/** The server does not know this build (any more): nobody waits for what it makes. */
class LinkLost extends Error {
  override readonly name = 'LinkLost'
}

/** The server has output up to `size`. */
export class OffsetWrong extends Error {
  override readonly name = 'OffsetWrong'
  readonly size: number
  constructor(size: number) {
    super(`the server has ${size} bytes of output`)
    this.size = size
  }
}

interface Answer {
  readonly status: number
  readonly body: string
}

/** No byte moves for this long: the connection is given up. */
const idleMs = 60_000
/** A server that restarts, or is moved, is waited for. */
const patienceMs = 10 * 60_000
const firstPauseMs = 250
const longestPauseMs = 10_000

export function openServerLink({ url, token, ca }: JobFile): ServerLink {
  const base = url.replace(/\/+$/, '')

  async function open(
    method: string,
    path: string,
    body?: Buffer | { readonly stream: Readable; readonly size: number },
    type = 'application/json',
    stop?: AbortSignal,
  ): Promise<IncomingMessage> {
    const where = new URL(path, `${base}/`)
    // A context may be named by an address of its own; the token goes to the server only.
    const isServer = where.href.startsWith(`${base}/`)
    const length = body === undefined ? 0 : Buffer.isBuffer(body) ? body.length : body.size
    const headers = {
      ...(isServer ? { authorization: `Bearer ${token}` } : {}),
      'content-length': length,
      ...(body === undefined ? {} : { 'content-type': type }),
    }
    const send = where.protocol === 'https:' ? requestSecure : requestPlain
    return await new Promise((resolve, reject) => {
      const options = {
        method,
        headers,
        timeout: idleMs,
        ...(ca === undefined ? {} : { ca }),
        ...(stop === undefined ? {} : { signal: stop }),
      }
      const request = send(where, options, resolve)
      request.on('timeout', () => request.destroy(new Error('the server does not answer')))
      request.on('error', reject)
      if (body === undefined || Buffer.isBuffer(body)) request.end(body)
      else pipeline(body.stream, request).catch(reject)
    })
  }

  async function ask(method: string, path: string, body?: Buffer, type?: string): Promise<Answer> {
    const response = await open(method, path, body, type)
    return { status: response.statusCode ?? 0, body: await text(response) }
  }

  /** Again, while the server is away or says that it is not well. */
  async function patiently<T>(work: () => Promise<T | undefined>): Promise<T> {
    const deadline = Date.now() + patienceMs
    for (let pause = firstPauseMs; ; pause = Math.min(pause * 2, longestPauseMs)) {
      try {
        const result = await work()
        if (result !== undefined) return result
      } catch (error) {
        if (!isPassing(error) || Date.now() > deadline) throw error
      }
      if (Date.now() > deadline) throw new Error(`the server at ${base} does not come back`)
      await delay(pause)
    }
  }

  async function answered(
    method: string,
    path: string,
    body?: Buffer,
    type?: string,
  ): Promise<Answer> {
    return await patiently(async () => {
      const answer = await ask(method, path, body, type)
      if (answer.status >= 500 || answer.status === 429) return undefined
      if ([401, 403, 404, 410].includes(answer.status)) {
        throw new LinkLost(`the server knows nothing of this build (${answer.status})`)
      }
      return answer
    })
  }

  return {
    address: base,

    job: async () => {
      const answer = await answered('GET', 'v1/runner/job')
      if (answer.status !== 200) throw new Error(`the server gave no job: ${describe(answer)}`)
      return jobReply.parse(JSON.parse(answer.body)).data
    },

    sendOutput: async (offset, bytes) => {
      const path = `v1/runner/output?offset=${offset}`
      const answer = await answered('PATCH', path, bytes, 'application/octet-stream')
      if (answer.status === 409) throw new OffsetWrong(sizeIn(answer.body))
      if (answer.status !== 200) throw new Error(`output was refused: ${describe(answer)}`)
      return outputReply.parse(JSON.parse(answer.body)).data
    },

    wallsHold: async () => {
      await ask('POST', 'v1/runner/walls').catch(() => {})
    },

    context: async (address) => {
      const response = await patiently(async () => {
        const response = await open('GET', address)
        if ((response.statusCode ?? 0) < 500) return response
        response.resume()
        return undefined
      })
      if (response.statusCode === 200) return response
      throw new Error(`the build context cannot be had: ${response.statusCode}`)
    },

    putImage: async (make, sizeBytes, stop) =>
      await patiently(async () => {
        const image = { stream: make(), size: sizeBytes }
        const response = await open(
          'PUT',
          'v1/runner/image',
          image,
          'application/octet-stream',
          stop,
        )
        const answer = { status: response.statusCode ?? 0, body: await text(response) }
        if (answer.status >= 500) return undefined
        return { refusal: answer.status < 300 ? undefined : describe(answer) }
      }).then(({ refusal }) => refusal),

    end: async (state, reason) => {
      const answer = await answered(
        'POST',
        'v1/runner/end',
        Buffer.from(JSON.stringify({ state, reason })),
      )
      if (answer.status >= 300) throw new Error(`the end was refused: ${describe(answer)}`)
    },
  }
}

function isPassing(error: unknown): boolean {
  if ((error as Error).name === 'AbortError') return false
  return (
    typeof (error as NodeJS.ErrnoException).code === 'string' ||
    /does not answer|socket hang up|aborted/.test(String(error))
  )
}

/** The words of the server, whichever of its two shapes of errors it used. */
function describe({ status, body }: Answer): string {
  try {
    const parsed = JSON.parse(body) as {
      error?: { message?: unknown } | string
      detail?: unknown
      title?: unknown
    }
    const error = typeof parsed.error === 'object' ? parsed.error.message : parsed.error
    const words = error ?? parsed.detail ?? parsed.title
    if (typeof words === 'string') return words
  } catch {
    // Not JSON: the text itself.
  }
  return body.trim().slice(0, 500) || `status ${status}`
}

/** Of the 409: {"data":{"size":N}} or {"size":N}; 0, from which all is sent again, when it has none. */
function sizeIn(body: string): number {
  return Number(/"size"\s*:\s*(\d+)/.exec(body)?.[1] ?? 0)
}
