/** A proxy with TLS before a server, as sites have them: right, or wrong in one of the usual ways. */
import { createServer as createPlainServer, request } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'

import type { Lifetime } from './server.ts'

/** What it does wrong; nothing by default. */
interface FrontFaults {
  /** Adds to X-Forwarded-For instead of writing it over. */
  readonly addsForwarded?: boolean
  /** Reads the whole body before it asks the server. */
  readonly buffers?: boolean
  readonly maxBodyBytes?: number
  /** Ends a request that has taken so long. */
  readonly cutMs?: number
  readonly decodesSlashes?: boolean
  readonly withoutUpgrade?: boolean
  /** How far its clock is ahead. */
  readonly clockMs?: number
}

export interface HttpFront {
  readonly port: number
  setFaults(faults: FrontFaults): void
  /** For connections that come after this. */
  setCertificate(certificate: { readonly key: Buffer; readonly cert: Buffer }): void
  /** Another server behind it. */
  setServer(port: number): void
}

export interface HttpFrontOptions {
  readonly address: string
  readonly port: number
  readonly serverPort: number
  readonly key: Buffer
  readonly cert: Buffer
}

export async function startHttpFront(t: Lifetime, options: HttpFrontOptions): Promise<HttpFront> {
  let faults: FrontFaults = {}
  let { serverPort } = options
  const sockets = new Set<Socket>()

  const serve = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const { maxBodyBytes, cutMs, clockMs } = faults
    if (Number(req.headers['content-length'] ?? 0) > (maxBodyBytes ?? Infinity)) {
      res.writeHead(413, { connection: 'close' }).end('<h1>413 Request Entity Too Large</h1>')
      return
    }
    const pieces: Buffer[] = []
    if (faults.buffers) for await (const piece of req) pieces.push(piece as Buffer)
    const passed = request({
      host: '127.0.0.1',
      port: serverPort,
      method: req.method,
      path: pathOf(req, faults),
      headers: headersOf(req, faults),
      agent: false,
    })
    const cut =
      cutMs === undefined
        ? undefined
        : setTimeout(() => {
            passed.destroy()
            if (!res.headersSent) res.writeHead(504).end('<h1>504 Gateway Time-out</h1>')
          }, cutMs)
    passed.on('error', () => {
      if (!res.headersSent) res.writeHead(502).end('<h1>502 Bad Gateway</h1>')
      res.destroy()
    })
    passed.on('response', (reply) => {
      clearTimeout(cut)
      const date = new Date(Date.now() + (clockMs ?? 0)).toUTCString()
      res.writeHead(reply.statusCode ?? 502, { ...reply.headers, date })
      reply.pipe(res)
    })
    res.on('close', () => passed.destroy())
    if (faults.buffers) passed.end(Buffer.concat(pieces))
    else req.pipe(passed)
  }

  const server = createServer({ key: options.key, cert: options.cert }, (req, res) => {
    serve(req, res).catch(() => res.destroy())
  })
  server.on('upgrade', (req: IncomingMessage, socket: Socket) => {
    socket.on('error', () => {})
    const passed = request({
      host: '127.0.0.1',
      port: serverPort,
      path: req.url,
      headers: faults.withoutUpgrade
        ? { host: req.headers.host, connection: 'close' }
        : headersOf(req, faults),
      agent: false,
    })
    passed.on('error', () => socket.destroy())
    passed.on('response', (reply) => {
      socket.write(`HTTP/1.1 ${reply.statusCode} ${reply.statusMessage}\r\nConnection: close\r\n`)
      for (const [name, value] of Object.entries(reply.headers)) {
        const isOfConnection = ['connection', 'transfer-encoding', 'keep-alive'].includes(name)
        if (!isOfConnection) socket.write(`${name}: ${String(value)}\r\n`)
      }
      socket.write('\r\n')
      reply.pipe(socket)
    })
    passed.end()
  })
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, options.address, resolve)
  })
  t.after(async () => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return {
    port: (server.address() as AddressInfo).port,
    setFaults: (next) => (faults = next),
    setCertificate: (next) => server.setSecureContext(next),
    setServer: (port) => (serverPort = port),
  }
}

/** A page of somebody else, at a port of its own. */
export async function startOtherSite(t: Lifetime): Promise<number> {
  const server = createPlainServer((_req, res) => {
    res.writeHead(200, { 'content-type': 'text/html' }).end('<h1>It works!</h1>')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(async () => {
    server.close()
    server.closeAllConnections()
  })
  return (server.address() as AddressInfo).port
}

function pathOf({ url = '/' }: IncomingMessage, { decodesSlashes }: FrontFaults): string {
  return decodesSlashes ? url.replaceAll(/%2f/gi, '/') : url
}

function headersOf(req: IncomingMessage, { addsForwarded }: FrontFaults) {
  const client = req.socket.remoteAddress ?? ''
  const said = req.headers['x-forwarded-for']
  const forwarded = addsForwarded && said !== undefined ? `${String(said)}, ${client}` : client
  return { ...req.headers, 'x-forwarded-for': forwarded, 'x-forwarded-proto': 'https' }
}
