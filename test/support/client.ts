/** A person at the API: requests with or without a token, and the push and pull of the clients. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { request } from 'node:http'

export interface Credentials {
  readonly name: string
  readonly accountId: string
  readonly token: string
  readonly tokenId: string
}

export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Buffer
  /** The body as JSON; undefined when it is not JSON. */
  readonly json: Json
}

/** JSON of a reply, loose on purpose: tests assert what they read. */
// oxlint-disable-next-line typescript/no-explicit-any
export type Json = any

export interface RequestOptions {
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Buffer | string
}

export class Client {
  readonly url: string
  readonly credentials: Credentials | undefined

  constructor(url: string, credentials: Credentials | undefined) {
    this.url = url
    this.credentials = credentials
  }

  get name(): string {
    return this.credentials?.name ?? 'anonymous'
  }

  async get(path: string, headers: Readonly<Record<string, string>> = {}): Promise<Reply> {
    return await this.send('GET', path, { headers })
  }

  /** JSON without a content type, as the library clients send it. */
  async post(path: string, body: unknown): Promise<Reply> {
    return await this.send('POST', path, { body: JSON.stringify(body) })
  }

  async put(path: string, body: unknown): Promise<Reply> {
    return await this.send('PUT', path, { body: JSON.stringify(body) })
  }

  async delete(path: string): Promise<Reply> {
    return await this.send('DELETE', path)
  }

  /** The path goes out exactly as written (node:http does not normalise it). */
  async send(method: string, path: string, options: RequestOptions = {}): Promise<Reply> {
    const token = this.credentials?.token
    const headers: Record<string, string> = {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(options.body === undefined
        ? {}
        : { 'content-length': String(Buffer.byteLength(options.body)) }),
      ...options.headers,
    }
    return await exchange(this.url, method, path, headers, options.body)
  }

  /** Pushes as the stock client does (protocol.md 5.4); returns the reply of `_complete`. */
  async push(path: string, tag: string | undefined, sif: Buffer): Promise<Reply> {
    const id = await this.announce(path, sif)
    const opened = await this.post(`/v2/imagefile/${id}`, { filesize: sif.length })
    if (opened.status !== 200) return opened
    const sent = await this.upload(opened.json.data.uploadURL, sif)
    if (sent.status !== 200) return sent
    const completed = await this.put(`/v2/imagefile/${id}/_complete`, {})
    if (completed.status !== 200 || tag === undefined) return completed
    await this.tag(path, tag, sif)
    return completed
  }

  /** POST v1/images; the containers above it appear with it. Returns the image's ID. */
  async announce(path: string, sif: Buffer): Promise<string> {
    const reply = await this.post('/v1/images', { hash: libraryHash(sif), container: path })
    assert.equal(reply.status, 200, reply.body.toString())
    return reply.json.data.id as string
  }

  async tag(path: string, tag: string, sif: Buffer, arch = 'amd64'): Promise<void> {
    const body = { Arch: arch, Tag: tag, ImageID: `${path}:${libraryHash(sif)}` }
    const reply = await this.post(`/v2/tags/${path}`, body)
    assert.equal(reply.status, 200, reply.body.toString())
  }

  /** PUT to an absolute capability URL, without credentials. */
  async upload(url: string, bytes: Buffer): Promise<Reply> {
    const { origin, pathname } = new URL(url)
    const headers = {
      'content-type': 'application/octet-stream',
      'content-length': String(bytes.length),
    }
    return await exchange(origin, 'PUT', pathname, headers, bytes)
  }
}

export function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** sha256.<hex>, the library's spelling. */
export function libraryHash(bytes: Buffer): string {
  return `sha256.${sha256(bytes)}`
}

async function exchange(
  origin: string,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>>,
  body: Buffer | string | undefined,
): Promise<Reply> {
  const { hostname, port } = new URL(origin)
  return await new Promise((resolve, reject) => {
    const sent = request({ hostname, port, method, path, headers, agent: false }, (res) => {
      const pieces: Buffer[] = []
      res.on('data', (piece: Buffer) => pieces.push(piece))
      res.on('error', reject)
      res.on('end', () => {
        const received = Buffer.concat(pieces)
        const reply = { status: res.statusCode ?? 0, headers: res.headers, body: received }
        resolve({ ...reply, json: parseJson(received) })
      })
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

function parseJson(body: Buffer): Json {
  try {
    return JSON.parse(body.toString())
  } catch {
    return undefined
  }
}
