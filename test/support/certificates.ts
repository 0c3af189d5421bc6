/** OpenPGP certificates for tests: made by the library, and by splicing packets as nobody would. */
import assert from 'node:assert/strict'

import { config, enums, generateKey, SignaturePacket } from 'openpgp'
import type { KeyOptions, PrivateKey } from 'openpgp'

import { readPackets, Tag, writePackets } from '../../server/keystore/packets.ts'
import type { Packet } from '../../server/keystore/packets.ts'

export const alice = { name: 'Alice', comment: 'work', email: 'Alice@Example.org' }
export const aliceText = 'Alice (work) <Alice@Example.org>'

/** Ed25519 of version 4, unless the options say something else. */
export async function makeKey(options: Partial<KeyOptions> = {}): Promise<PrivateKey> {
  const { privateKey } = await generateKey({
    type: 'curve25519',
    userIDs: [alice],
    ...options,
    format: 'object' as const,
  })
  return privateKey
}

export function publicBytes(key: PrivateKey): Buffer {
  return Buffer.from(key.toPublic().write())
}

/** The packets of the public key: the key, a user ID with its signature, a subkey with its own. */
export function packetsOf(key: PrivateKey): Packet[] {
  return readPackets(publicBytes(key))
}

/** The key, its first user ID with its signature, its first subkey with its own. */
export function fiveOf(key: PrivateKey): [Packet, Packet, Packet, Packet, Packet] {
  const [primary, userId, certification, subkey, binding] = packetsOf(key)
  assert.ok(primary && userId && certification && subkey && binding)
  return [primary, userId, certification, subkey, binding]
}

export function tagsOf(bytes: Buffer): number[] {
  return readPackets(bytes).map(({ tag }) => tag)
}

export const block = writePackets

export interface Signing {
  readonly type: number
  /** Of the user ID that is signed. */
  readonly userId?: Uint8Array
  /** Of the subkey that is signed. */
  readonly subkey?: object
  /** Of the key that is signed; by default the one that signs. */
  readonly about?: object
  readonly date?: Date
  readonly hash?: number
  /** Sets what the signature says. */
  readonly say?: (packet: SignaturePacket) => void
}

interface Signs {
  sign(key: object, data: object, date: Date, detached: boolean, settings: object): Promise<void>
}

/** A signature packet, made by the key itself or by one of its subkeys. */
export async function sign(
  key: PrivateKey | PrivateKey['subkeys'][number],
  { type, userId, subkey, about, date, hash, say }: Signing,
): Promise<Packet> {
  const packet = new SignaturePacket()
  packet.signatureType = type
  packet.publicKeyAlgorithm = key.keyPacket.algorithm
  packet.hashAlgorithm = hash ?? enums.hash.sha256
  say?.(packet)
  const data = {
    key: about ?? key.keyPacket,
    ...(userId === undefined ? {} : { userID: { write: () => userId } }),
    ...(subkey === undefined ? {} : { bind: subkey }),
  }
  const settings = { ...config, nonDeterministicSignaturesViaNotation: false }
  await (packet as Signs).sign(key.keyPacket, data, date ?? new Date(), false, settings)
  return { tag: Tag.signature, body: packet.write() }
}

export function userIdPacket(text: string | Uint8Array): Packet {
  return { tag: Tag.userId, body: Buffer.from(text as string) }
}

/** A user ID with the key's own signature. */
export async function boundUserId(
  key: PrivateKey,
  text: string | Uint8Array,
  signing: Partial<Signing> = {},
): Promise<[Packet, Packet]> {
  const userId = userIdPacket(text)
  const say = (packet: SignaturePacket): void => {
    packet.keyFlags = Uint8Array.of(3)
  }
  const signature = await sign(key, { type: 0x13, userId: userId.body, say, ...signing })
  return [userId, signature]
}

/** A signature packet with subpackets added to the part that is not signed (version 4). */
export function withUnhashed(packet: Packet, ...subpackets: readonly Uint8Array[]): Packet {
  const body = Buffer.from(packet.body)
  const at = 6 + body.readUInt16BE(4)
  const added = Buffer.concat(subpackets.flatMap((each) => [Uint8Array.of(each.length), each]))
  const count = Buffer.alloc(2)
  count.writeUInt16BE(body.readUInt16BE(at) + added.length)
  const before = body.subarray(0, at)
  return { tag: packet.tag, body: Buffer.concat([before, count, added, body.subarray(at + 2)]) }
}

/**
 * Two blocks of one key with as many signatures as fit, whose words are right and whose numbers are
 * not: each must be verified, and Ed448 takes milliseconds for one.
 */
export async function makeCostly(options: Partial<KeyOptions> = {}): Promise<[Buffer, Buffer]> {
  const [primary, userId, own] = fiveOf(await makeKey({ type: 'curve448', ...options }))
  const count = Math.floor(130_000 / (own.body.length + 3))
  const bad = Array.from({ length: 2 * count }, (_, i) => {
    const body = Buffer.from(own.body)
    body.writeUInt16BE(i, body.length - 100)
    return { tag: Tag.signature, body }
  })
  const halves = [bad.slice(0, count), bad.slice(count)] as const
  return [block([primary, userId, ...halves[0], own]), block([primary, userId, ...halves[1], own])]
}
