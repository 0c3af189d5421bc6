/** What is known of a certificate: when it ends, and whom it names. */
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'

import { enums, revokeKey } from 'openpgp'

import { CertificateReader } from '../../server/keystore/certificate-reader.ts'
import { readPackets, Tag } from '../../server/keystore/packets.ts'
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
} from '../support/certificates.ts'

const reader = new CertificateReader()
after(() => reader.close())

const hourMs = 3_600_000
const lastYear = new Date(Math.floor((Date.now() - 365 * 24 * hourMs) / 1000) * 1000)
const anHourAfter = new Date(Number(lastYear) + hourMs)

describe('ends', () => {
  test('a key with an end has it among its facts', async () => {
    const key = await makeKey({ keyExpirationTime: 3600 })
    const { expiresAt } = await reader.read(publicBytes(key))
    assert.deepEqual(expiresAt, new Date(Number(key.getCreationTime()) + hourMs))
  })

  test('an expired key is accepted, and says so', async () => {
    const key = await makeKey({ date: lastYear, keyExpirationTime: 3600 })
    const { expiresAt, createdAt, revoked } = await reader.read(publicBytes(key))
    assert.deepEqual(
      { expiresAt, createdAt, revoked },
      {
        expiresAt: anHourAfter,
        createdAt: lastYear,
        revoked: false,
      },
    )
  })

  test('the newest signature decides on the end', async () => {
    const key = await makeKey({ date: lastYear, keyExpirationTime: 3600 })
    const [primary, userId, old, ...subkeys] = fiveOf(key)
    const longer = await sign(key, {
      type: 0x13,
      userId: userId.body,
      say: (packet) => {
        packet.keyExpirationTime = 7200
      },
    })
    for (const signatures of [
      [old, longer],
      [longer, old],
    ]) {
      const read = await reader.read(block([primary, userId, ...signatures, ...subkeys]))
      assert.deepEqual(read.expiresAt, new Date(Number(lastYear) + 2 * hourMs))
      assert.deepEqual(tagsOf(read.bytes), [6, 13, 2, 2, 14, 2])
    }
  })

  test('the key and its user ID: the earlier end counts', async () => {
    const key = await makeKey({ date: lastYear, keyExpirationTime: 7200 })
    const [primary, ...others] = packetsOf(key)
    assert.ok(primary)
    const direct = await sign(key, {
      type: 0x1f,
      say: (packet) => {
        packet.keyExpirationTime = 3600
      },
    })
    const { expiresAt } = await reader.read(block([primary, direct, ...others]))
    assert.deepEqual(expiresAt, anHourAfter)
  })

  const reasons: [string, number][] = [
    ['for no reason given', enums.reasonForRevocation.noReason],
    ['as compromised', enums.reasonForRevocation.keyCompromised],
    ['as superseded', enums.reasonForRevocation.keySuperseded],
    ['as retired', enums.reasonForRevocation.keyRetired],
  ]
  for (const [name, flag] of reasons) {
    test(`a key revoked ${name} is accepted, and says so`, async () => {
      const { publicKey } = await revokeKey({
        key: await makeKey(),
        reasonForRevocation: { flag, string: 'as I say' },
        format: 'object',
      })
      const { revoked, bytes } = await reader.read(Buffer.from(publicKey.write()))
      assert.equal(revoked, true)
      assert.deepEqual(tagsOf(bytes), [6, 2, 13, 2, 14, 2])
    })
  }

  test('a revocation by SHA-1, or with something critical that is not known, still counts', async () => {
    const key = await makeKey({ type: 'rsa', rsaBits: 2048 })
    const packets = packetsOf(key)
    const bySha1 = await sign(key, { type: 0x20, hash: enums.hash.sha1 })
    const critical = await sign(key, {
      type: 0x20,
      say: (packet) => {
        const notation = { name: 'x@example.org', value: Buffer.from('y'), humanReadable: true }
        packet.rawNotations = [{ ...notation, critical: true }]
      },
    })
    for (const revocation of [bySha1, critical]) {
      // Where it stands does not matter.
      const { revoked } = await reader.read(block([...packets, revocation]))
      assert.equal(revoked, true)
    }
  })
})

