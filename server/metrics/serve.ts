/** `/metrics` on a listener of its own: on loopback or a unix socket, for the site's Prometheus. */
import { chmodSync, unlinkSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

import type { Place } from '../listen-settings.ts'
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
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    if ('path' in place) {
      removeSocket(place.path)
      // The group of the service, to which the account of Prometheus belongs.
      server.listen(place.path, () => {
        chmodSync(place.path, 0o660)
        resolve()
      })
    } else server.listen(place.port, place.host, resolve)
  })
  const address = server.address() as AddressInfo | string
  return {
    port: typeof address === 'string' ? 0 : address.port,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      await closed
    },
  }
}

/** That of a process that was killed. Two Berths never share a data directory, nor this. */
function removeSocket(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}
