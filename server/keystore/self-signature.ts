/**
 * Signatures that a key has made about itself. What is not in the signed (hashed) part of a
 * signature can be changed by anybody on its way: it is thrown away and made anew, so that a
 * signature has one form only. What a signature says is read from the signed part alone.
 */
import { SignaturePacket } from 'openpgp'

import { numberAt, readSubpackets, writeSubpackets } from './packets.ts'
import type { Subpacket } from './packets.ts'
import { canSign } from './public-key.ts'
import type { PublicKey } from './public-key.ts'

/** Signature types (RFC 9580, 5.2.1) by which a key speaks about itself. */
export const SignatureType = {
  certification: [0x10, 0x11, 0x12, 0x13],
  subkeyBinding: 0x18,
  primaryKeyBinding: 0x19,
  directKey: 0x1f,
  keyRevocation: 0x20,
  subkeyRevocation: 0x28,
  certificationRevocation: 0x30,
} as const

export interface SelfSignature {
  readonly type: number
  readonly isRevocation: boolean
  /** The whole packet in its one form. */
  readonly body: Buffer
  /** What was signed of it: two signatures with the same words say the same. */
  readonly words: string
  readonly createdAt: Date
  readonly expiresAt: Date | undefined
  /** Seconds from the key's creation; undefined where the key does not expire by this signature. */
  readonly keyLifetimeSeconds: number | undefined
  readonly isPrimaryUserId: boolean
  /** For a subkey: whether the subkey has signed too that it belongs to the key. */
  readonly isMutual: boolean
}

/** What a signature is about, besides the key itself. */
export type Subject =
  | { readonly kind: 'key' }
  | { readonly kind: 'user-id'; readonly body: Uint8Array }
  | { readonly kind: 'subkey'; readonly subkey: PublicKey }

const Sub = {
  createdAt: 2,
  expiresIn: 3,
  keyLifetime: 9,
  issuerKeyId: 16,
  embeddedSignature: 32,
  issuerFingerprint: 33,
} as const
const fourOctets: readonly number[] = [Sub.createdAt, Sub.expiresIn, Sub.keyLifetime]

/** Hashes (RFC 9580, 9.5) for which nobody can make two texts with one value: SHA-2 and SHA-3. */
const soundHashes: ReadonlySet<number> = new Set([8, 9, 10, 11, 12, 14])
const sha1 = 2

/** Bits of the first octet of key flags (RFC 9580, 5.2.3.29). */
const [mayCertify, maySign] = [0x01, 0x02]

const oneDayMs = 24 * 3600 * 1000

/** A signature packet taken apart, nothing verified. */
export interface UnverifiedSignature {
  readonly version: 4 | 6
  readonly type: number
  readonly hash: number
  /** From the version to the end of the hashed subpackets. */
  readonly words: Uint8Array
  readonly hashed: readonly Subpacket[]
  readonly unhashed: readonly Subpacket[]
  /** What follows the subpackets: two octets of the digest, the salt (version 6), the signature. */
  readonly rest: Uint8Array
}

/** Undefined for versions that are not known, and for what is no signature at all. */
export function openSignature(body: Uint8Array): UnverifiedSignature | undefined {
  const [version, type = 0, , hash = 0] = body
  if (version !== 4 && version !== 6) return undefined
  const countOctets = version === 6 ? 4 : 2
  const hashedStart = 4 + countOctets
  const hashedEnd = hashedStart + (numberAt(body, 4, countOctets) ?? body.length)
  const unhashedStart = hashedEnd + countOctets
  const unhashedEnd = unhashedStart + (numberAt(body, hashedEnd, countOctets) ?? body.length)
  if (unhashedEnd > body.length) return undefined
  const hashed = readSubpackets(body.subarray(hashedStart, hashedEnd))
  const unhashed = readSubpackets(body.subarray(unhashedStart, unhashedEnd))
  if (hashed === undefined || unhashed === undefined) return undefined
  const isSound = hashed.every(({ type, body }) => !fourOctets.includes(type) || body.length === 4)
  if (!isSound) return undefined
  const words = body.subarray(0, hashedEnd)
  return { version, type, hash, words, hashed, unhashed, rest: body.subarray(unhashedEnd) }
}

/** Whether it says that this key has made it, or does not say who has. A hint, not a proof. */
export function claimsIssuer(signature: UnverifiedSignature, key: PublicKey): boolean {
  const claims = [...signature.hashed, ...signature.unhashed].flatMap(({ type, body }) => {
    const hex = Buffer.from(body).toString('hex').toUpperCase()
    if (type === Sub.issuerKeyId) return [hex === key.keyId]
    // Its first octet is the key's version.
    if (type === Sub.issuerFingerprint) return [hex.slice(2) === key.fingerprint]
    return []
  })
  return claims.length === 0 || claims.includes(true)
}

export function hasSoundHash(signature: UnverifiedSignature): boolean {
  return soundHashes.has(signature.hash)
}

