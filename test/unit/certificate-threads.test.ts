/** What a hostile key can cost: never the event loop, and its own thread for two seconds. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { after, test } from 'node:test'
import type { Worker } from 'node:worker_threads'

import { CertificateReader } from '../../server/keystore/certificate-reader.ts'
import { Tag } from '../../server/keystore/packets.ts'
import { block, fiveOf, makeKey, publicBytes } from '../support/certificates.ts'

const started: Worker[] = []
process.on('worker', (worker: Worker) => started.push(worker))

const readers: CertificateReader[] = []
after(() => Promise.all(readers.map((reader) => reader.close())))

function newReader(...options: ConstructorParameters<typeof CertificateReader>): CertificateReader {
  const reader = new CertificateReader(...options)
  readers.push(reader)
  return reader
}

const good = publicBytes(await makeKey())
const costly = await makeCostly()

test('a key that takes too long is refused, its thread is ended, and the next key is read', async () => {
  const reader = newReader({ deadlineMs: 150 })
  await reader.read(good)
  const thread = started.at(-1)
  assert.ok(thread)
  const begun = performance.now()
  const ended = once(thread, 'exit')
  await assert.rejects(reader.read(costly), { kind: 'invalid', message: /too much time/ })
  const ms = performance.now() - begun
  assert.ok(ms > 140 && ms < 3000, `${ms} ms`)
  await ended
  await reader.read(good)
  assert.notEqual(started.at(-1), thread)
})

test('the event loop does not wait for a key', async () => {
  const reader = newReader()
  await Promise.all([reader.read(good), reader.read(good)])
  // What a key makes the loop wait, it does every time; what the rest of the machine does, it does not.
  let worstMs = Infinity
  for (let round = 0; round < 3 && worstMs >= 50; round += 1) {
    worstMs = Math.min(worstMs, await worstDelayMs(reader))
  }
  assert.ok(worstMs < 50, `${worstMs} ms`)
})

/** The longest that the event loop waited while threads were busy with the worst that they get. */
async function worstDelayMs(reader: CertificateReader): Promise<number> {
  const delay = monitorEventLoopDelay({ resolution: 5 })
  delay.enable()
  const begun = performance.now()
  await Promise.allSettled([
    reader.read(costly),
    reader.read(costly),
    reader.read(Buffer.alloc(131_072, Buffer.of(0xe0, 0))),
    reader.read(`-----BEGIN PGP PUBLIC KEY BLOCK-----\n${'A: b\n'.repeat(25_000)}`),
  ])
  const ms = performance.now() - begun
  delay.disable()
  assert.ok(ms > 200, `the threads were busy for ${ms} ms only`)
  assert.ok(delay.count > 20, `${delay.count} samples`)
  return delay.max / 1e6
}

test('two at a time, some more wait, and the rest is refused at once', async () => {
  const reader = newReader({ threads: 2, maxWaiting: 3 })
  const before = started.length
  const asked = Array.from({ length: 8 }, () => reader.read(good))
  const results = await Promise.allSettled(asked)
  const failures = results.flatMap((result) =>
    result.status === 'rejected' ? [result.reason as { kind: string }] : [],
  )
  assert.equal(started.length - before, 2)
  assert.deepEqual(
    failures.map(({ kind }) => kind),
    ['unavailable', 'unavailable', 'unavailable'],
  )
  await reader.read(good)
  assert.equal(started.length - before, 2)
})

test('a thread that needs too much memory is ended, and nothing else with it', async () => {
  const reader = newReader({ memoryMib: 4 })
  await assert.rejects(reader.read(good), { kind: 'invalid', message: /memory/ })
})

test('a thread that ends by itself fails its key only', async () => {
  const reader = newReader({ threads: 1 })
  await reader.read(good)
  const refused = assert.rejects(reader.read(costly), /has ended/)
  await started.at(-1)?.terminate()
  await refused
  await reader.read(good)
})

test('closing ends the threads and what waits for them', async () => {
  const reader = newReader({ threads: 1 })
  await reader.read(good)
  const thread = started.at(-1)
  assert.ok(thread)
  const ended = once(thread, 'exit')
  const asked = Promise.allSettled([reader.read(costly), reader.read(good)])
  await reader.close()
  await ended
  for (const each of await asked) {
    assert.equal(each.status, 'rejected')
    assert.equal((each.reason as { kind: string }).kind, 'unavailable')
  }
  await assert.rejects(reader.read(good), { kind: 'unavailable' })
})

/**
 * As many signatures as fit, whose words are right and whose numbers are not: each must be verified,
 * and Ed448 takes milliseconds for one.
 */
async function makeCostly(): Promise<Buffer> {
  const [primary, userId, own] = fiveOf(await makeKey({ type: 'curve448' }))
  const count = Math.floor(130_000 / (own.body.length + 3))
  const bad = Array.from({ length: count }, (_, i) => {
    const body = Buffer.from(own.body)
    body.writeUInt16BE(i, body.length - 100)
    return { tag: Tag.signature, body }
  })
  return block([primary, userId, ...bad, own])
}
