/**
 * Takes the output of a build to the server while it comes, and is the heartbeat by which the server
 * knows that the runner lives and the runner whether somebody has cancelled. It keeps at most a
 * megabyte: when the server is slow, the build waits at its pipe.
 */
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'

import { OffsetWrong } from './server-link.ts'
import type { ServerLink } from './server-link.ts'

export interface OutputRelay {
  /** Sends what a build prints, to its end; what is over the limit is read and thrown away. */
  follow(output: Readable): Promise<void>
  /** A line of the runner's own; it is not counted, so that the reason of an end is always there. */
  say(line: string): void
  /** Settles when somebody has cancelled (true), or the server is lost (an Error). */
  readonly stop: Promise<true | Error>
  /** After everything has arrived. */
  close(): Promise<void>
}

const highWaterBytes = 2 ** 20
const largestSendBytes = 2 ** 18
const heartbeatMs = 2000
/** Between two requests, so that a burst of lines becomes one; the first line goes at once. */
const gatherMs = 100
const truncated = '\n[truncated]\n'

export function openOutputRelay(link: ServerLink, limitBytes: number): OutputRelay {
  let waiting: Buffer[] = []
  let waitingBytes = 0
  let takenBytes = 0
  let sent = 0
  let isTruncated = false
  let isLost = false
  let isClosing = false
  let sentAt = -gatherMs
  const closing = new AbortController()
  let wake: () => void = () => {}
  let drained: () => void = () => {}
  let stop: (why: true | Error) => void = () => {}
  const stopped = new Promise<true | Error>((resolve) => (stop = resolve))

  function add(chunk: Buffer): void {
    const room = limitBytes - takenBytes
    if (isTruncated) return
    const kept = chunk.subarray(0, room)
    takenBytes += kept.length
    const parts = [kept]
    if (chunk.length > room) {
      isTruncated = true
      parts.push(Buffer.from(truncated))
    }
    for (const part of parts) push(part)
  }

  function push(part: Buffer): void {
    if (isLost) return
    waiting.push(part)
    waitingBytes += part.length
    wake()
  }

  /** A bounded piece of what waits. */
  function next(): Buffer {
    const all = Buffer.concat(waiting)
    const piece = all.subarray(0, largestSendBytes)
    const rest = all.subarray(piece.length)
    waiting = rest.length === 0 ? [] : [rest]
    waitingBytes = rest.length
    return piece
  }

  async function send(piece: Buffer): Promise<void> {
    const start = sent
    let from = 0
    for (;;) {
      try {
        const { cancel } = await link.sendOutput(start + from, piece.subarray(from))
        sent = start + piece.length
        if (cancel) stop(true)
        return
      } catch (error) {
        // The answer to an earlier send was lost: the server says how far it came.
        if (!(error instanceof OffsetWrong)) throw error
        const has = error.size - start
        if (has < 0 || has > piece.length || has === from) {
          throw new Error(`the server has ${error.size} bytes of output where ${start} were sent`, {
            cause: error,
          })
        }
        from = has
      }
    }
  }

  async function run(): Promise<void> {
    for (;;) {
      if (isClosing && waitingBytes === 0) return
      if (waitingBytes === 0) {
        const clock = new AbortController()
        const woken = new Promise<void>((resolve) => (wake = resolve))
        await Promise.race([
          woken,
          delay(heartbeatMs, undefined, { signal: clock.signal }).catch(() => {}),
        ])
        clock.abort()
        const gathering = sentAt + gatherMs - performance.now()
        if (waitingBytes > 0 && gathering > 0) {
          await delay(gathering, undefined, { signal: closing.signal }).catch(() => {})
        }
      }
      await send(next())
      sentAt = performance.now()
      if (waitingBytes < highWaterBytes) drained()
    }
  }
  const running = run().catch((error: unknown) => {
    stop(error as Error)
    // Nobody takes it any more; the build must not wait for that.
    isLost = true
    waiting = []
    waitingBytes = 0
    drained()
  })

  return {
    stop: stopped,
    say: (line) => push(Buffer.from(`${line}\n`)),

    follow: async (output) => {
      for await (const chunk of output) {
        add(chunk as Buffer)
        if (waitingBytes >= highWaterBytes) {
          await new Promise<void>((resolve) => (drained = resolve))
        }
      }
    },

    close: async () => {
      isClosing = true
      closing.abort()
      wake()
      await running
    },
  }
}
