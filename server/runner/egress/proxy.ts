/**
 * The only way out of a sandbox: a proxy for HTTP, by CONNECT and by absolute addresses, that lets
 * through what is on the lists and resolves to a public address. Each request is looked at anew, so
 * that a redirect leads no further than a request. What is no proxy request is for the endpoint.
 */
import { createServer as createHttpServer, request as sendRequest } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'

import { parseDestination } from '../../host-list.ts'
import type { NetworkDoor } from '../network-door.ts'
import { networkList } from './addresses.ts'
import { addressFor, NotAllowed, resolveOnHost } from './allow-list.ts'
import type { Resolve } from './allow-list.ts'
import { serveEndpoint } from './endpoint.ts'
import type { EndpointOptions } from './endpoint.ts'

export interface EgressOptions {
  /** Lists of hosts, each of which has to hold a host. */
  readonly lists: readonly (readonly string[])[]
  readonly privateNetworks: readonly string[]
  /** Names behind which private addresses may stand. */
  readonly privateHosts: readonly string[]
  readonly endpoint: EndpointOptions
  /** Told what was refused, for the person whose build it is. */
  refused(what: string): void
  readonly resolve?: Resolve
}

const mostConnections = 512
const connectMs = 30_000
const idleMs = 300_000
/** Headers that concern one hop only (RFC 9110 7.6.1), and those by which a proxy is spoken to. */
const ofOneHop = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]

/** Serves what comes in by `door`; ends with it. */
export function openEgress(door: NetworkDoor, options: EgressOptions): { close(): void } {
  const places = {
    networks: networkList(options.privateNetworks),
    hosts: options.privateHosts,
  }
  const endpoint = serveEndpoint(options.endpoint)
  const resolve = options.resolve ?? resolveOnHost
  const sockets = new Set<Socket>()
  const http = createHttpServer({ requestTimeout: 0, maxHeaderSize: 32_768 })

  async function open(authority: string, defaultPort: number): Promise<Socket> {
    const destination = parseDestination(authority, defaultPort)
    if (destination === undefined) throw new NotAllowed(`"${authority}" is no host`)
    const address = await addressFor(destination, options.lists, places, resolve)
    return await connectTo(address, destination.port)
  }

  function explain(error: unknown): { status: number; text: string } {
    if (error instanceof NotAllowed) {
      options.refused(error.message)
      return { status: 403, text: `Not from within a build: ${error.message}.\n` }
    }
    return { status: 502, text: `The host cannot be reached: ${(error as Error).message}\n` }
  }

  http.on('request', (req, res) => {
    const work = req.url?.startsWith('/') === true ? endpoint(req, res) : forward(req, res)
    work.catch((error: unknown) => {
      const { status, text } = explain(error)
      if (res.headersSent) res.destroy()
      else res.writeHead(status, { 'content-type': 'text/plain' }).end(text)
    })
  })

  http.on('connect', (req: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on('error', () => {})
    tunnel(req.url ?? '', socket, head).catch((error: unknown) => {
      const { status, text } = explain(error)
      socket.end(
        `HTTP/1.1 ${status} ${status === 403 ? 'Forbidden' : 'Bad Gateway'}\r\n` +
          `Content-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(text)}\r\nConnection: close\r\n\r\n${text}`,
      )
    })
  })

  async function tunnel(authority: string, socket: Socket, head: Buffer): Promise<void> {
    const outside = await open(authority, 443)
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
    outside.write(head)
    await Promise.all([pipeline(socket, outside), pipeline(outside, socket)]).catch(() => {
      outside.destroy()
      socket.destroy()
    })
  }

  async function forward(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const match = /^http:\/\/([^/?#]+)(.*)$/s.exec(req.url ?? '')
    if (match === null) throw new NotAllowed(`"${req.url?.slice(0, 200)}" is no address of http`)
    const [, authority = '', rest = ''] = match
    const socket = await open(authority, 80)
    const headers = Object.fromEntries(
      Object.entries(req.headers).filter(([name]) => !ofOneHop.includes(name)),
    )
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const request = sendRequest(
        {
          method: req.method,
          path: rest.startsWith('/') ? rest : `/${rest}`,
          headers: { ...headers, host: authority.slice(authority.lastIndexOf('@') + 1) },
          createConnection: () => socket,
        },
        resolve,
      )
      request.on('error', reject)
      pipeline(req, request).catch(reject)
    })
    const back = Object.entries(answer.headers).filter(([name]) => !ofOneHop.includes(name))
    res.writeHead(answer.statusCode ?? 502, Object.fromEntries(back))
    await pipeline(answer, res)
  }

  door.serve((socket) => {
    if (sockets.size >= mostConnections) {
      socket.destroy()
      return
    }
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    socket.setTimeout(idleMs, () => socket.destroy())
    http.emit('connection', socket)
  })

  return {
    close: () => {
      for (const socket of sockets) socket.destroy()
      http.close()
    },
  }
}

async function connectTo(host: string, port: number): Promise<Socket> {
  return await new Promise((resolve, reject) => {
    const socket = connect({ host, port })
    const clock = setTimeout(() => socket.destroy(new Error('no answer')), connectMs)
    socket.once('connect', () => {
      clearTimeout(clock)
      socket.setTimeout(idleMs, () => socket.destroy())
      resolve(socket)
    })
    socket.once('error', (error) => {
      clearTimeout(clock)
      reject(error)
    })
    socket.on('error', () => {})
  })
}
