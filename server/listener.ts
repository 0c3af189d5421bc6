/** The HTTP listener: its time limits, and how it ends. */
import { createServer } from 'node:http'
import type { RequestListener, Server } from 'node:http'
import type { AddressInfo } from 'node:net'

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
}

export async function listen(app: RequestListener, options: ListenOptions): Promise<Listener> {
  const server = createServer({ connectionsCheckingInterval: 5_000 }, app)
  deferContinue(server)
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
    close: async (deadlineMs) => await drain(server, deadlineMs),
  }
}

async function drain(server: Server, deadlineMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  // Connections become idle one after the other; each goes as soon as it is.
  const idle = setInterval(() => server.closeIdleConnections(), 100)
  const cut = setTimeout(() => server.closeAllConnections(), deadlineMs)
  await closed
  clearInterval(idle)
  clearTimeout(cut)
}
