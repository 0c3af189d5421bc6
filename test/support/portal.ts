/** A small portal of a site: HTTPS with a certificate of a throw-away authority, one address. */
import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer as createPlainServer } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'

import type { Certificate } from './certificate-authority.ts'
import type { Lifetime } from './server.ts'

interface Received {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

export type Answer = (received: Received, res: ServerResponse) => void

export interface Portal {
  readonly port: number
  /** What came so far. */
  readonly received: readonly Received[]
  /** How requests are answered from now on. */
  setAnswer(answer: Answer): void
}

/** `certificate` undefined: a portal without TLS. */
export async function startPortal(
  t: Lifetime,
  certificate: Certificate | undefined,
  initial: Answer,
): Promise<Portal> {
  const received: Received[] = []
  let answer = initial
  const take = (req: IncomingMessage, res: ServerResponse): void => {
    let body = ''
    req.on('data', (piece: Buffer) => (body += piece.toString()))
    req.on('end', () => {
      const request = { method: req.method ?? '', path: req.url ?? '', headers: req.headers, body }
      received.push(request)
      answer(request, res)
    })
  }
  const server =
    certificate === undefined
      ? createPlainServer(take)
      : createServer(
          {
            key: readFileSync(certificate.keyFile),
            cert: readFileSync(certificate.certificateFile),
          },
          take,
        )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(async () => {
    server.close()
    server.closeAllConnections()
  })
  return {
    port: (server.address() as AddressInfo).port,
    received,
    setAnswer: (next) => (answer = next),
  }
}

/** A reply in JSON. */
export function reply(status: number, body: unknown): Answer {
  return (_received, res) => {
    res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
}
