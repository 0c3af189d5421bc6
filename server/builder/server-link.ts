/** A builder host's side of its protocol with the server: one question, held until there is an answer. */
import { Agent as PlainAgent, request as requestPlain } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { Agent as SecureAgent, request as requestSecure } from 'node:https'
import { text } from 'node:stream/consumers'

import { z } from 'zod'

import type { Secret } from '../secret.ts'

/** A runner of this host. */
export interface ReportedRun {
  /** What the server calls it. */
  readonly run: string
  /** Its build. */
  readonly id: string
  readonly state: 'running' | 'ending' | 'ended'
  readonly started: boolean
  readonly said: string
}

export interface Report {
  readonly name: string
  /** Of this start of the program. */
  readonly instance: string
  readonly archs: readonly string[]
  readonly slots: number
  readonly version: string
  readonly runs: readonly ReportedRun[]
  readonly selfTest: { readonly at: string; readonly failure: string | null } | null
  readonly leaving: boolean
}

const run = z.string().regex(/^[0-9a-f]{32}$/)
const order = z.object({
  run,
  // Names files here.
  id: z.string().regex(/^[0-9a-f]{24}$/),
  arch: z.string(),
  token: z.string().min(16),
})
const reply = z.object({
  data: z.object({ start: z.array(order), cancel: z.array(run), forget: z.array(run) }),
})

export type Order = z.infer<typeof order>
export type Answer = z.infer<typeof reply>['data']

export interface HostLink {
  /** Throws when the server refuses, with its words, or is not there. */
  readonly ask: (report: Report, signal: AbortSignal) => Promise<Answer>
  readonly close: () => void
}

/** The server answers in fifteen. */
const idleMs = 40_000

export function openHostLink(server: {
  readonly url: string
  readonly ca: string | undefined
  readonly token: Secret
}): HostLink {
  const where = new URL(`${server.url}/v1/runner/host`)
  const isSecure = where.protocol === 'https:'
  const agent = isSecure
    ? new SecureAgent({ keepAlive: true, ...(server.ca === undefined ? {} : { ca: server.ca }) })
    : new PlainAgent({ keepAlive: true })

  async function send(body: Buffer, signal: AbortSignal): Promise<IncomingMessage> {
    return await new Promise((resolve, reject) => {
      const headers = {
        authorization: `Bearer ${server.token.reveal()}`,
        'content-type': 'application/json',
        'content-length': body.length,
      }
      const options = { method: 'POST', headers, agent, signal, timeout: idleMs }
      const request = (isSecure ? requestSecure : requestPlain)(where, options, resolve)
      request.on('timeout', () => request.destroy(new Error('the server does not answer')))
      request.on('error', reject)
      request.end(body)
    })
  }

  return {
    ask: async (report, signal) => {
      const response = await send(Buffer.from(JSON.stringify(report)), signal)
      const body = await text(response)
      if (response.statusCode === 200) return reply.parse(JSON.parse(body)).data
      throw new Error(`the server refuses (${response.statusCode}): ${wordsOf(body)}`)
    },
    close: () => agent.destroy(),
  }
}

function wordsOf(body: string): string {
  try {
    const { error } = JSON.parse(body) as { error?: { message?: string } }
    if (error?.message !== undefined) return error.message
  } catch {
    // Of a proxy, which speaks HTML.
  }
  return body.trim().slice(0, 200)
}
