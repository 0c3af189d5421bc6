/**
 * `/v1/build-ws/:id`: the output of a build from its first byte on, or from `?offset=`, as text
 * frames, and a close with code 1000 when the build has ended and all is sent. For the client every
 * other code is an error (protocol.md 8.3). Nothing is held in memory but one piece for each reader,
 * who is given the next when the last has left.
 */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import { setTimeout as sleep } from 'node:timers/promises'

import { WebSocketServer } from 'ws'
import type { WebSocket } from 'ws'

import type { AccountActor } from '../accounts/actor.ts'
import type { Tokens } from '../accounts/tokens.ts'
import type { BuildRow } from '../builds/build-rows.ts'
import type { Builds } from '../builds/builds.ts'
import type { BuildOutput } from '../builds/output.ts'
import type { BuildSignals } from '../builds/signals.ts'
import { Failure, unauthenticated } from '../failure.ts'
import { bearerOf } from '../http/actor.ts'
import { problemOf } from '../http/problem.ts'
import type { Log } from '../log.ts'
import { offsetOf } from './routes.ts'
import { SocketWatch } from './socket-watch.ts'

export interface OutputSocketsParts {
  readonly builds: Builds
  readonly output: BuildOutput
  readonly signals: BuildSignals
  readonly tokens: Tokens
  readonly log: Log
  readonly times?: OutputSocketTimes | undefined
}

/** In milliseconds. */
export interface OutputSocketTimes {
  /** Between two pings; who answers none of two in a row is gone. */
  readonly ping: number
  /** Between two looks whether the credential still holds. */
  readonly credential: number
}

const path = /^\/+v1\/build-ws\/([^/?]+)$/
const perAccount = 8
const perBuild = 4
const pieceBytes = 1 << 18
const usualTimes: OutputSocketTimes = { ping: 30_000, credential: 3_000 }
const placeMs = 10_000
/** For an answer to reach a client that does not close the connection. */
const refusalMs = 2_000

// A value of its own, because the types of ws do not know every option yet.
const serverOptions = {
  noServer: true,
  clientTracking: true,
  perMessageDeflate: false,
  // Clients send nothing.
  maxPayload: 4096,
  // The last megabytes are in buffers on the way to a slow reader when the close frame joins them.
  closeTimeout: 120_000,
}

export class OutputSockets {
  readonly #parts: OutputSocketsParts
  readonly #server = new WebSocketServer(serverOptions)
  /** Open sockets by account and by build. */
  readonly #open = new Map<string, number>()
  readonly #times: OutputSocketTimes
  #closing = false

  constructor(parts: OutputSocketsParts) {
    this.#parts = parts
    this.#times = parts.times ?? usualTimes
  }

  /** Whether the request is for one of these addresses. */
  serves(req: IncomingMessage): boolean {
    return path.test(pathOf(req))
  }

