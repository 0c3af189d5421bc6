/**
 * Signs images as `apptainer sign` does, and wrongly where a test wants that. What is covered by a
 * signature is written down here a second time, from sylabs/sif pkg/integrity and not from
 * server/sif, so that a wrong field there fails a test.
 */
import { createHash } from 'node:crypto'

import { createCleartextMessage, enums, generateKey, sign } from 'openpgp'
import type { PartialConfig, PrivateKey, PublicKey } from 'openpgp'

import type { FindKey } from '../../server/keystore/clear-signed.ts'

export interface TestKey {
  readonly privateKey: PrivateKey
  readonly publicKey: PublicKey
  /** Of the primary key, 40 upper-case hex digits. */
  readonly fingerprint: string
}

export interface KeyOptions {
  /** By default Curve25519 (EdDSA); RSA has 2048 bits. */
  readonly type?: 'ecc' | 'rsa'
  /** Of its own signatures too. */
  readonly hash?: 'sha1' | 'sha256' | 'sha512'
  readonly createdAt?: Date
  readonly lifetimeSeconds?: number
  /** The primary key only certifies; a subkey signs. */
  readonly signingSubkey?: boolean
}

export async function makeKey(name: string, options: KeyOptions = {}): Promise<TestKey> {
  const type = options.type ?? 'ecc'
  const { privateKey, publicKey } = await generateKey({
    ...(type === 'rsa' ? { type, rsaBits: 2048 } : { type, curve: 'ed25519Legacy' }),
    userIDs: [{ name, email: `${name}@example.org` }],
    format: 'object',
    date: options.createdAt ?? anHourAgo(),
    ...(options.lifetimeSeconds === undefined
      ? {}
      : { keyExpirationTime: options.lifetimeSeconds }),
    ...(options.signingSubkey === true ? { subkeys: [{ sign: true }] } : {}),
    config: hashConfig(options.hash ?? 'sha512'),
  })
  return { privateKey, publicKey, fingerprint: publicKey.getFingerprint().toUpperCase() }
}

/** A keystore of these keys, which finds them by everything that a signature can name. */
export function keystoreOf(...keys: readonly PublicKey[]): FindKey {
  const found = new Map<string, Uint8Array>()
  for (const key of keys) {
    for (const part of key.getKeys()) {
      found.set(part.getFingerprint().toUpperCase(), key.write())
      found.set(part.getKeyID().toHex().toUpperCase(), key.write())
    }
  }
  return (name) => Promise.resolve(found.get(name))
}

export interface SigningOptions {
  /** Default 1. */
  readonly group?: number
  /** Only these objects of the group; default all. */
  readonly ids?: readonly number[]
  /** In the statement, as statements call it; default sha256. */
  readonly digest?: 'sha1' | 'sha224' | 'sha256' | 'sha384' | 'sha512' | 'sha512_224' | 'sha512_256'
  /** Of the OpenPGP signature; the key's preferences must have it. Default sha256. */
  readonly hash?: 'sha1' | 'sha256' | 'sha512'
  readonly at?: Date
  /** Changes the statement before it is signed. */
  readonly rewrite?: (statement: string) => string
}

/** The content of a signature object: a clear-signed statement about the image. */
export async function signature(
  image: Buffer,
  key: TestKey,
  options: SigningOptions = {},
): Promise<string> {
  const statement = JSON.stringify(statementOf(image, options))
  return await sign({
    message: await createCleartextMessage({ text: options.rewrite?.(statement) ?? statement }),
    signingKeys: key.privateKey,
    date: options.at ?? new Date(Date.now() - 60_000),
    config: hashConfig(options.hash ?? 'sha256'),
  })
}

/** The image with a signature object more. */
export async function signSif(
  image: Buffer,
  key: TestKey,
  options: SigningOptions = {},
): Promise<Buffer> {
  return addSignature(image, await signature(image, key, options), {
    fingerprint: key.fingerprint,
    group: options.group ?? 1,
  })
}

export interface SignatureFields {
  /** 40 hex digits; empty for none. */
  readonly fingerprint?: string
  /** The group that it is linked to; default 1. */
  readonly group?: number
  /** The whole link field, instead of a group. */
  readonly link?: number
  /** Default 1, SHA-256. */
  readonly hashType?: number
}

export function addSignature(
  image: Buffer,
  content: Buffer | string,
  fields: SignatureFields = {},
): Buffer {
  const extra = Buffer.alloc(24)
  extra.writeInt32LE(fields.hashType ?? 1, 0)
  extra.write(fields.fingerprint ?? '', 4, 'hex')
  const link = fields.link ?? GROUP + (fields.group ?? 1)
  return addObject(image, { dataType: 0x4005, content, extra, group: 0, link })
}

interface AddedObject {
  readonly dataType: number
  readonly content: Buffer | string
  readonly group: number
  readonly extra?: Buffer
  readonly link?: number
}

