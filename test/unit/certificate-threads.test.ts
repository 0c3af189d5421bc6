/** What a hostile key can cost: never the event loop, and its own thread for two seconds. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, test } from 'node:test'
import type { Worker } from 'node:worker_threads'

import { CertificateReader } from '../../server/keystore/certificate-reader.ts'
import { makeCostly, makeKey, publicBytes } from '../support/certificates.ts'
import { assertLoopGoesOn } from '../support/loop-delay.ts'

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
const [costly, asCostly] = await makeCostly()

test('a key that takes too long is refused, its thread is ended, and the next key is read', async () => {
  const reader = newReader({ deadlineMs: 800 })
  await reader.read(good)
  const thread = started.at(-1)
  assert.ok(thread)
  const begun = performance.now()
  const ended = once(thread, 'exit')
  await assert.rejects(reader.merge(costly, asCostly), {
    kind: 'invalid',
    message: /too much time/,
  })
  const ms = performance.now() - begun
  assert.ok(ms > 750 && ms < 5000, `${ms} ms`)
  await ended
  await reader.read(good)
  assert.notEqual(started.at(-1), thread)
})

test('the event loop does not wait for a key', async () => {
  const reader = newReader()
  await Promise.all([reader.read(good), reader.read(good)])
  await assertLoopGoesOn(async () => {
    const begun = performance.now()
    await Promise.allSettled([
      reader.read(costly),
      reader.read(asCostly),
      reader.read(Buffer.alloc(131_072, Buffer.of(0xe0, 0))),
      reader.read(`-----BEGIN PGP PUBLIC KEY BLOCK-----\n${'A: b\n'.repeat(25_000)}`),
    ])
    const ms = performance.now() - begun
    assert.ok(ms > 200, `the threads were busy for ${ms} ms only`)
  })
})

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
