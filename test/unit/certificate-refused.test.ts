/** Which blocks are refused, and what their senders are told. */
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'

import { armor as armorOf, enums } from 'openpgp'
import type { PrivateKey } from 'openpgp'

import { CertificateReader } from '../../server/keystore/certificate-reader.ts'
import { Tag } from '../../server/keystore/packets.ts'
import type { Packet } from '../../server/keystore/packets.ts'
import {
  block,
  boundUserId,
  fiveOf,
  makeKey,
  packetsOf,
  publicBytes,
  sign,
  userIdPacket,
} from '../support/certificates.ts'

const reader = new CertificateReader()
after(() => reader.close())

const key = await makeKey({ type: 'ecc', curve: 'nistP256' })
const other = await makeKey()
const rsa = await makeKey({ type: 'rsa', rsaBits: 2048 })
const [primary, userId, certification, subkey, binding] = fiveOf(key)
const armored = reader.armor(publicBytes(key))

async function assertRefused(sent: string | Buffer, message: RegExp): Promise<void> {
  await assert.rejects(reader.read(sent), { kind: 'invalid', subject: 'key', message })
}

function refused(cases: readonly (readonly [string, string | Buffer | Promise<Buffer>, RegExp])[]) {
  for (const [name, sent, message] of cases) {
    test(`${name} is refused`, async () => {
      await assertRefused(await sent, message)
    })
  }
}

/** The key packet with other bytes in it. */
function keyPacket(change: (body: Buffer) => Uint8Array, packet = primary): Packet {
  return { tag: Tag.publicKey, body: change(Buffer.from(packet.body)) }
}

function withByte(position: number, value: number): (body: Buffer) => Buffer {
  return (body) => {
    body.writeUInt8(value, position)
    return body
  }
}

/** A number as OpenPGP writes it: its length in bits, and its octets. */
function mpi(octets: Uint8Array): Buffer {
  const [first = 0] = octets
  const bits = octets.length * 8 - Math.clz32(first) + 24
  return Buffer.concat([Buffer.of(bits >> 8, bits & 0xff), octets])
}

function rsaPacket(modulusOctets: number, exponent: Uint8Array, last = 0xff): Packet {
  const modulus = Buffer.alloc(modulusOctets, 0xff)
  modulus.writeUInt8(last, modulusOctets - 1)
  const start = Buffer.of(4, 0x60, 0, 0, 0, enums.publicKey.rsaEncryptSign)
  return { tag: Tag.publicKey, body: Buffer.concat([start, mpi(modulus), mpi(exponent)]) }
}

/** The key with its user ID signed in this way. */
async function signedBy(signer: PrivateKey, hash: number): Promise<Buffer> {
  const [first, text] = fiveOf(signer)
  const signature = await sign(signer, { type: 0x13, userId: text.body, hash })
  return block([first, text, signature])
}

async function withUserId(text: string | Uint8Array): Promise<Buffer> {
  return block([...packetsOf(key), ...(await boundUserId(key, text))])
}

describe('what is no public key', () => {
  refused([
    ['nothing', '', /not an OpenPGP public key/],
    ['an empty Buffer', Buffer.alloc(0), /no key/],
    ['text', 'Dear keystore,', /no line "-----BEGIN PGP PUBLIC KEY BLOCK-----"/],
    ['a page', Buffer.from('<html></html>'), /not an OpenPGP public key/],
    ['a message', armorOf(enums.armor.message, Buffer.of(1)), /a PGP message, not a public key/],
    ['a signature', armorOf(enums.armor.signature, Buffer.of(1)), /a PGP signature, not a/],
    ['a user ID alone', block([userId]), /not an OpenPGP public key/],
    ['a message in a key block', block([{ tag: 11, body: Buffer.of(1) }]), /not an OpenPGP public/],
    [
      'a revocation certificate alone',
      sign(key, { type: 0x20 }).then((packet) => block([packet])),
      /imported first/,
    ],
    ['128 KiB of 0xff', Buffer.alloc(131_072, 0xff), /cut off/],
    ['128 KiB of 0x80', Buffer.alloc(131_072, 0x80), /cut off/],
    [
      '128 KiB of packets without bytes',
      Buffer.alloc(131_072, Buffer.of(0xe0, 0)),
      /not an OpenPGP/,
    ],
  ])

  test('129 KiB is too large', async () => {
    const failure = { kind: 'too-large', subject: 'key', message: /128 KiB/ }
    await assert.rejects(reader.read(Buffer.alloc(131_073, 0xc6)), failure)
    await assert.rejects(reader.read('x'.repeat(131_073)), failure)
    await assert.rejects(reader.merge(publicBytes(key), Buffer.alloc(131_073)), failure)
  })
})

