/** A person at the API: requests with or without a token, and the push and pull of the clients. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { request as requestPlain } from 'node:http'
import { globalAgent, request as requestSecure } from 'node:https'
import { connect } from 'node:net'

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
type Json = any

export interface RequestOptions {
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Buffer | string
}

export interface PartsUpload {
  /** The image's ID. */
  readonly image: string
  readonly uploadID: string
  readonly totalParts: number
  readonly partSize: number
  readonly sif: Buffer
}

export interface SentPart {
  readonly partNumber: number
  readonly token: string
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

  /** POST v2/imagefile for an announced image: the upload URL. */
  async openWhole(path: string, sif: Buffer): Promise<string> {
    const id = await this.announce(path, sif)
    const reply = await this.post(`/v2/imagefile/${id}`, { filesize: sif.length })
    assert.equal(reply.status, 200, reply.body.toString())
    return reply.json.data.uploadURL as string
  }

  /** Starts a multipart upload of an announced image. */
  async openParts(path: string, sif: Buffer): Promise<PartsUpload> {
    const id = await this.announce(path, sif)
    const reply = await this.post(`/v2/imagefile/${id}/_multipart`, { filesize: sif.length })
    assert.equal(reply.status, 200, reply.body.toString())
    const { uploadID, totalParts, partSize } = reply.json.data
    return { image: id, uploadID, totalParts, partSize, sif }
  }

  /** The address for one part. */
  async partUrl(upload: PartsUpload, partNumber: number): Promise<string> {
    const body = { uploadID: upload.uploadID, partSize: upload.partSize, partNumber, sha256sum: '' }
    const reply = await this.put(`/v2/imagefile/${upload.image}/_multipart`, body)
    assert.equal(reply.status, 200, reply.body.toString())
    return reply.json.data.presignedURL as string
  }

  /** Sends one part as it is, or other bytes; returns what `_multipart_complete` wants of it. */
  async sendPart(upload: PartsUpload, number: number, bytes?: Buffer): Promise<SentPart> {
    const { sif, partSize } = upload
    const part = bytes ?? sif.subarray((number - 1) * partSize, number * partSize)
    const reply = await this.upload(await this.partUrl(upload, number), part)
    assert.equal(reply.status, 200, reply.body.toString())
    return { partNumber: number, token: String(reply.headers['etag']) }
  }

  async completeParts(upload: PartsUpload, completedParts: readonly SentPart[]): Promise<Reply> {
    const body = { uploadID: upload.uploadID, completedParts }
    return await this.put(`/v2/imagefile/${upload.image}/_multipart_complete`, body)
  }

  async abortParts(upload: PartsUpload): Promise<Reply> {
    const body = { uploadID: upload.uploadID }
    return await this.put(`/v2/imagefile/${upload.image}/_multipart_abort`, body)
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

/** The error form of the library: the status again in `code`, and a text for people. */
export function assertProblem(reply: Reply, status: number, message: RegExp = /./): void {
  assert.equal(reply.status, status, reply.body.toString())
  assert.match(String(reply.headers['content-type']), /^application\/json/)
  assert.equal(reply.json.error.code, status)
  assert.match(reply.json.error.message, message)
}

export function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** sha256.<hex>, the library's spelling. */
export function libraryHash(bytes: Buffer): string {
  return `sha256.${sha256(bytes)}`
}

/** A PUT by hand: chunks at once, or `onContinue` after 100 Continue. Returns all that came back. */
export async function rawPut(
  url: string,
  headers: Readonly<Record<string, string>>,
  chunks: readonly Buffer[],
  onContinue?: Buffer,
  method = 'PUT',
): Promise<string> {
  const lines = Object.entries({ host: 'x', ...headers }).map(
    ([name, value]) => `${name}: ${value}`,
  )
  return await new Promise((resolve, reject) => {
    let received = ''
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.write(`${method} ${new URL(url).pathname} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`)
    for (const chunk of chunks) {
      socket.write(`${chunk.length.toString(16)}\r\n`)
      socket.write(chunk)
      socket.write('\r\n')
    }
    if (chunks.length > 0) socket.write('0\r\n\r\n')
    socket.on('data', (data) => {
      received += data.toString('latin1')
      const isOver = /^HTTP\/1\.1 [2-5]\d\d [^]*\r\n\r\n/m.test(received)
      if (onContinue && received.endsWith('100 Continue\r\n\r\n')) socket.write(onContinue)
      else if (isOver) socket.end()
    })
    socket.on('close', () => resolve(received))
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (received === '') reject(error)
      else resolve(received)
    })
  })
}

async function exchange(
  origin: string,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>>,
  body: Buffer | string | undefined,
): Promise<Reply> {
  const { hostname, port, protocol } = new URL(origin)
  const request = protocol === 'https:' ? requestSecure : requestPlain
  // An authority of a test is made known by the options of the global agent.
  const { ca } = globalAgent.options
  return await new Promise((resolve, reject) => {
    const options = { hostname, port, method, path, headers, ca, agent: false }
    const sent = request(options, (res) => {
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