describe('user IDs', () => {
  test('the primary one is first, then the newest', async () => {
    const key = await makeKey({ userIDs: [alice, { name: 'Second' }], date: lastYear })
    const later = await boundUserId(key, 'Later')
    const packets = packetsOf(key)
    const read = await reader.read(block([...packets.slice(0, 1), ...later, ...packets.slice(1)]))
    assert.deepEqual(
      read.userIds.map(({ text, email, createdAt }) => [text, email, createdAt > lastYear]),
      [
        [aliceText, 'alice@example.org', false],
        ['Later', undefined, true],
        ['Second', undefined, false],
      ],
    )
    const [first] = readPackets(read.bytes).filter(({ tag }) => tag === Tag.userId)
    assert.equal(Buffer.from(first?.body ?? []).toString(), aliceText)
  })

  test('one that is revoked says so, comes last, and is back when it is signed again', async () => {
    const key = await makeKey({ date: lastYear })
    const [primary, ...others] = fiveOf(key)
    const [userId, signature] = await boundUserId(key, 'Other', { date: lastYear })
    const revocation = await sign(key, { type: 0x30, userId: userId.body, date: anHourAfter })
    const packets = [primary, userId, signature, revocation, ...others]
    const { userIds, revoked, bytes } = await reader.read(block(packets))
    assert.equal(revoked, false)
    assert.deepEqual(
      userIds.map(({ text, revoked }) => [text, revoked]),
      [
        [aliceText, false],
        ['Other', true],
      ],
    )
    const [, again] = await boundUserId(key, 'Other')
    const back = await reader.read(Buffer.concat([bytes, block([primary, userId, again])]))
    assert.deepEqual(
      back.userIds.map(({ text, revoked }) => [text, revoked]),
      [
        [aliceText, false],
        ['Other', false],
      ],
    )
  })

  test('a signature with an end gives it to its user ID', async () => {
    const key = await makeKey({ date: lastYear })
    const userId = await boundUserId(key, 'Guest', {
      date: lastYear,
      say: (packet) => {
        packet.signatureExpirationTime = 3600
      },
    })
    const { userIds } = await reader.read(block([...packetsOf(key), ...userId]))
    assert.deepEqual(
      userIds.map(({ text, expiresAt }) => [text, expiresAt]),
      [
        [aliceText, undefined],
        ['Guest', anHourAfter],
      ],
    )
  })

  const addresses: [string, string | undefined][] = [
    ['Bob <BOB@Example.ORG>', 'bob@example.org'],
    ['bob@example.org', 'bob@example.org'],
    ['<bob@example.org>', 'bob@example.org'],
    ['Bób (ワーク) <bob+x@example.org>', 'bob+x@example.org'],
    ['Bob', undefined],
    ['Bob <bob>', undefined],
    ['Bob <a@example.org> <b@example.org>', undefined],
    ['Bob <a@b@example.org>', undefined],
    ['می\u200Cخواهم <p@example.org>', 'p@example.org'],
  ]
  test('the address of each is the one that it names', async () => {
    const key = await makeKey()
    const others = await Promise.all(addresses.map(([text]) => boundUserId(key, text)))
    const { userIds } = await reader.read(block([...packetsOf(key), ...others.flat()]))
    const found = new Map(userIds.map(({ text, email }) => [text, email]))
    assert.equal(found.size, addresses.length + 1)
    for (const [text, email] of addresses) assert.equal(found.get(text), email, text)
  })

  test('256 bytes and 16 of them are accepted', async () => {
    const key = await makeKey()
    const texts = Array.from({ length: 15 }, (_, i) => `${i} `.padEnd(256, 'x'))
    const others = await Promise.all(texts.map((text) => boundUserId(key, text)))
    const { userIds } = await reader.read(block([...packetsOf(key), ...others.flat()]))
    assert.equal(userIds.length, 16)
  })
})