describe('secret keys', () => {
  const secret = Buffer.from(key.write())
  refused([
    ['an armored one', key.armor(), /secret key; nothing was stored.*revoke/],
    ['a binary one', secret, /secret key; nothing was stored.*revoke/],
    ['one in a block that says public', armorOf(enums.armor.publicKey, secret), /secret key/],
    ['one behind a public key', Buffer.concat([publicBytes(other), secret]), /secret key/],
    ['an armored one behind a public key', `${armored}\n${key.armor()}`, /secret key/],
    ['an armored one that is cut off', key.armor().slice(0, 200), /secret key/],
    ['a secret subkey', block([...packetsOf(key), { tag: 7, body: subkey.body }]), /secret key/],
  ])
})

describe('armor', () => {
  const lines = (text: string): string => armored.replace('\n\n', `\n${text}\n\n`)
  refused([
    ['two keys', `${armored}${reader.armor(publicBytes(other))}`, /several keys/],
    [
      'two keys in one block',
      Buffer.concat([publicBytes(key), publicBytes(other)]),
      /several keys/,
    ],
    ['no end', armored.slice(0, -20), /cut off/],
    ['no empty line', armored.replace('\n\n', '\n'), /empty line|without a colon/],
    ['33 header lines', lines('A: b\n'.repeat(33).trim()), /32 header lines/],
    ['25,000 header lines', lines('A: b\n'.repeat(25_000).trim()), /32 header lines/],
    ['a header of 1,100 characters', lines(`A: ${'b'.repeat(1100)}`), /1024 characters/],
    ['a header without a colon', lines('Version 1'), /colon/],
    ['data that is not base64', armored.replace(/\n\n..../, '\n\n....'), /not base64/],
    ['blanks for plus signs', armored.replace(/(?<=\n\n....)./, ' '), /not base64/],
    ['something behind the checksum', armored.replace(/\n-----END/, '\nAAAA\n-----END'), /base64/],
    ['no data', armorOf(enums.armor.publicKey, Buffer.of()), /base64|no key/],
    ['garbage', armorOf(enums.armor.publicKey, Buffer.alloc(90_000, 'A')), /not an OpenPGP public/],
  ])
})

describe('packets', () => {
  const whole = publicBytes(key)
  const partial = Buffer.concat([Buffer.of(0xc0 | Tag.publicKey, 224 + 5), primary.body])
  const indeterminate = Buffer.concat([Buffer.of(0x80 | (Tag.publicKey << 2) | 3), primary.body])
  const huge = { tag: Tag.signature, body: Buffer.alloc(17_000, 4) }
  refused([
    ['a key that is cut off', whole.subarray(0, -1), /cut off/],
    ['a length alone', Buffer.of(0xc6), /without a length/],
    ['a length that is cut off', Buffer.of(0xc6, 0xff, 0, 0), /without a length/],
    ['a length of 4 GiB', Buffer.of(0xc6, 0xff, 0xff, 0xff, 0xff, 0xff, 4), /cut off/],
    ['a partial length', partial, /without a length/],
    ['an indeterminate length', indeterminate, /without a length/],
    ['a signature of 17,000 bytes', block([...packetsOf(key), huge]), /17000 bytes/],
    ['a key of 4,097 bytes', block([{ tag: Tag.publicKey, body: Buffer.alloc(4097, 4) }]), /4097/],
    ['a key without bytes', block([{ tag: Tag.publicKey, body: Buffer.of() }]), /version 0/],
    ['a key of a version alone', block([{ tag: Tag.publicKey, body: Buffer.of(4) }]), /not known/],
    [
      'a key with a byte behind it',
      block([keyPacket((body) => Buffer.concat([body, Buffer.of(0)])), userId, certification]),
      /as OpenPGP demands/,
    ],
    [
      'a key with a longer number',
      block([keyPacket(withByte(7 + 2 + (primary.body[6] ?? 0), 0xff)), userId, certification]),
      /not known|demands/,
    ],
  ])
})