/** The image with an object more at its end, in the first free slot. */
export function addObject(image: Buffer, object: AddedObject): Buffer {
  const content = Buffer.from(object.content)
  const added = Buffer.concat([image, content])
  const index = usedSlots(image).length
  const slot = slotAt(added, index)
  slot.writeInt32LE(object.dataType, 0)
  slot.writeUInt8(1, 4)
  slot.writeUInt32LE(index + 1, 5)
  slot.writeUInt32LE(GROUP + object.group, 9)
  slot.writeUInt32LE(object.link ?? 0, 13)
  slot.writeBigInt64LE(BigInt(image.length), 17)
  slot.writeBigInt64LE(BigInt(content.length), 25)
  slot.writeBigInt64LE(BigInt(content.length), 33)
  object.extra?.copy(slot, 201)
  added.writeBigInt64LE(added.readBigInt64LE(FREE) - 1n, FREE)
  added.writeBigInt64LE(added.readBigInt64LE(DATA_BYTES) + BigInt(content.length), DATA_BYTES)
  return added
}

/** The slot of an object, to change it in place; 0 is the first. */
export function slotAt(image: Buffer, index: number): Buffer {
  const table = Number(image.readBigInt64LE(96))
  return image.subarray(table + index * 585, table + (index + 1) * 585)
}

/** What Singularity before 3.6 signed: the digest of an object's content alone. */
export async function legacySignature(key: TestKey, digest: string): Promise<string> {
  return await sign({
    message: await createCleartextMessage({ text: `SIFHASH:\n${digest}` }),
    signingKeys: key.privateKey,
  })
}

/** The bytes of header and descriptors that signatures cover, and the contents, by group. */
export function protectedParts(image: Buffer, group: number): readonly Buffer[] {
  const members = membersOf(image, group)
  const lowest = Math.min(...members.map(idOf))
  const parts = members.flatMap((slot) => [descriptorBytes(slot, lowest), contentOf(image, slot)])
  return [headerBytes(image), ...parts]
}

const GROUP = 0xf000_0000
const [FREE, DATA_BYTES] = [80, 120]

function statementOf(image: Buffer, options: SigningOptions): object {
  const name = options.digest ?? 'sha256'
  const digest = (bytes: Buffer): string =>
    `${name}:${createHash(name.replace('_', '-')).update(bytes).digest('hex')}`
  const members = membersOf(image, options.group ?? 1)
  const lowest = Math.min(...members.map(idOf))
  return {
    version: 1,
    header: { digest: digest(headerBytes(image)) },
    objects: members
      .filter((slot) => options.ids?.includes(idOf(slot)) ?? true)
      .map((slot) => ({
        relativeId: idOf(slot) - lowest,
        descriptorDigest: digest(descriptorBytes(slot, lowest)),
        objectDigest: digest(contentOf(image, slot)),
      })),
  }
}

function headerBytes(image: Buffer): Buffer {
  // Launch script, magic and version; not the architecture; the ID.
  return Buffer.concat([image.subarray(0, 45), image.subarray(48, 64)])
}

/** Type, used, relative ID, link, size, creation time, user, group, name, extra. */
function descriptorBytes(slot: Buffer, lowestId: number): Buffer {
  const relativeId = Buffer.alloc(4)
  relativeId.writeInt32LE(idOf(slot) - lowestId)
  return Buffer.concat([
    slot.subarray(0, 4),
    Buffer.from([1]),
    relativeId,
    slot.subarray(13, 17),
    slot.subarray(25, 33),
    slot.subarray(41, 49),
    slot.subarray(57, 585),
  ])
}

function contentOf(image: Buffer, slot: Buffer): Buffer {
  const offset = Number(slot.readBigInt64LE(17))
  return image.subarray(offset, offset + Number(slot.readBigInt64LE(25)))
}

function membersOf(image: Buffer, group: number): readonly Buffer[] {
  return usedSlots(image).filter((slot) => (slot.readUInt32LE(9) & 0x0fff_ffff) === group)
}

function usedSlots(image: Buffer): readonly Buffer[] {
  const total = Number(image.readBigInt64LE(88))
  const slots = Array.from({ length: total }, (_, index) => slotAt(image, index))
  return slots.filter((slot) => slot.readUInt8(4) !== 0)
}

function idOf(slot: Buffer): number {
  return slot.readUInt32LE(5)
}

/** The salt, which OpenPGP.js adds otherwise, it does not know how to make for SHA-1. */
function hashConfig(hash: 'sha1' | 'sha256' | 'sha512'): PartialConfig {
  return {
    preferredHashAlgorithm: enums.hash[hash],
    nonDeterministicSignaturesViaNotation: hash !== 'sha1',
  }
}

function anHourAgo(): Date {
  return new Date(Date.now() - 3_600_000)
}
