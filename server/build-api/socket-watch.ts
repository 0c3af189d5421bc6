/**
 * What a connection of a reader must do to stay open: give signs of life, take what is sent to it, and
 * say next to nothing, as the stock clients do.
 */
import type { Duplex } from 'node:stream'

import type { WebSocket } from 'ws'

/** For pongs and a close this is plenty; with each ping it begins anew. */
const allowedBytes = 64 * 1024
/** For the close frame to reach a reader who reads. */
const farewellMs = 1_000

export class SocketWatch {
  readonly #ws: WebSocket
  readonly #pings: NodeJS.Timeout
  #unanswered = 0
  #heard = 0

  /** `socket` is the connection below `ws`. */
  constructor(ws: WebSocket, socket: Duplex, pingMs: number) {
    this.#ws = ws
    this.#pings = setInterval(() => this.#ping(), pingMs)
    ws.once('close', () => clearInterval(this.#pings))
    ws.on('pong', () => this.isAlive())
    ws.on('error', () => ws.terminate())
    // Below the frames, because an endless fragmented message has no end that could be counted.
    socket.on('data', (bytes: Buffer) => {
      this.#heard += bytes.length
      if (this.#heard > allowedBytes) this.end(1008, 'nothing is expected from a reader')
    })
  }

  /** A piece of the output has left, which it does only when the ones before were taken. */
  isAlive(): void {
    this.#unanswered = 0
  }

  /** Says why, and does not wait for somebody who does not listen. */
  end(code: number, reason: string): void {
    if (this.#ws.readyState === this.#ws.OPEN) this.#ws.close(code, reason)
    setTimeout(() => this.#ws.terminate(), farewellMs).unref()
  }

  #ping(): void {
    this.#heard = 0
    if (this.#ws.readyState !== this.#ws.OPEN) return
    if (this.#unanswered >= 2) this.#ws.terminate()
    else this.#ws.ping()
    this.#unanswered += 1
  }
}
