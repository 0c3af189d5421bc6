/** A runner's side of its protocol with the server, for tests and for the stand-in runner. */
import { request } from 'node:http'

import type { Reply } from './client.ts'

export class RunnerClient {
  readonly url: string
  readonly token: string
  /** Bytes of output that the server has. */
  sent = 0

  constructor(url: string, token: string) {
    this.url = url
    this.token = token
  }

  async job(): Promise<Reply> {
    return await this.send('GET', '/v1/runner/job')
  }

  /** Sends output, or only a sign of life. */
  async print(text: string | Buffer = ''): Promise<Reply> {
    const bytes = Buffer.from(text)
    const reply = await this.send('PATCH', `/v1/runner/output?offset=${this.sent}`, bytes)
    if (reply.status === 200) this.sent += bytes.length
    return reply
  }

  async wallsHold(): Promise<Reply> {
    return await this.send('POST', '/v1/runner/walls')
  }

  async context(): Promise<Reply> {
    return await this.send('GET', '/v1/runner/context')
  }

  async image(sif: Buffer): Promise<Reply> {
    return await this.send('PUT', '/v1/runner/image', sif)
  }

  async end(state: string, reason = ''): Promise<Reply> {
    return await this.send('POST', '/v1/runner/end', Buffer.from(JSON.stringify({ state, reason })))
  }

  async send(method: string, path: string, body?: Buffer): Promise<Reply> {
    const { hostname, port } = new URL(this.url)
    const headers = {
      authorization: `Bearer ${this.token}`,
      ...(body === undefined ? {} : { 'content-length': String(body.length) }),
    }
    return await new Promise((resolve, reject) => {
      const req = request({ hostname, port, method, path, headers, agent: false }, (res) => {
        const pieces: Buffer[] = []
        res.on('data', (piece: Buffer) => pieces.push(piece))
        res.on('error', reject)
        res.on('end', () => {
          const bytes = Buffer.concat(pieces)
          let json: unknown
          try {
            json = JSON.parse(bytes.toString())
          } catch {
            json = undefined
          }
          resolve({ status: res.statusCode ?? 0, headers: res.headers, body: bytes, json })
        })
      })
      req.on('error', reject)
      req.end(body)
    })
  }
}
