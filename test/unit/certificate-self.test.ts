/** A certificate is what its key has signed of itself: everything else leaves no trace. */
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'

import { enums } from 'openpgp'
import type { KeyOptions, PrivateKey } from 'openpgp'

import { CertificateReader } from '../../server/keystore/certificate-reader.ts'
import { Tag } from '../../server/keystore/packets.ts'
import type { Packet } from '../../server/keystore/packets.ts'
import {
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
  withUnhashed,
} from '../support/certificates.ts'

const reader = new CertificateReader()
after(() => reader.close())

describe('what the key has not signed', () => {
  test('a user ID without its signature, or with that of another key, is dropped', async () => {
    const [key, mallory] = await Promise.all([makeKey(), makeKey()])
    const unsigned = userIdPacket('Mallory <mallory@example.org>')
    const foreign = userIdPacket('Bob <bob@example.org>')
    const signature = await sign(mallory, {
      type: 0x13,
      userId: foreign.body,
      about: key.keyPacket,
    })
    const packets = [...packetsOf(key), unsigned, foreign, signature]
    const { userIds, bytes } = await reader.read(block(packets))
    assert.deepEqual(
      userIds.map(({ text }) => text),
      [aliceText],
    )
    assert.ok(bytes.equals((await reader.read(publicBytes(key))).bytes))
  })

  for (const count of [200, 1000]) {
    test(`${count} signatures of others leave no trace`, async () => {
      const [key, mallory] = await Promise.all([makeKey(), makeKey()])
      const [primary, userId, own, ...subkeys] = fiveOf(key)
      const certification = { type: 0x10, userId: userId.body, about: key.keyPacket }
      const foreign = await sign(mallory, certification)
      // Each with another signature, so that none is a copy.
      const many = Array.from({ length: count }, (_, i) => {
        const body = Buffer.from(foreign.body)
        body.writeUInt32BE(i, body.length - 4)
        return { tag: Tag.signature, body }
      })
      const flooded = block([primary, userId, ...many, own, ...subkeys])
      assert.ok(flooded.length < 131_072, `${flooded.length}`)
      const { bytes } = await reader.read(flooded)
      assert.ok(bytes.equals((await reader.read(publicBytes(key))).bytes))
    })
  }

  test('photographs, trust, padding and what nobody knows are dropped, and copies too', async () => {
    const key = await makeKey()
    const [primary, userId, own, subkey, binding] = fiveOf(key)
    const photograph = { tag: Tag.userAttribute, body: Buffer.alloc(20_000, 1) }
    const trust = { tag: 12, body: Buffer.of(1, 2) }
    const unknown = { tag: 60, body: Buffer.alloc(300) }
    const marker = { tag: Tag.marker, body: Buffer.from('PGP') }
    const padding = { tag: 21, body: Buffer.alloc(9) }
    const first = [marker, primary, trust, userId, trust, own, own, photograph, own, unknown, own]
    const packets = [...first, userId, own, subkey, binding, trust, marker, binding, padding]
    const { bytes } = await reader.read(block(packets))
    assert.ok(bytes.equals((await reader.read(publicBytes(key))).bytes))
  })

  test('what only the part without a signature says is ignored, and the issuer is set right', async () => {
    const key = await makeKey({ type: 'ecc', curve: 'ed25519Legacy' })
    const clean = await reader.read(publicBytes(key))
    const lies = [
      Buffer.of(2, 0, 0, 0, 1), // made in 1970
      Buffer.of(3, 0, 0, 0, 1), // ends a second later
      Buffer.of(9, 0, 0, 0, 1), // so does the key
      Buffer.of(25, 0),
      Buffer.of(27, 0xff),
      Buffer.of(16, ...Buffer.alloc(8, 7)), // by somebody else
      Buffer.of(0x80 | 100, 1), // critical, and unknown
    ]
    const packets = packetsOf(key).map((packet) =>
      packet.tag === Tag.signature ? withUnhashed(packet, ...lies) : packet,
    )
    const read = await reader.read(block(packets))
    assert.deepEqual(read, clean)
  })

  test('old packet headers and long lengths become the one form', async () => {
    const key = await makeKey()
    const clean = await reader.read(publicBytes(key))
    const old = packetsOf(key).flatMap(({ tag, body }) => {
      const length = Buffer.alloc(4)
      length.writeUInt32BE(body.length)
      return [Buffer.of(0x80 | (tag << 2) | 2), length, body]
    })
    const long = packetsOf(key).flatMap(({ tag, body }) => {
      const length = Buffer.alloc(5, 0xff)
      length.writeUInt32BE(body.length, 1)
      return [Buffer.of(0xc0 | tag), length, body]
    })
    assert.deepEqual(await reader.read(Buffer.concat(old)), clean)
    assert.deepEqual(await reader.read(Buffer.concat(long)), clean)
  })

  test('a signature that is only for its owner is not published', async () => {
    const key = await makeKey()
    const userId = await boundUserId(key, 'At home', {
      say: (packet) => {
        packet.exportable = false
      },
    })
    const { userIds } = await reader.read(block([...packetsOf(key), ...userId]))
    assert.deepEqual(
      userIds.map(({ text }) => text),
      [aliceText],
    )
  })

  test('a key that names somebody who may revoke it is read', async () => {
    const key = await makeKey()
    const [primary, ...others] = packetsOf(key)
    assert.ok(primary)
    const direct = await sign(key, {
      type: 0x1f,
      say: (packet) => {
        packet.revocationKeyClass = 0x80
        packet.revocationKeyAlgorithm = enums.publicKey.ed25519
        packet.revocationKeyFingerprint = new Uint8Array(20)
      },
    })
    const { bytes } = await reader.read(block([primary, direct, ...others]))
    assert.deepEqual(tagsOf(bytes), [6, 2, 13, 2, 14, 2])
  })
})

