/** Merging keeps what either side has and the key has signed, and gives one form of it. */
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'

import { revokeKey } from 'openpgp'

import { CertificateReader } from '../../server/keystore/certificate-reader.ts'
import { Tag } from '../../server/keystore/packets.ts'
import type { Packet } from '../../server/keystore/packets.ts'
import {
  alice,
  aliceText,
  block,
  boundUserId,
  fiveOf,
  makeKey,
  packetsOf,
  publicBytes,
  sign,
  tagsOf,
  userIdPacket,
} from '../support/certificates.ts'

const reader = new CertificateReader()
after(() => reader.close())

const lastYear = new Date('2025-11-01T00:00:00Z')

test('the same twice is the same', async () => {
  const { bytes } = await reader.read(publicBytes(await makeKey()))
  assert.ok((await reader.merge(bytes, bytes)).bytes.equals(bytes))
})

test('two keys are not merged', async () => {
  const [one, other] = await Promise.all([makeKey(), makeKey()])
  const failure = { kind: 'invalid', subject: 'key', message: /several keys/ }
  await assert.rejects(reader.merge(publicBytes(one), publicBytes(other)), failure)
})

test('the facts follow: a longer life, another user ID, another subkey', async () => {
  const key = await makeKey({ date: lastYear, keyExpirationTime: 3600 })
  const stored = await reader.read(publicBytes(key))
  const [primary, userId] = fiveOf(key)
  const longer = await sign(key, {
    type: 0x13,
    userId: userId.body,
    say: (packet) => {
      packet.keyExpirationTime = 7200
    },
  })
  const later = await boundUserId(key, 'Later <later@example.org>')
  const incoming = await reader.read(block([primary, userId, longer, ...later]))
  const merged = await reader.merge(stored.bytes, incoming.bytes)
  assert.deepEqual(merged.expiresAt, new Date(Number(lastYear) + 7200_000))
  assert.deepEqual(merged.userIds.map(({ text }) => text).sort(compare), [
    aliceText,
    'Later <later@example.org>',
  ])
  assert.deepEqual(merged.keyIds, stored.keyIds)
  assert.deepEqual(await reader.merge(incoming.bytes, stored.bytes), merged)
})

describe('a revocation is never lost', () => {
  test('of the key: not by merging it with the key as it was before', async () => {
    const key = await makeKey()
    const before = await reader.read(publicBytes(key))
    const { publicKey } = await revokeKey({ key, format: 'object' })
    const after = await reader.read(Buffer.from(publicKey.write()))
    assert.deepEqual([before.revoked, after.revoked], [false, true])
    for (const [one, other] of [
      [before, after],
      [after, before],
    ] as const) {
      const merged = await reader.merge(one.bytes, other.bytes)
      assert.deepEqual(merged, after)
    }
  })

  test('of a user ID that comes without its signature', async () => {
    const key = await makeKey({ userIDs: [alice, { name: 'Other' }], date: lastYear })
    const stored = await reader.read(publicBytes(key))
    const [primary, userId, certification] = fiveOf(key)
    const other = userIdPacket('Other')
    const revocation = await sign(key, { type: 0x30, userId: other.body })
    const sent = block([primary, userId, certification, other, revocation])
    const incoming = await reader.read(sent)
    const merged = await reader.merge(stored.bytes, incoming.bytes)
    assert.deepEqual(
      merged.userIds.map(({ text, revoked }) => [text, revoked]),
      [
        [aliceText, false],
        ['Other', true],
      ],
    )
    // Nor is there a need to read what comes beforehand.
    assert.deepEqual(await reader.merge(stored.bytes, sent), merged)
  })

  test('of a subkey that comes without its binding', async () => {
    const key = await makeKey()
    const stored = await reader.read(publicBytes(key))
    const [primary, userId, certification, subkey] = fiveOf(key)
    const [first] = key.subkeys
    assert.ok(first)
    const revocation = await sign(key, { type: 0x28, subkey: first.keyPacket })
    const sent = block([primary, userId, certification, subkey, revocation])
    const merged = await reader.merge(stored.bytes, (await reader.read(sent)).bytes)
    assert.deepEqual(tagsOf(merged.bytes), [6, 13, 2, 14, 2, 2])
    assert.ok(merged.bytes.includes(Buffer.from(revocation.body)))
  })

  test('of the key, when there is room for nothing else', async () => {
    const key = await makeKey({ date: lastYear })
    const [primary, userId] = fiveOf(key)
    const large = async (day: number): Promise<Packet> =>
      await sign(key, {
        type: 0x13,
        userId: userId.body,
        date: new Date(Number(lastYear) + day * 86_400_000),
        say: (packet) => {
          const value = Buffer.alloc(15_000, 'x')
          packet.rawNotations = [
            { name: 'x@example.org', value, humanReadable: true, critical: false },
          ]
        },
      })
    const stored = await reader.read(
      block([primary, userId, ...(await Promise.all([1, 2, 3, 4].map(large)))]),
    )
    const more = block([primary, userId, await large(5)])
    await assert.rejects(reader.merge(stored.bytes, more), { kind: 'invalid', message: /60 KiB/ })
    const revocation = block([primary, await sign(key, { type: 0x20 })])
    const merged = await reader.merge(stored.bytes, revocation)
    assert.equal(merged.revoked, true)
    assert.ok(merged.bytes.length <= 65_536)
    // And back again: what is stored can always be read.
    assert.deepEqual(await reader.read(merged.bytes), merged)
  })
})

