/**
 * Small GETs as fast as a server answers them, each connection one after the other. On bare sockets:
 * node:http as the client would cost more than the servers that are measured.
 */
import { connect } from 'node:net'

import { onLoopback } from './call.ts'
import type { Target } from './contender.ts'
import type { Latency } from './measure.ts'
import { percentile } from './statistics.ts'

interface Answered {
  readonly requests: number
  readonly latency: Latency
}

const deadlineMs = 30_000

export async function loopRequests(
  target: Target,
  connections: number,
  durationMs: number,
): Promise<Answered> {
  const stopAt = performance.now() + durationMs
  const loops = Array.from({ length: connections }, async () => await runLoop(target, stopAt))
  const latencies = (await Promise.all(loops)).flat().sort((a, b) => a - b)
  return {
    requests: latencies.length,
    latency: { p50Ms: percentile(latencies, 0.5), p99Ms: percentile(latencies, 0.99) },
  }
}

/** Returns how long each request took. */
async function runLoop(target: Target, stopAt: number): Promise<number[]> {
  const url = new URL(onLoopback(target.url))
  const fields = Object.entries({ Host: url.host, ...target.headers })
  const head = fields.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  const request = `GET ${url.pathname}${url.search} HTTP/1.1\r\n${head}\r\n`
  const latencies: number[] = []
  const socket = connect(Number(url.port), url.hostname)
  socket.setNoDelay(true)
  socket.setTimeout(deadlineMs, () => socket.destroy(new Error('the server went quiet')))
  let startedAt = performance.now()
  let pending: Buffer = Buffer.alloc(0)

  function onData(chunk: Buffer): void {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk])
    const length = answerLength(pending)
    if (length === undefined || pending.length < length) return
    pending = Buffer.alloc(0)
    const now = performance.now()
    latencies.push(now - startedAt)
    if (now >= stopAt) {
      socket.end()
    } else {
      startedAt = now
      socket.write(request)
    }
  }

  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject)
    socket.once('close', () => resolve())
    socket.on('data', (chunk: Buffer) => {
      try {
        onData(chunk)
      } catch (error) {
        socket.destroy(error as Error)
      }
    })
    socket.write(request)
  })
  if (performance.now() < stopAt) throw new Error(`${url.pathname}: the connection was closed`)
  return latencies
}

/** Of head and body together; undefined until the head is complete. Throws unless it is a 200. */
function answerLength(answer: Buffer): number | undefined {
  const headEnd = answer.indexOf('\r\n\r\n')
  if (headEnd === -1) return undefined
  const head = answer.toString('latin1', 0, headEnd)
  if (!head.startsWith('HTTP/1.1 200 ')) throw new Error(`unexpected answer: ${head.slice(0, 200)}`)
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1]
  if (length === undefined) throw new Error('an answer without Content-Length')
  return headEnd + 4 + Number(length)
}
