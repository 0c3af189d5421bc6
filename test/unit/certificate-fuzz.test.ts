/**
 * Damaged keys by the thousand: BERTH_FUZZ_KEYS says how many (10,000 when it is not set), and
 * BERTH_FUZZ_SEED which. Each is refused with a text, or read; and what is read of it has nothing in
 * it that was not in the undamaged key.
 */
import assert from 'node:assert/strict'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { test } from 'node:test'
import type { Worker } from 'node:worker_threads'

import { Failure } from '../../server/failure.ts'
import { armor } from '../../server/keystore/armor.ts'
import { CertificateReader } from '../../server/keystore/certificate-reader.ts'
import type { Certificate } from '../../server/keystore/certificate.ts'
import { readPackets } from '../../server/keystore/packets.ts'
import type { Packet } from '../../server/keystore/packets.ts'
import { alice, block, makeKey, publicBytes, sign, userIdPacket } from '../support/certificates.ts'
import { Dice, mutate, mutateBytes } from '../support/mutations.ts'

const count = Number(process.env['BERTH_FUZZ_KEYS'] ?? 10_000)
const seed = Number(process.env['BERTH_FUZZ_SEED'] ?? 1)
/** So that both threads always have something to do. */
const lanes = 6

test(`${count} damaged keys: none ends a thread, holds up the loop, or gets anything in`, async (t) => {
  const started: Worker[] = []
  const note = (worker: Worker): number => started.push(worker)
  process.on('worker', note)
  t.after(() => process.off('worker', note))
  const reader = new CertificateReader()
  t.after(() => reader.close())
  const whole = await Promise.all((await corpus()).map((bytes) => reader.read(bytes)))
  const sources = whole.map(({ bytes }) => readPackets(bytes))
  const delay = monitorEventLoopDelay({ resolution: 5 })
  delay.enable()
  let [next, read, slowestMs] = [0, 0, 0]
  const begun = performance.now()

  async function lane(): Promise<void> {
    while (next < count) {
      next += 1
      const dice = new Dice(seed * 1_000_003 + next)
      const damaged = damage(whole, sources, dice)
      const from = performance.now()
      if (await isReadRight(reader, damaged, whole)) read += 1
      slowestMs = Math.max(slowestMs, performance.now() - from)
    }
  }
  await Promise.all(Array.from({ length: lanes }, lane))

  delay.disable()
  const seconds = (performance.now() - begun) / 1000
  const [p99Ms, maxMs] = [delay.percentile(99) / 1e6, delay.max / 1e6]
  t.diagnostic(
    `${seconds.toFixed(1)} s, ${read} read, ${count - read} refused; slowest ${slowestMs.toFixed(0)} ms with ${lanes} at once; event loop p99 ${p99Ms.toFixed(1)} ms, max ${maxMs.toFixed(1)} ms`,
  )
  assert.equal(started.length, 2, 'a thread has ended')
  // Both happen: otherwise the damage is too small, or too large, to say anything.
  assert.ok(read > count / 20 && count - read > count / 20, `${read} of ${count} read`)
  // The last hundredth is left to what else the machine does.
  assert.ok(p99Ms < 50, `the event loop waited ${p99Ms} ms`)
})

function damage(
  whole: readonly Certificate[],
  sources: readonly Packet[][],
  dice: Dice,
): string | Buffer {
  if (dice.below(5) === 0) {
    const armored = armor(dice.of(whole).bytes)
    return mutateBytes(Buffer.from(armored), dice).toString('latin1')
  }
  return mutate(dice.of(sources), dice.of(sources), dice)
}

/** Whether it was read; fails where that, or how it was refused, is wrong. */
async function isReadRight(
  reader: CertificateReader,
  damaged: string | Buffer,
  whole: readonly Certificate[],
): Promise<boolean> {
  const what = Buffer.from(damaged as string).toString('base64')
  let certificate: Certificate
  try {
    certificate = await reader.read(damaged)
  } catch (error) {
    assert.ok(error instanceof Failure, `${String(error)}: ${what}`)
    assert.equal(error.kind, 'invalid', `${error.message}: ${what}`)
    assert.doesNotMatch(error.message, /too much time/, what)
    return false
  }
  const { fingerprint, bytes } = certificate
  const original = whole.find((each) => each.fingerprint === fingerprint)
  assert.ok(original, `a key that nobody made: ${what}`)
  assert.ok(bytes.length <= original.bytes.length, what)
  // The undamaged key has it all already.
  const merged = await reader.merge(original.bytes, bytes)
  assert.deepEqual(merged, original, what)
  return true
}

async function corpus(): Promise<Buffer[]> {
  const several = { userIDs: [alice, { name: 'Alice', email: 'a@example.net' }] }
  const revoked = await makeKey({ type: 'ecc', curve: 'nistP256' })
  const userId = userIdPacket('Former <former@example.org>')
  const more = await Promise.all([
    sign(revoked, { type: 0x20 }),
    sign(revoked, { type: 0x13, userId: userId.body }),
    sign(revoked, { type: 0x30, userId: userId.body }),
  ])
  const [revocation, certification, userIdRevocation] = more
  const [primary, ...others] = readPackets(publicBytes(revoked))
  assert.ok(primary && revocation && certification && userIdRevocation)
  const marked = [primary, revocation, ...others, userId, certification, userIdRevocation]
  const keys = await Promise.all([
    makeKey({ ...several, subkeys: [{}, { sign: true }] }),
    makeKey({ config: { v6Keys: true }, keyExpirationTime: 86_400 }),
    makeKey({ type: 'ecc', curve: 'ed25519Legacy' }),
    makeKey({ type: 'rsa', rsaBits: 2048 }),
  ])
  return [...keys.map(publicBytes), block(marked)]
}
