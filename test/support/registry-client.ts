/** Single steps of the distribution API, for tests that do one of them wrong on purpose. */
import assert from 'node:assert/strict'
import { request } from 'node:http'

import { Client } from './client.ts'
import type { Reply } from './client.ts'
import { digestOf } from './oci-image.ts'
import { emptyConfig, sessionPath } from './oci-push.ts'
import type { Manifest } from './oci-push.ts'

export interface DocumentOptions {
  readonly mediaType?: string
  /** Default: the bytes `{}` with the type of an OCI image's configuration. */
  readonly config?: { readonly mediaType?: string; readonly bytes?: Buffer }
  readonly layers?: readonly Buffer[]
  readonly layerType?: string
  /** Members as they are, over the others; undefined takes one out. */
  readonly extra?: Readonly<Record<string, unknown>>
}

const manifestType = 'application/vnd.oci.image.manifest.v1+json'

/** A manifest of any kind; its digest is of SHA-256. */
export function makeManifest(options: DocumentOptions = {}): Manifest {
  const { mediaType = manifestType, config, layers = [] } = options
  const configType = config?.mediaType ?? 'application/vnd.oci.image.config.v1+json'
  const layerType = options.layerType ?? 'application/vnd.oci.image.layer.v1.tar+gzip'
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType,
      config: describe(configType, config?.bytes ?? emptyConfig),
      layers: layers.map((layer) => describe(layerType, layer)),
      ...options.extra,
    }),
  )
  return { bytes, mediaType, digest: digestOf(bytes) }
}

export function describe(mediaType: string, bytes: Buffer): object {
  return { mediaType, digest: digestOf(bytes), size: bytes.length }
}

/** What `subject` of a manifest says, for one that is there or not. */
export function subjectOf({ mediaType, bytes, digest }: Manifest): object {
  return { mediaType, digest, size: bytes.length }
}

/** Opens an upload; returns the path of its session. */
export async function openUpload(client: Client, name: string): Promise<string> {
  const opened = await client.send('POST', `/v2/${name}/blobs/uploads/`)
  assert.equal(opened.status, 202, opened.body.toString())
  return sessionPath(opened)
}

/** PATCH with `Content-Range: first-last`, as pushes in pieces do. */
export async function patchChunk(
  client: Client,
  session: string,
  bytes: Buffer,
  first: number,
): Promise<Reply> {
  const range = `${first}-${first + bytes.length - 1}`
  return await client.send('PATCH', session, { headers: { 'content-range': range }, body: bytes })
}

export async function endUpload(
  client: Client,
  session: string,
  digest: string,
  last?: Buffer,
): Promise<Reply> {
  const path = `${session}?digest=${digest}`
  return await client.send('PUT', path, last === undefined ? {} : { body: last })
}

/** Where the server says that it is: the number of the next byte after `Range: 0-n`. */
export function nextByte(reply: Reply): number {
  const match = /^0-(\d+)$/.exec(String(reply.headers['range']))
  assert.ok(match, `no Range in ${JSON.stringify(reply.headers)}`)
  return Number(match[1]) + 1
}

/** A body without a length, as docker and podman send their layers. */
export async function sendStream(
  client: Client,
  method: string,
  path: string,
  pieces: readonly Buffer[],
  headers: Readonly<Record<string, string>> = {},
): Promise<{ readonly status: number; readonly body: string }> {
  const authorization = `Bearer ${client.credentials?.token ?? ''}`
  return await new Promise((resolve, reject) => {
    const sent = request(
      `${client.url}${path}`,
      { method, agent: false, headers: { authorization, ...headers } },
      (res) => {
        let body = ''
        res.on('data', (piece: Buffer) => (body += piece.toString()))
        res.on('end', () => resolve({ status: res.statusCode ?? 0, body }))
      },
    )
    sent.on('error', reject)
    for (const piece of pieces) sent.write(piece)
    sent.end()
  })
}

/** The same caller with a registry token for these scopes instead of the access token. */
export async function withRegistryToken(
  client: Client,
  scopes: readonly string[],
): Promise<Client> {
  const query = new URLSearchParams([
    ['service', 'test'],
    ...scopes.map((scope) => ['scope', scope]),
  ])
  const reply = await client.get(`/registry/token?${query.toString()}`)
  assert.equal(reply.status, 200, reply.body.toString())
  return withToken(client, reply.json.token)
}

/** Somebody who brings this as Bearer. */
export function withToken({ url, credentials }: Client, token: string): Client {
  const { name, accountId, tokenId } = credentials ?? { name: '', accountId: '', tokenId: '' }
  return new Client(url, { name, accountId, token, tokenId })
}

/** The error form of the registry (distribution-spec, "Error Codes"). */
export function assertRefused(
  reply: Reply,
  status: number,
  code: string,
  message: RegExp = /./,
): void {
  assert.equal(reply.status, status, reply.body.toString())
  assert.match(String(reply.headers['content-type']), /^application\/json/)
  assert.equal(reply.json.errors[0].code, code, reply.body.toString())
  assert.match(reply.json.errors[0].message, message)
}