test('what others have added changes nothing', async () => {
  const [key, mallory] = await Promise.all([makeKey(), makeKey()])
  const { bytes } = await reader.read(publicBytes(key))
  const [primary, userId, own, ...subkeys] = fiveOf(key)
  const foreign = await sign(mallory, { type: 0x10, userId: userId.body, about: key.keyPacket })
  const revocation = await sign(mallory, { type: 0x20, about: key.keyPacket })
  const damaged = { ...own, body: Buffer.from(own.body) }
  damaged.body.writeUInt8(0, damaged.body.length - 1)
  const packets = [primary, revocation, userId, foreign, damaged, userIdPacket('Mallory'), foreign]
  const merged = await reader.merge(bytes, block([...packets, ...subkeys]))
  assert.ok(merged.bytes.equals(bytes))
})

test('of two signatures of the same words one is kept, always the same', async () => {
  // ECDSA signs differently each time.
  const key = await makeKey({ type: 'ecc', curve: 'nistP256' })
  const [primary, userId] = fiveOf(key)
  const date = new Date()
  const [one, other] = await Promise.all(
    [1, 2].map(async () => {
      const signature = await sign(key, { type: 0x13, userId: userId.body, date })
      return await reader.read(block([primary, userId, signature]))
    }),
  )
  assert.ok(one && other)
  assert.equal(one.bytes.equals(other.bytes), false)
  const merged = await reader.merge(one.bytes, other.bytes)
  assert.deepEqual(tagsOf(merged.bytes), [6, 13, 2])
  assert.deepEqual(await reader.merge(other.bytes, one.bytes), merged)
  assert.deepEqual(await reader.merge(merged.bytes, one.bytes), merged)
  assert.deepEqual(await reader.merge(merged.bytes, other.bytes), merged)
})

test('pieces that come in any order make the same whole', async () => {
  const key = await makeKey({
    userIDs: [alice, { name: 'Second' }, { name: 'Third' }],
    subkeys: [{}, { sign: true }],
    date: lastYear,
  })
  const packets = packetsOf(key)
  const [primary] = packets
  assert.ok(primary)
  const second = userIdPacket('Second')
  const signing = key.subkeys[1]
  assert.ok(signing)
  const revocations = [
    [second, await sign(key, { type: 0x30, userId: second.body })],
    [await sign(key, { type: 0x20 })],
    [packets.at(-2), await sign(key, { type: 0x28, subkey: signing.keyPacket })],
    [second, ...(await boundUserId(key, 'Second')).slice(1)],
  ] as Packet[][]
  const pieces = [...inPairs(packets.slice(1)), ...revocations]
  const first = block([primary, ...(pieces[0] ?? [])])
  const whole = await reader.read(block([primary, ...pieces.flat()]))
  assert.equal(tagsOf(whole.bytes).filter((tag) => tag === Tag.signature).length, 9)
  for (let round = 0; round < 20; round += 1) {
    // Each piece with the first user ID, without which nothing is a certificate.
    let { bytes } = await reader.read(first)
    for (const piece of shuffled(pieces, round)) {
      const incoming = await reader.read(Buffer.concat([first, block(piece)]))
      const merged =
        piece.length % 2 === round % 2
          ? await reader.merge(bytes, incoming.bytes)
          : await reader.merge(incoming.bytes, bytes)
      bytes = merged.bytes
    }
    assert.ok(bytes.equals(whole.bytes), `round ${round}`)
  }
})

function compare(one: string, other: string): number {
  return one < other ? -1 : 1
}

function inPairs(packets: readonly Packet[]): Packet[][] {
  const pairs: Packet[][] = []
  for (let i = 0; i < packets.length; i += 2) pairs.push(packets.slice(i, i + 2))
  return pairs
}

/** A different order for each seed, the same each time. */
function shuffled<Item>(items: readonly Item[], seed: number): Item[] {
  let state = seed + 1
  const keyed = items.map((item) => {
    state = (state * 48_271) % 2_147_483_647
    return { item, state }
  })
  return keyed.sort((one, other) => one.state - other.state).map(({ item }) => item)
}
