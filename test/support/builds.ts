/** A site that builds, with the stand-in in the place of the runner, and a person who uses it. */
import assert from 'node:assert/strict'
import { globalAgent } from 'node:https'
import { join } from 'node:path'

import { WebSocket } from 'ws'

import { packageRoot } from '../../server/package-root.ts'
import type { Client, Reply } from './client.ts'
import { eventually } from './server.ts'

/** `[builder]` of a site whose runner is the stand-in. */
export function builderSettings(
  more: Readonly<Record<string, unknown>> = {},
  host: Readonly<Record<string, unknown>> = {},
): Readonly<Record<string, unknown>> {
  const runner = [process.execPath, join(packageRoot, 'dist/test/support/stand-in-runner.js')]
  return {
    enabled: true,
    builders: [{ name: 'here', archs: ['amd64'], slots: 2, runner, ...host }],
    ...more,
  }
}

export function definitionOf(...steps: readonly string[]): string {
  const lines = steps.map((step) => `#do ${step}`).join('\n')
  return `Bootstrap: scratch\n\n%post\n${lines}\n`
}

export interface SubmitOptions {
  readonly libraryRef?: string
  readonly [more: string]: unknown
}

export async function trySubmit(
  client: Client,
  definition: string | Buffer,
  options: SubmitOptions = {},
): Promise<Reply> {
  const definitionRaw = Buffer.from(definition).toString('base64')
  return await client.post('/v1/build', { definitionRaw, libraryRef: '', ...options })
}

/** Returns the build's ID. */
export async function submit(
  client: Client,
  definition: string,
  options: SubmitOptions = {},
): Promise<string> {
  const reply = await trySubmit(client, definition, options)
  assert.equal(reply.status, 201, reply.body.toString())
  return reply.json.data.id as string
}

/** The build as the client sees it when it has ended. */
export async function ended(
  client: Client,
  id: string,
  deadlineMs = 90_000,
): Promise<Reply['json']> {
  let last: Reply['json']
  await eventually(
    async () => {
      last = (await client.get(`/v1/build/${id}`)).json.data
      return last.isComplete === true
    },
    `build ${id} ends`,
    deadlineMs,
  )
  return last
}

export async function stateIs(client: Client, id: string, state: string): Promise<void> {
  await eventually(
    async () => (await client.get(`/v1/build/${id}`)).json.data.state === state,
    `build ${id} is ${state}`,
  )
}

export async function outputOf(client: Client, id: string): Promise<string> {
  const reply = await client.get(`/v1/build-output/${id}`)
  assert.equal(reply.status, 200, reply.body.toString())
  return reply.body.toString()
}

export interface Followed {
  readonly text: string
  readonly code: number
  readonly frames: number
}

/** Follows the output to the close of the socket; rejects with the status of a refusal. */
export async function follow(client: Client, id: string, query = ''): Promise<Followed> {
  const socket = openSocket(client, id, query)
  return await new Promise((resolve, reject) => {
    let text = ''
    let frames = 0
    socket.on('message', (data: Buffer, isBinary) => {
      assert.equal(isBinary, false)
      text += data.toString()
      frames += 1
    })
    socket.on('unexpected-response', (_req, res) => {
      res.resume()
      reject(new Error(`refused with ${res.statusCode}`))
    })
    socket.on('error', reject)
    socket.on('close', (code) => resolve({ text, code, frames }))
  })
}

export function openSocket(client: Client, id: string, query = ''): WebSocket {
  const { url, credentials } = client
  const address = `${url.replace(/^http/, 'ws')}/v1/build-ws/${id}${query}`
  // As the stock client: upper case, no subprotocol, no Origin.
  const headers = credentials ? { authorization: `BEARER ${credentials.token}` } : {}
  const { ca } = globalAgent.options
  return new WebSocket(address, { headers, ca, perMessageDeflate: false })
}
