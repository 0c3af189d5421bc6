/** Requests whose body is a file: what fetch would hold or send in pieces of unknown length. */
import { request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

export interface StreamRequest {
  readonly method: 'GET' | 'PUT'
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Readable
  readonly signal?: AbortSignal
}

/** No byte for this long is a lost connection. */
const idleMs = 60_000

/** The reply, whose body is still to be read. Rejects with the connection's error. */
export async function streamRequest(url: URL, options: StreamRequest): Promise<IncomingMessage> {
  const { method, headers, body, signal } = options
  const make = url.protocol === 'https:' ? httpsRequest : httpRequest
  const request = make(url, { method, headers: { ...headers }, ...(signal ? { signal } : {}) })
  request.setTimeout(idleMs, () => request.destroy(new Error('no answer')))
  const reply = new Promise<IncomingMessage>((resolve, reject) => {
    request.once('response', resolve)
    request.once('error', reject)
  })
  if (body === undefined) {
    request.end()
    return await reply
  }
  // A server that refuses answers before it has read all, and may close then.
  const sent = pipeline(body, request)
  sent.catch(() => {})
  return await reply
}

/** A short body as text. */
export async function textOf(reply: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of reply as AsyncIterable<Buffer>) {
    text += chunk.toString()
    if (text.length > 64 * 1024) break
  }
  return text
}