describe('weak and unknown keys', () => {
  const e = Buffer.of(1, 0, 1)
  const oidAt = 7
  const secp256k1 = Buffer.of(5, 0x2b, 0x81, 0x04, 0x00, 0x0a)
  const brainpool = Buffer.from('092b2403030208010107', 'hex')
  const onCurve = (oid: Buffer): Buffer =>
    block([
      keyPacket((body) =>
        Buffer.concat([body.subarray(0, oidAt - 1), oid, body.subarray(oidAt + (body[6] ?? 0))]),
      ),
      userId,
      certification,
    ])
  refused([
    ...[2, 3, 5, 7].map(
      (version) =>
        [
          `version ${version}`,
          block([keyPacket(withByte(0, version)), userId, certification]),
          new RegExp(`version ${version};`),
        ] as const,
    ),
    ['DSA', block([keyPacket(withByte(5, 17)), userId]), /DSA keys are too weak/],
    ['Elgamal', block([keyPacket(withByte(5, 16)), userId]), /Elgamal/],
    ['Elgamal that signs', block([keyPacket(withByte(5, 20)), userId]), /Elgamal/],
    ['an algorithm that nobody knows', block([keyPacket(withByte(5, 99)), userId]), /not known/],
    ['ML-DSA, which is not known yet', block([keyPacket(withByte(5, 107)), userId]), /not known/],
    [
      'a key that only encrypts',
      block([{ ...subkey, tag: Tag.publicKey }, userId]),
      /only encrypt/,
    ],
    ['RSA 1024', block([rsaPacket(128, e), userId]), /RSA key of 1024 bits is too weak/],
    ['RSA 2047', block([rsaPacket(256, e, 0xff), userId].map(shorten)), /2047 bits is too weak/],
    ['RSA 16392', block([rsaPacket(2049, e), userId]), /16392 bits is too large/],
    ['RSA with an even modulus', block([rsaPacket(256, e, 0xfe), userId]), /not a sound RSA key/],
    ['RSA with 1 for its exponent', block([rsaPacket(256, Buffer.of(1)), userId]), /not a sound/],
    ['RSA with 4', block([rsaPacket(256, Buffer.of(4)), userId]), /not a sound/],
    ['RSA with 64 bits', block([rsaPacket(256, Buffer.alloc(8, 0xff)), userId]), /not a sound/],
    ['the curve secp256k1', onCurve(secp256k1), /curve secp256k1 are not accepted/],
    ['a Brainpool curve', onCurve(brainpool), /curve brainpoolP256r1 are not accepted/],
    ['a curve that nobody knows', onCurve(Buffer.of(3, 1, 2, 3)), /not known/],
    [
      'a key of tomorrow',
      makeKey({ date: new Date(Date.now() + 2 * 86_400_000) }).then(publicBytes),
      /in the future/,
    ],
  ])

  /** The modulus without its highest bit. */
  function shorten(packet: Packet): Packet {
    if (packet.tag !== Tag.publicKey) return packet
    const body = Buffer.from(packet.body)
    body.writeUInt16BE(2047, 6)
    body.writeUInt8(0x7f, 8)
    return { ...packet, body }
  }
})

describe('signatures of the key about itself', () => {
  const wrong = (packet: Packet, fromEnd: number): Packet => {
    const body = Buffer.from(packet.body)
    const at = body.length - fromEnd
    body.writeUInt8(body.readUInt8(at) ^ 1, at)
    return { ...packet, body }
  }
  const day = 86_400_000
  const rsaUserId = fiveOf(rsa)[1].body
  const dated = async (date: Date): Promise<Buffer> => {
    const signature = await sign(rsa, { type: 0x13, userId: rsaUserId, date })
    return block([fiveOf(rsa)[0], fiveOf(rsa)[1], signature])
  }
  const saying = async (say: Parameters<typeof sign>[1]['say']): Promise<Buffer> => {
    const signature = await sign(key, { type: 0x13, userId: userId.body, ...(say && { say }) })
    return block([primary, userId, signature])
  }
  const notation = { name: 'x@example.org', value: Buffer.of(1), humanReadable: false }
  const none = /No user ID of this key is signed by the key itself/
  refused([
    ['a key without user IDs', block([primary, subkey, binding]), none],
    ['a user ID without a signature', block([primary, userId]), none],
    ['one whose last byte is wrong', block([primary, userId, wrong(certification, 1)]), none],
    ['one with other words', block([primary, userId, wrong(certification, 190)]), none],
    ['one of another type', block([primary, userId, binding]), none],
    ['one of another user ID', block([primary, userIdPacket('Bob'), certification]), none],
    [
      'one below a photograph',
      block([primary, userId, { tag: 17, body: Buffer.of(1) }, certification]),
      none,
    ],
    [
      'one of another key',
      sign(other, { type: 0x13, userId: userId.body, about: key.keyPacket }).then((packet) =>
        block([primary, userId, packet]),
      ),
      none,
    ],
    ['one by SHA-1', signedBy(rsa, enums.hash.sha1), /SHA-1 or MD5.*sign them again/],
    ['one by MD5', signedBy(rsa, enums.hash.md5), /SHA-1 or MD5.*sign them again/],
    ['one by RIPEMD-160', signedBy(rsa, enums.hash.ripemd), /SHA-1 or MD5.*sign them again/],
    ['one older than the key', dated(new Date(Number(rsa.getCreationTime()) - day)), none],
    ['one of tomorrow', dated(new Date(Date.now() + 2 * day)), none],
    [
      'one with something critical that is not known',
      saying((packet) => {
        packet.rawNotations = [{ ...notation, critical: true }]
      }),
      none,
    ],
    [
      'one that is not for others',
      saying((packet) => {
        packet.exportable = false
      }),
      none,
    ],
    [
      'a user ID that is only revoked',
      sign(key, { type: 0x30, userId: userId.body }).then((packet) =>
        block([primary, userId, packet]),
      ),
      none,
    ],
  ])

  test('SHA-1 beside a good signature is dropped', async () => {
    const [first, text, good, ...rest] = fiveOf(rsa)
    const weak = await sign(rsa, { type: 0x13, userId: text.body, hash: enums.hash.sha1 })
    const { bytes } = await reader.read(block([first, text, weak, good, ...rest]))
    assert.ok(bytes.equals((await reader.read(publicBytes(rsa))).bytes))
  })
})

