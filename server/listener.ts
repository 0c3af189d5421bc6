/** The HTTP listener: its sockets, its time limits, and how it ends. */
import { createServer, ServerResponse } from 'node:http'
import type { IncomingMessage, RequestListener, Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { Server as NetServer, Socket } from 'node:net'
import type { Duplex } from 'node:stream'

import { deferContinue } from './http/body.ts'
import type { Place } from './listen-settings.ts'
import { openAt, portOf, takeOver } from './listening-socket.ts'
import type { TlsFiles } from './tls-files.ts'

export interface Listener {
  /** Of the first socket that has one; 0 when all are unix sockets. */
  readonly port: number
  /** Stops accepting, lets running requests end, and cuts what is left after the deadline. */
  close(deadlineMs: number): Promise<void>
}

export type ListenOptions = ListenerSettings & Place

interface ListenerSettings {
  readonly idleSeconds: number
  readonly sockets?: Sockets
  /** Sockets of TCP speak https then. */
  readonly tls?: TlsFiles | undefined
  /**
   * How long connections without a request stay when the listener closes, 0 by default. A client
   * that has just been accepted, or that is just sending its next request, is served then.
   */
  readonly lingerMs?: number
}

/** What takes connections that become something else than HTTP. */
interface Sockets {
  serves(req: IncomingMessage): boolean
  upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): Promise<void>
  /** Ends those that are open. */
  close(): void
}

const options = { connectionsCheckingInterval: 5_000 }
/** For an answer to arrive, before the connection goes. */
const closingMs = 2_000

/** Connections that a server does not count among its own any more. */
type Detached = Set<Duplex>

/** Listens at one place. */
export async function listen(app: RequestListener, settings: ListenOptions): Promise<Listener> {
  const open = async (server: Server): Promise<void> => await openAt(server, settings)
  return await serveOn([open], app, settings)
}

/** Takes sockets over that listen already, by their file descriptors. */
export async function listenOn(
  descriptors: readonly number[],
  app: RequestListener,
  settings: ListenerSettings,
): Promise<Listener> {
  const opens = descriptors.map(
    (fd) =>
      async (server: Server): Promise<void> =>
        await takeOver(server, fd),
  )
  return await serveOn(opens, app, settings)
}

async function serveOn(
  opens: readonly ((server: Server) => Promise<void>)[],
  app: RequestListener,
  settings: ListenerSettings,
): Promise<Listener> {
  const ending = { now: false }
  const detached: Detached = new Set()
  const serve: RequestListener = (req, res) => {
    if (ending.now) res.shouldKeepAlive = false
    app(req, res)
  }
  const servers: Server[] = []
  for (const open of opens) {
    const server = createServer(options, serve)
    configure(server, app, settings, detached)
    await open(server)
    servers.push(secured(server, serve, app, settings, detached))
  }
  const { sockets, lingerMs = 0 } = settings
  return {
    port: servers.map(portOf).find((port) => port !== undefined) ?? 0,
    close: async (deadlineMs) => {
      ending.now = true
      sockets?.close()
      await Promise.all(servers.map((server) => drain(server, detached, deadlineMs, lingerMs)))
    },
  }
}

/** What serves a socket that is open, before its first connection: whether it is TCP is seen now. */
function secured(
  server: Server,
  serve: RequestListener,
  app: RequestListener,
  settings: ListenerSettings,
  detached: Detached,
): Server {
  const { tls } = settings
  if (portOf(server) === undefined) {
    // Who may connect to a file is this host, whatever runs there.
    server.on('connection', (socket: Socket) => {
      Object.defineProperty(socket, 'remoteAddress', { value: '127.0.0.1' })
    })
    return server
  }
  if (tls === undefined) return server
  const protocol = { minVersion: 'TLSv1.2', ALPNProtocols: ['http/1.1'] } as const
  const secure = createTlsServer(
    { ...options, ...protocol, ...tls.identity, handshakeTimeout: 15_000 },
    serve,
  )
  configure(secure, app, settings, detached)
  tls.use((identity) => secure.setSecureContext({ ...identity, minVersion: 'TLSv1.2' }))
  return secure.listen(server)
}

function configure(
  server: Server,
  app: RequestListener,
  settings: ListenerSettings,
  detached: Detached,
): void {
  deferContinue(server)
  const { sockets } = settings
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
  server.timeout = settings.idleSeconds * 1000
  // Longer than the 60 s for which a proxy keeps its connections, so that it closes them first.
  server.keepAliveTimeout = 65_000
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
  detached: Detached,
  deadlineMs: number,
  lingerMs: number,
): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    // That of http would cut at once what has no request yet.
    NetServer.prototype.close.call(server, () => resolve())
  })
  const lingerUntil = Date.now() + lingerMs
  // Connections become idle one after the other; each goes as soon as it is.
  const closeIdle = (): void => {
    if (Date.now() >= lingerUntil) server.closeIdleConnections()
  }
  closeIdle()
  const idle = setInterval(closeIdle, 100)
  const cut = setTimeout(() => {
    server.closeAllConnections()
    for (const socket of detached) socket.destroy()
  }, deadlineMs)
  await closed
  clearInterval(idle)
  clearTimeout(cut)
  // Nothing is left to close but the timer that looks after connections.
  server.close()
}
