/** `/metrics` on a listener of its own: on loopback or a unix socket, for the site's Prometheus. */
import { createServer } from 'node:http'

import type { Place } from '../listen-settings.ts'
import { openAt, portOf } from '../listening-socket.ts'
import type { Log } from '../log.ts'
import type { Meters } from './meters.ts'

export interface MetricsListener {
  /** 0 of a unix socket. */
  readonly port: number
  close(): Promise<void>
}

export async function serveMetrics(
  meters: Meters,
  place: Place,
  log: Log,
): Promise<MetricsListener> {
  meters.watchProcess()
  const server = createServer((req, res) => {
    const isRead = req.method === 'GET' || req.method === 'HEAD'
    if (!isRead || req.url?.split('?', 1)[0] !== '/metrics') {
      res.writeHead(isRead ? 404 : 405, { 'content-type': 'text/plain' }).end('see /metrics\n')
      return
    }
    meters.print().then(
      (text) => {
        res.writeHead(200, { 'content-type': meters.contentType, 'cache-control': 'no-store' })
        res.end(text)
      },
      (error: unknown) => {
        log.error({ err: error }, 'the metrics could not be printed')
        res.writeHead(500).end()
      },
    )
  })
  server.requestTimeout = 10_000
  server.headersTimeout = 10_000
  await openAt(server, place)
  return {
    port: portOf(server) ?? 0,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      await closed
    },
  }
}