describe('user IDs', () => {
  refused([
    ['257 bytes', withUserId('x'.repeat(257)), /257 bytes; at most 256/],
    [
      '18,000 bytes, not signed',
      block([...packetsOf(key), userIdPacket('x'.repeat(18_000))]),
      /256/,
    ],
    ['one without text', withUserId('  '), /empty/],
    ['one that is not UTF-8', withUserId(Buffer.of(0x41, 0xff, 0x42)), /not UTF-8/],
    ['a line feed', withUserId('Alice\npub:1:2'), /U\+000A/],
    ['NUL', withUserId('Alice\0'), /U\+0000/],
    ['ESC', withUserId('\u001b[2JAlice'), /U\+001B/],
    ['a C1 control', withUserId('Alice\u009b2J'), /U\+009B/],
    ['a right-to-left override', withUserId('Alice \u202Egro.elpmaxe'), /U\+202E/],
    ['an isolate', withUserId('Alice \u2066'), /U\+2066/],
    ['a mark of direction', withUserId('Alice\u200f'), /U\+200F/],
    ['a blank without width', withUserId('Al\u200bice'), /U\+200B/],
    ['a byte order mark', withUserId('\ufeffAlice'), /U\+FEFF/],
    ['a line separator', withUserId('Alice\u2028Bob'), /U\+2028/],
    ['a tag', withUserId('Alice\u{E0041}'), /U\+E0041/],
    [
      '17 of them',
      Promise.all(Array.from({ length: 16 }, (_, i) => boundUserId(key, `Alice ${i}`))).then(
        (others) => block([...packetsOf(key), ...others.flat()]),
      ),
      /17 user IDs; at most 16/,
    ],
  ])
})

describe('size', () => {
  test('33 subkeys are refused, and 32 are not', async () => {
    const many = await makeKey({ subkeys: Array.from({ length: 33 }, () => ({})) })
    await assertRefused(publicBytes(many), /33 subkeys; at most 32/)
    const { keyIds } = await reader.read(block(packetsOf(many).slice(0, -2)))
    assert.equal(keyIds.length, 33)
  })

  test('more than 60 KiB of its own signatures is refused, unless they are revocations', async () => {
    const long = { name: 'x@example.org', humanReadable: true, critical: false }
    const large = async (second: number): Promise<Packet> =>
      await sign(key, {
        type: 0x13,
        userId: userId.body,
        say: (packet) => {
          packet.rawNotations = [{ ...long, value: Buffer.alloc(14_000, 'x') }]
        },
        date: new Date(Number(key.getCreationTime()) + second * 1000),
      })
    const signatures = await Promise.all([0, 1, 2, 3].map(large))
    const full = [primary, userId, ...signatures]
    assert.ok((await reader.read(block(full))).bytes.length > 56_000)
    const more = await large(4)
    await assertRefused(block([...full, more]), /60 KiB/)
    const revocation = await sign(key, { type: 0x20 })
    const { revoked, bytes } = await reader.read(block([...full, revocation]))
    assert.equal(revoked, true)
    assert.ok(bytes.length <= 65_536)
  })
})