describe('subkeys', () => {
  const [forSigning, forEncryption] = [2, 12]

  /** Mallory's certificate with the signing subkey of Alice. */
  async function adopt(flags: number | undefined): Promise<{
    readonly key: PrivateKey
    readonly adopted: Packet
    readonly binding: Packet
    readonly stolen: string
  }> {
    const options: Partial<KeyOptions> = {
      type: 'rsa',
      rsaBits: 2048,
      subkeys: [{ sign: true }],
    }
    const [victim, key] = await Promise.all([makeKey(options), makeKey({ subkeys: [] })])
    const [subkey] = victim.subkeys
    assert.ok(subkey)
    const adopted = fiveOf(victim)[3]
    const binding = await sign(key, {
      type: 0x18,
      subkey: subkey.keyPacket,
      say: (packet) => {
        if (flags !== undefined) packet.keyFlags = Uint8Array.of(flags)
      },
    })
    return { key, adopted, binding, stolen: subkey.getKeyID().toHex().toUpperCase() }
  }

  for (const [name, flags] of [
    ['for signing', forSigning],
    ['for nothing in particular', undefined],
  ] as const) {
    test(`somebody else's, taken in ${name}, is dropped`, async () => {
      const { key, adopted, binding } = await adopt(flags)
      const { bytes, keyIds } = await reader.read(block([...packetsOf(key), adopted, binding]))
      assert.deepEqual(tagsOf(bytes), [6, 13, 2])
      assert.equal(keyIds.length, 1)
    })
  }

  test("somebody else's, taken in for encryption, is not found by its ID", async () => {
    const { key, adopted, binding, stolen } = await adopt(forEncryption)
    const { bytes, keyIds } = await reader.read(block([...packetsOf(key), adopted, binding]))
    assert.deepEqual(tagsOf(bytes), [6, 13, 2, 14, 2])
    assert.equal(keyIds.includes(stolen), false)
  })

  test('one without a valid binding, or of a weak kind, is dropped; a revoked one is kept', async () => {
    const key = await makeKey({ subkeys: [{}, { sign: true }] })
    const [first, second] = key.subkeys
    assert.ok(first && second)
    const other = await makeKey()
    const unbound = fiveOf(other)[3]
    const weak = await makeKey({ type: 'rsa', rsaBits: 1024, config: { minRSABits: 1024 } })
    const weakSubkey = weak.subkeys[0]?.keyPacket
    assert.ok(weakSubkey)
    const weakBinding = await sign(key, {
      type: 0x18,
      subkey: weakSubkey,
      say: (packet) => {
        packet.keyFlags = Uint8Array.of(forEncryption)
      },
    })
    const revocation = await sign(key, { type: 0x28, subkey: second.keyPacket })
    const weakPacket = { tag: Tag.publicSubkey, body: fiveOf(weak)[3].body }
    const packets = [...packetsOf(key), revocation, unbound, weakPacket, weakBinding]
    const { bytes, keyIds, revoked } = await reader.read(block(packets))
    assert.equal(revoked, false)
    assert.equal(keyIds.length, 3)
    const count = (tag: number): number => tagsOf(bytes).filter((each) => each === tag).length
    assert.deepEqual([count(Tag.publicSubkey), count(Tag.signature)], [2, 4])
    assert.ok(bytes.includes(Buffer.from(revocation.body)))
  })
})