/** The signature as one of the key itself; undefined where it is not, or says nothing valid. */
export async function verifySelfSignature(
  signature: UnverifiedSignature,
  key: PublicKey,
  subject: Subject,
): Promise<SelfSignature | undefined> {
  const { type } = signature
  const isRevocation = isRevocationType(type)
  // A revocation by SHA-1 still counts: to be wrong there is to be careful.
  const isHashAccepted = hasSoundHash(signature) || (isRevocation && signature.hash === sha1)
  if (signature.version !== key.version || !isHashAccepted) return undefined
  const counterpart =
    subject.kind === 'subkey' && type === SignatureType.subkeyBinding
      ? await verifyCounterpart(signature, key, subject.subkey)
      : undefined
  const written = write(signature, key, counterpart?.unhashed)
  const verified = await verify(written, key, dataOf(key, subject), isRevocation)
  if (verified === undefined) return undefined
  const { packet, createdAt, body } = verified
  if (packet.exportable === false) return undefined
  if (!isRevocation && !isTimely(createdAt, key)) return undefined
  if (subject.kind === 'subkey' && type === SignatureType.subkeyBinding) {
    // Otherwise anybody could take in the signing key of somebody else, and stand for his images.
    const needsCounterpart = canSign(subject.subkey) && isForSigning(packet)
    if (needsCounterpart && counterpart === undefined) return undefined
  }
  const lifetime = packet.keyExpirationTime ?? 0
  const expiry = packet.getExpirationTime()
  return {
    type,
    isRevocation,
    body,
    words: Buffer.from(signature.words).toString('base64'),
    createdAt,
    expiresAt: expiry instanceof Date ? expiry : undefined,
    keyLifetimeSeconds: lifetime === 0 ? undefined : lifetime,
    isPrimaryUserId: packet.isPrimaryUserID ?? false,
    isMutual: counterpart !== undefined,
  }
}

function isRevocationType(type: number): boolean {
  return (
    type === SignatureType.keyRevocation ||
    type === SignatureType.subkeyRevocation ||
    type === SignatureType.certificationRevocation
  )
}

/** Not older than the key, and not of a clock that is wrong by more than a day. */
function isTimely(createdAt: Date, key: PublicKey): boolean {
  return createdAt >= key.createdAt && Number(createdAt) <= Date.now() + oneDayMs
}

function isForSigning({ keyFlags }: SignaturePacket): boolean {
  return keyFlags === null || ((keyFlags[0] ?? 0) & (mayCertify | maySign)) !== 0
}

/** What the library hashes for a signature about this subject. */
function dataOf(key: PublicKey, subject: Subject): object {
  if (subject.kind === 'subkey') return { key: key.packet, bind: subject.subkey.packet }
  // The library's own packet would decode and encode the text; signed are the bytes as they are.
  if (subject.kind === 'user-id') return { key: key.packet, userID: { write: () => subject.body } }
  return { key: key.packet }
}

/**
 * The signature by which the subkey agrees. GnuPG has it in the unhashed part, which does no harm:
 * it is a signature itself. `unhashed` is its form where it has to be written there.
 */
async function verifyCounterpart(
  binding: UnverifiedSignature,
  key: PublicKey,
  subkey: PublicKey,
): Promise<{ readonly unhashed: Buffer | undefined } | undefined> {
  const inHashed = await counterparts(binding.hashed, key, subkey)
  if (inHashed.length > 0) return { unhashed: undefined }
  const inUnhashed = await counterparts(binding.unhashed, key, subkey)
  const [first] = inUnhashed.sort((one, other) => Buffer.compare(one, other))
  return first === undefined ? undefined : { unhashed: first }
}

async function counterparts(
  subpackets: readonly Subpacket[],
  key: PublicKey,
  subkey: PublicKey,
): Promise<Buffer[]> {
  const found: Buffer[] = []
  for (const { type, body } of subpackets) {
    const signature = type === Sub.embeddedSignature ? openSignature(body) : undefined
    if (signature?.type !== SignatureType.primaryKeyBinding || !hasSoundHash(signature)) continue
    if (signature.version !== key.version) continue
    const data = { key: key.packet, bind: subkey.packet }
    const verified = await verify(write(signature, subkey, undefined), subkey, data, false)
    if (verified !== undefined) found.push(verified.body)
  }
  return found
}

/** The packet with an unhashed part that holds only what readers need and can be made again. */
function write(
  { version, words, hashed, rest }: UnverifiedSignature,
  issuer: PublicKey,
  counterpart: Buffer | undefined,
): Buffer {
  const unhashed: Subpacket[] = []
  const names = version === 4 ? Sub.issuerKeyId : Sub.issuerFingerprint
  if (!hashed.some(({ type }) => type === names)) {
    const keyId = Buffer.from(issuer.keyId, 'hex')
    const fingerprint = Buffer.from(`06${issuer.fingerprint}`, 'hex')
    unhashed.push({ type: names, body: version === 4 ? keyId : fingerprint })
  }
  if (counterpart !== undefined) unhashed.push({ type: Sub.embeddedSignature, body: counterpart })
  const area = writeSubpackets(unhashed)
  const count = Buffer.alloc(version === 6 ? 4 : 2)
  count.writeUIntBE(area.length, 0, count.length)
  return Buffer.concat([words, count, area, rest])
}

interface Verified {
  readonly packet: SignaturePacket
  readonly createdAt: Date
  /** As the library writes it, without leading zeros in its numbers, which verify too. */
  readonly body: Buffer
}

/** The library's view of a signature that is valid, whenever it was made. */
async function verify(
  body: Uint8Array,
  issuer: PublicKey,
  data: object,
  isRevocation: boolean,
): Promise<Verified | undefined> {
  const packet = new SignaturePacket()
  try {
    packet.read(body)
    // The library refuses keys that name somebody who may revoke them. That somebody's signatures
    // are dropped here like those of all others.
    packet.revocationKeyClass = null
    if (isRevocation) {
      // Something critical that is not understood makes a signature void, but not a revocation.
      packet.unknownSubpackets = []
      packet.rawNotations = []
    }
    const { signatureType, created: createdAt } = packet
    if (signatureType === null || createdAt === null) return undefined
    // As of its own making: whether it has expired since is a fact, and no reason to lose it.
    await packet.verify(issuer.packet, signatureType, data, createdAt, true)
    return { packet, createdAt, body: Buffer.from(packet.write()) }
  } catch {
    // The library throws for everything that is wrong with a signature.
    return undefined
  }
}
