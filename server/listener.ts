/** The HTTP listener: its time limits, and how it ends. */
import { createServer, ServerResponse } from 'node:http'
import type { IncomingMessage, RequestListener, Server } from 'node:http'
import { Socket } from 'node:net'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'

import { deferContinue } from './http/body.ts'

export interface Listener {
  readonly port: number
  /** Stops accepting, lets running requests end, and cuts what is left after the deadline. */
  close(deadlineMs: number): Promise<void>
}

export interface ListenOptions {
  readonly host: string
  readonly port: number
  readonly idleSeconds: number
  readonly sockets?: Sockets
}

/** What takes connections that become something else than HTTP. */
interface Sockets {
  serves(req: IncomingMessage): boolean
  upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): Promise<void>
  /** Ends those that are open. */
  close(): void
}

/** For an answer to arrive, before the connection goes. */
const closingMs = 2_000

export async function listen(app: RequestListener, options: ListenOptions): Promise<Listener> {
  const server = createServer({ connectionsCheckingInterval: 5_000 }, app)
  deferContinue(server)
  const { sockets } = options
  /** Connections that the server does not count among its own any more. */
  const detached = new Set<Duplex>()
  if (sockets) {
    server.on('upgrade', (req: IncomingMessage, socket: Duplex, head: Buffer) => {
      detached.add(socket)
      socket.once('close', () => detached.delete(socket))
      if (sockets.serves(req)) void sockets.upgrade(req, socket, head)
      else answerInHttp(app, req, socket)
    })
  }
  // No limit for a whole request: a push may take hours. What is idle is closed instead.
  server.requestTimeout = 0
  server.headersTimeout = 15_000
  server.timeout = options.idleSeconds * 1000
  // Longer than the 60 s for which a proxy keeps its connections, so that it closes them first.
  server.keepAliveTimeout = 65_000
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, options.host, resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    close: async (deadlineMs) => {
      sockets?.close()
      await drain(server, detached, deadlineMs)
    },
  }
}

/**
 * Some clients offer an upgrade with any request (to HTTP/2, for example) and take an answer in
 * HTTP/1.1 as well. Node has taken the connection off its parser by then: one answer, and it ends.
 * A body cannot be read any more; such requests are told to come without the offer.
 */
function answerInHttp(app: RequestListener, req: IncomingMessage, socket: Duplex): void {
  const { headers } = req
  const hasBody =
    headers['transfer-encoding'] !== undefined || Number(headers['content-length']) > 0
  socket.on('error', () => {})
  const end = (text: string): void => {
    socket.end(text)
    // Clients that do not close their side in turn.
    const cut = setTimeout(() => socket.destroy(), closingMs).unref()
    socket.once('close', () => clearTimeout(cut))
  }
  if (hasBody || !(socket instanceof Socket)) {
    end('HTTP/1.1 426 Upgrade Required\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
    return
  }
  const res = new ServerResponse(req)
  res.shouldKeepAlive = false
  res.assignSocket(socket)
  res.once('finish', () => {
    res.detachSocket(socket)
    end('')
  })
  app(req, res)
}

async function drain(
  server: Server,
  detached: ReadonlySet<Duplex>,
  deadlineMs: number,
): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  // Connections become idle one after the other; each goes as soon as it is.
  const idle = setInterval(() => server.closeIdleConnections(), 100)
  const cut = setTimeout(() => {
    server.closeAllConnections()
    for (const socket of detached) socket.destroy()
  }, deadlineMs)
  await closed
  clearInterval(idle)
  clearTimeout(cut)
}
