/** The output of a build as it comes, to its end, over as many connections as that takes. */
import { setTimeout as sleep } from 'node:timers/promises'

import { WebSocket } from 'ws'

import { CommandError } from '../exit.ts'
import type { Build, Builder } from './builder.ts'
import { RefusedError } from './builder.ts'
import type { Progress } from './progress.ts'

export interface FollowTimes {
  /** The server pings every 30 seconds; without one for this long it is gone. */
  readonly silenceMs: number
  /** A server that is not there for so long has a person waiting for nothing. */
  readonly patienceMs: number
  readonly placeMs: number
}

const usualTimes: FollowTimes = { silenceMs: 90_000, patienceMs: 600_000, placeMs: 2_000 }

/** Whoever asks a question on the terminal holds the output back. */
export class OutputGate {
  #open: Promise<void> = Promise.resolve()

  /** Returns what lets it flow again. */
  close(): () => void {
    let release = (): void => {}
    this.#open = new Promise((resolve) => {
      release = resolve
    })
    return release
  }

  async passed(): Promise<void> {
    await this.#open
  }
}

/** Resolves with the ended build, when all of its output is written. */
export async function followBuild(
  builder: Builder,
  id: string,
  progress: Progress,
  gate: OutputGate,
  times: FollowTimes = usualTimes,
): Promise<Build> {
  const output = new Output(progress, gate)
  const watch = new AbortController()
  const watching = showPlace(builder, id, progress, gate, output, times, watch.signal)
  try {
    let lostAt: number | undefined
    for (;;) {
      const before = output.position
      const end = await connectOnce(builder, id, output, times)
      if (end === 'done') {
        const build = await builder.find(id)
        if (build.isComplete) return build
      }
      if (typeof end === 'object') throw end
      if (output.position > before || end === 'cut') lostAt = undefined
      lostAt ??= performance.now()
      if (performance.now() - lostAt > times.patienceMs) {
        throw new CommandError('The server cannot be reached any more; the build goes on there.')
      }
      progress.state('The connection was lost: trying again.')
      await sleep(1000)
    }
  } finally {
    watch.abort()
    await watching
    progress.clear()
  }
}

/** Where the build stands, until it prints something. */
async function showPlace(
  builder: Builder,
  id: string,
  progress: Progress,
  gate: OutputGate,
  output: Output,
  times: FollowTimes,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted && output.position === 0) {
    const build = await builder.find(id).catch(() => undefined)
    await gate.passed()
    if (signal.aborted || output.position > 0) return
    if (build?.queue !== undefined) {
      const { position, waiting, reason } = build.queue
      progress.state(`Waiting: place ${position} of ${waiting}, ${reason}.`)
    } else if (build !== undefined && !build.isComplete) {
      progress.state('The build begins.')
    }
    if (build !== undefined && build.queue === undefined) return
    await sleep(times.placeMs, undefined, { signal }).catch(() => {})
  }
}

/** Counts what came, by which the next connection goes on where this one ended. */
class Output {
  readonly #progress: Progress
  readonly #gate: OutputGate
  #bytes = 0
  #length = 0
  #isExact = true
  /** Of what comes next, so much is known already. */
  #skip = 0

  constructor(progress: Progress, gate: OutputGate) {
    this.#progress = progress
    this.#gate = gate
  }

  /** Grows with everything that is written. */
  get position(): number {
    return this.#length
  }

  /**
   * The byte that the next connection begins at. Where something was no UTF-8 the server has put a sign
   * of three bytes in its place, so that bytes cannot be counted here: then it begins again.
   */
  nextOffset(): number {
    this.#skip = this.#isExact ? 0 : this.#length
    return this.#isExact ? this.#bytes : 0
  }

  /** Resolves when the text is written, so that a slow terminal slows the server down. */
  async write(text: string): Promise<void> {
    const known = Math.min(this.#skip, text.length)
    this.#skip -= known
    const fresh = text.slice(known)
    if (fresh === '') return
    await this.#gate.passed()
    this.#progress.clear()
    this.#bytes += Buffer.byteLength(fresh)
    this.#length += fresh.length
    this.#isExact &&= !fresh.includes('\ufffd')
    if (process.stdout.write(fresh)) return
    await new Promise<void>((resolve) => {
      process.stdout.once('drain', resolve)
      process.stdout.once('close', resolve)
    })
  }
}

/**
 * `done` is the normal end, `cut` one in the middle, `absent` no connection at all. A refusal, which
 * trying again does not change, is an error.
 */
async function connectOnce(
  builder: Builder,
  id: string,
  output: Output,
  times: FollowTimes,
): Promise<'done' | 'cut' | 'absent' | Error> {
  const { url, authorization } = builder.outputAddress(id, output.nextOffset())
  const socket = new WebSocket(url, {
    headers: { authorization },
    perMessageDeflate: false,
    handshakeTimeout: 30_000,
    maxPayload: 64 * 1024 * 1024,
  })
  let written: Promise<void> = Promise.resolve()
  let opened = false
  let silence: NodeJS.Timeout | undefined
  const heard = (): void => {
    clearTimeout(silence)
    silence = setTimeout(() => socket.terminate(), times.silenceMs)
  }
  const closed = new Promise<'done' | 'cut' | 'absent' | Error>((resolve) => {
    socket.on('open', () => {
      opened = true
      heard()
    })
    socket.on('ping', heard)
    socket.on('message', (data: Buffer, isBinary) => {
      heard()
      if (isBinary) return
      // Several may come out of one packet; the next packet waits for all of them.
      socket.pause()
      written = written.then(async () => await output.write(data.toString()))
      void written.then(() => socket.resume())
    })
    socket.on('unexpected-response', (_request, reply) => {
      reply.resume()
      const status = reply.statusCode ?? 0
      const isFinal = status >= 400 && status < 500 && status !== 429
      resolve(isFinal ? refusalOf(status) : 'absent')
      socket.terminate()
    })
    socket.on('error', () => resolve(opened ? 'cut' : 'absent'))
    socket.on('close', (code) => {
      if (code === 1000) resolve('done')
      else if (code === 1008) resolve(refusalOf(401))
      else resolve(opened ? 'cut' : 'absent')
    })
  })
  const end = await closed
  clearTimeout(silence)
  await written
  return end
}

function refusalOf(status: number): RefusedError {
  const why =
    status === 401 || status === 403
      ? 'Your access token is not valid any more: sign in again. The build goes on.'
      : `The output cannot be read (HTTP status ${status}).`
  return new RefusedError(status, why)
}