  /** Answers an upgrade: with the socket, or with a refusal as of any request. */
  async upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    // Until it is a WebSocket, a broken connection is of no interest.
    const ignore = (): void => {}
    socket.on('error', ignore)
    try {
      const account = await this.#account(req)
      const build = await this.#parts.builds.find(account, path.exec(pathOf(req))?.[1] ?? '')
      const offset = new URL(req.url ?? '/', 'http://localhost').searchParams.get('offset')
      const position = offsetOf(offset)
      if (this.#closing) throw new Failure('unavailable', 'build', 'The server is restarted.')
      if (socket.destroyed) return
      // The connection, not the WebSocket: a handshake that is refused has none.
      socket.once('close', this.#enter(account, build))
      this.#server.handleUpgrade(req, socket, head, (ws) => {
        socket.off('error', ignore)
        const watch = new SocketWatch(ws, socket, this.#times.ping)
        const follower = { account, build, position, tellsPlace: offset === null, watch }
        void this.#follow(ws, follower).catch((error: unknown) => {
          this.#parts.log.error({ err: error, 'build.id': build.id }, 'output could not be sent')
          watch.end(1011, 'the output cannot be read now')
        })
      })
    } catch (error) {
      if (!(error instanceof Failure)) this.#parts.log.error({ err: error }, 'an upgrade failed')
      refuse(socket, error)
    }
  }

  /** Builds go on; readers come again. */
  close(): void {
    this.#closing = true
    for (const ws of this.#server.clients) {
      ws.close(1001, 'the server is restarted')
      setTimeout(() => ws.terminate(), 1_000).unref()
    }
  }

  async #account(req: IncomingMessage): Promise<AccountActor> {
    const token = bearerOf(req.headers.authorization)
    const address = req.socket.remoteAddress ?? 'unknown'
    const account = token && (await this.#parts.tokens.authenticate(token, address))
    if (account) return account
    throw unauthenticated('Sign in first: the access token is missing, or not valid any more.')
  }

  #enter(account: AccountActor, build: BuildRow): () => void {
    const limits = [
      [`account ${account.accountId}`, perAccount],
      [`build ${build.id}`, perBuild],
    ] as const
    if (limits.some(([key, most]) => (this.#open.get(key) ?? 0) >= most)) {
      throw new Failure('throttled', 'build', 'Too many connections follow this output already.')
    }
    for (const [key] of limits) this.#open.set(key, (this.#open.get(key) ?? 0) + 1)
    let left = false
    return () => {
      if (left) return
      left = true
      for (const [key] of limits) {
        const rest = (this.#open.get(key) ?? 1) - 1
        if (rest > 0) this.#open.set(key, rest)
        else this.#open.delete(key)
      }
    }
  }

  async #follow(ws: WebSocket, follower: Follower): Promise<void> {
    const { builds, output, signals } = this.#parts
    const { account, watch } = follower
    const { id } = follower.build
    const stop = new AbortController()
    ws.once('close', () => stop.abort())
    void this.#watchCredential(follower, stop.signal)
    const decoder = new StringDecoder('utf8')
    let { position } = follower
    let toldAt = -placeMs
    let told = ''
    while (!stop.signal.aborted) {
      const change = signals.next(id, stop.signal)
      const build = await builds.again(id)
      while (position < build.outputBytes && !stop.signal.aborted) {
        const piece = await output.read(id, position, build.outputBytes, pieceBytes)
        if (piece.length === 0) break
        const text = decoder.write(position === follower.position ? fromBoundary(piece) : piece)
        position += piece.length
        await send(ws, text)
        watch.isAlive()
      }
      const isMissing =
        position < build.outputBytes || position > Math.max(build.outputBytes, follower.position)
      // Half an output must not end as a whole one does.
      if (build.endedAt !== null && isMissing) {
        watch.end(1011, 'the output is not kept any more')
        return
      }
      if (build.endedAt !== null) {
        await send(ws, decoder.end())
        ws.close(1000)
        return
      }
      if (follower.tellsPlace && position === 0 && performance.now() - toldAt >= placeMs) {
        toldAt = performance.now()
        const place = await builds.place(build, account)
        const line =
          place && `Waiting: place ${place.position} of ${place.waiting}, ${place.reason}.\n`
        if (line !== undefined && line !== told) await send(ws, line)
        told = line ?? told
      }
      await change
    }
  }

  /** By its own clock: a reader who takes nothing must not keep what was taken from him. */
  async #watchCredential({ account, build, watch }: Follower, stop: AbortSignal): Promise<void> {
    const { tokens, builds, log } = this.#parts
    const { tokenId, address } = account
    if (tokenId === undefined) return
    for (;;) {
      try {
        await sleep(this.#times.credential, undefined, { signal: stop, ref: false })
        const now = await tokens.authenticateById(tokenId, address)
        if (now === undefined) {
          watch.end(1008, 'the access token is not valid any more')
          return
        }
        await builds.find(now, build.id)
      } catch (error) {
        if (stop.aborted) return
        if (error instanceof Failure) {
          watch.end(1008, 'this output is not yours to read any more')
          return
        }
        // Asked again soon.
        log.warn({ err: error, 'build.id': build.id }, 'a credential could not be looked at')
      }
    }
  }
}

interface Follower {
  readonly account: AccountActor
  readonly build: BuildRow
  /** Where the output begins for this reader. */
  readonly position: number
  /** Lines about the queue, for clients that do not count bytes. */
  readonly tellsPlace: boolean
  readonly watch: SocketWatch
}

function pathOf(req: IncomingMessage): string {
  return (req.url ?? '').split('?', 1)[0] ?? ''
}

/** Resolves when the text has left for the kernel: a reader who does not read makes this wait. */
async function send(ws: WebSocket, text: string): Promise<void> {
  if (text === '' || ws.readyState !== ws.OPEN) return
  await new Promise<void>((resolve) => {
    const done = (): void => {
      ws.off('close', done)
      resolve()
    }
    ws.once('close', done)
    ws.send(text, { binary: false, compress: false }, done)
  })
}

/** From the first whole character on: an offset may point into one. */
function fromBoundary(piece: Buffer): Buffer {
  let start = 0
  while (start < 3 && ((piece[start] ?? 0) & 0xc0) === 0x80) start += 1
  return piece.subarray(start)
}

function refuse(socket: Duplex, error: unknown): void {
  const { status, message } = problemOf(error)
  const cut = setTimeout(() => socket.destroy(), refusalMs).unref()
  socket.once('close', () => clearTimeout(cut))
  const body = JSON.stringify({ error: { code: status, message } })
  socket.end(
    `HTTP/1.1 ${status} Refused\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
}
