/**
 * From the bytes that somebody sent to the certificate that is stored (RFC 9580, 10.1): only what
 * the key itself has signed, verified, each once, in one order. It is a set: whatever the order in
 * which it came and was merged, the same signatures give the same bytes.
 *
 * This runs on a thread of its own (certificate-reader.ts): what it costs is in the sender's hands.
 */
import { invalid } from '../failure.ts'
import { unarmor } from './armor.ts'
import type { Certificate, UserId } from './certificate.ts'
import { gatherKeyParts } from './key-parts.ts'
import type { KeyPart, KeyParts } from './key-parts.ts'
import { Tag, writePackets } from './packets.ts'
import type { Packet } from './packets.ts'
import { canSign, readPrimaryKey, readSubkey } from './public-key.ts'
import type { PublicKey } from './public-key.ts'
import { claimsIssuer, hasSoundHash, SignatureType, verifySelfSignature } from './self-signature.ts'
import type { SelfSignature, Subject, UnverifiedSignature } from './self-signature.ts'
import { emailOf, readUserIdText } from './user-id-text.ts'

const maxUserIds = 16
const maxSubkeys = 32
const maxBytes = 65_536
/** Kept free, so that there is always room for the news that a key is revoked. */
const revocationBytes = 4096
const oneDayMs = 24 * 3600 * 1000

/** A certificate as it goes between threads, where a Buffer does not stay one. */
export type CertificateMessage = Omit<Certificate, 'bytes'> & { readonly bytes: Uint8Array }

interface ReadUserId extends UserId {
  readonly body: Uint8Array
  readonly signatures: readonly SelfSignature[]
  /** The newest signature that binds it; undefined where only its revocation is known. */
  readonly current: SelfSignature | undefined
}

interface ReadSubkey {
  readonly key: PublicKey
  readonly signatures: readonly SelfSignature[]
}

/** Reads one armored or binary public key block. Failure `invalid` says what is wrong with it. */
export async function readCertificate(block: string | Uint8Array): Promise<CertificateMessage> {
  return await certificateOf(gatherKeyParts([bytesOf(block)]))
}

/** All that either block has. They are blocks of one key. */
export async function mergeCertificates(
  stored: Uint8Array,
  incoming: Uint8Array,
): Promise<CertificateMessage> {
  return await certificateOf(gatherKeyParts([stored, incoming]))
}

function bytesOf(block: string | Uint8Array): Uint8Array {
  if (typeof block === 'string') return unarmor(block)
  // The first octet of a packet has its highest bit set, and no character of armor has.
  const isText = block.length > 0 && ((block[0] ?? 0) & 0x80) === 0
  return isText ? unarmor(Buffer.from(block).toString('latin1')) : block
}

async function certificateOf(parts: KeyParts): Promise<CertificateMessage> {
  const key = await readPrimaryKey(parts.body)
  if (Number(key.createdAt) > Date.now() + oneDayMs) {
    throw invalid(
      'key',
      'The key says that it was made in the future: set the clock, make it anew.',
    )
  }
  const about: Subject = { kind: 'key' }
  const signatures = await verifyAll(parts.signatures, key, about, [
    SignatureType.directKey,
    SignatureType.keyRevocation,
  ])
  const userIds = await readUserIds(parts, key)
  const subkeys = await readSubkeys(parts, key)
  const bytes = write(key, signatures, userIds, subkeys)
  requireRoom(bytes, signatures)
  const listed = subkeys.filter(isFoundByItsId).map((subkey) => subkey.key)
  const { fingerprint, version, algorithm, bits, createdAt } = key
  return {
    fingerprint,
    version,
    algorithm,
    bits,
    createdAt,
    expiresAt: expiryOf(key, signatures, userIds),
    revoked: signatures.some(({ isRevocation }) => isRevocation),
    keyFingerprints: [key, ...listed].map((each) => each.fingerprint),
    keyIds: [key, ...listed].map(({ keyId }) => keyId),
    userIds: userIds.map(({ text, email, createdAt, expiresAt, revoked }) => ({
      text,
      email,
      createdAt,
      expiresAt,
      revoked,
    })),
    // Without the rest of the memory that small Buffers share.
    bytes: new Uint8Array(bytes),
  }
}

/** The valid ones of these types, each once, in their order. */
async function verifyAll(
  signatures: readonly UnverifiedSignature[],
  key: PublicKey,
  subject: Subject,
  types: readonly number[],
): Promise<SelfSignature[]> {
  const byWords = new Map<string, SelfSignature>()
  const own = signatures.filter(
    (signature) => types.includes(signature.type) && claimsIssuer(signature, key),
  )
  for (const signature of once(own)) {
    const found = await verifySelfSignature(signature, key, subject)
    if (found === undefined) continue
    // The same words signed twice, which some algorithms do in another way each time: one is enough.
    const other = byWords.get(found.words)
    if (other === undefined || isPreferred(found, other)) byWords.set(found.words, found)
  }
  return [...byWords.values()].sort(inOrder)
}

/** Without copies: verifying is what costs. */
function once(signatures: readonly UnverifiedSignature[]): UnverifiedSignature[] {
  const byBytes = new Map<string, UnverifiedSignature>()
  for (const signature of signatures) {
    const { type, words, rest, unhashed } = signature
    // What is not signed is made anew, except for a subkey's consent.
    const consent = type === SignatureType.subkeyBinding ? unhashed.map(({ body }) => body) : []
    byBytes.set(Buffer.concat([words, rest, ...consent]).toString('base64'), signature)
  }
  return [...byBytes.values()]
}

function isPreferred(one: SelfSignature, other: SelfSignature): boolean {
  if (one.isMutual !== other.isMutual) return one.isMutual
  return Buffer.compare(one.body, other.body) < 0
}

/** Revocations, then the newest first: readers that look at one signature only see the one that counts. */
function inOrder(one: SelfSignature, other: SelfSignature): number {
  return (
    Number(other.isRevocation) - Number(one.isRevocation) ||
    Number(other.createdAt) - Number(one.createdAt) ||
    Buffer.compare(one.body, other.body)
  )
}

async function readUserIds(parts: KeyParts, key: PublicKey): Promise<ReadUserId[]> {
  const found: ReadUserId[] = []
  for (const part of parts.userIds.values()) {
    const userId = await readUserId(part, key)
    if (userId !== undefined) found.push(userId)
  }
  if (!found.some(({ current }) => current !== undefined)) throw noUserId(parts, key)
  if (found.length > maxUserIds) {
    throw invalid(
      'key',
      `This key has ${found.length} user IDs; at most ${maxUserIds} are accepted.`,
    )
  }
  return found.sort(byImportance)
}

async function readUserId(
  { body, signatures }: KeyPart,
  key: PublicKey,
): Promise<ReadUserId | undefined> {
  const types = [...SignatureType.certification, SignatureType.certificationRevocation]
  const valid = await verifyAll(signatures, key, { kind: 'user-id', body }, types)
  const [newest] = valid
  if (newest === undefined) return undefined
  const text = readUserIdText(body)
  const current = valid.find(({ isRevocation }) => !isRevocation)
  const revocation = newest.isRevocation ? newest : undefined
  return {
    text,
    email: emailOf(text),
    createdAt: (current ?? newest).createdAt,
    expiresAt: current?.expiresAt,
    // Signed again after its revocation, a user ID is back.
    revoked: current === undefined || (revocation?.createdAt ?? 0) >= current.createdAt,
    body,
    signatures: valid,
    current,
  }
}

function noUserId(parts: KeyParts, key: PublicKey): Error {
  const own = [...parts.userIds.values()]
    .flatMap(({ signatures }) => signatures)
    .filter((signature) => claimsIssuer(signature, key))
  if (own.length > 0 && !own.some(hasSoundHash)) {
    return invalid(
      'key',
      'The user IDs of this key are signed by SHA-1 or MD5, which can be forged: sign them again, for example with gpg --quick-set-expire, or make a new key.',
    )
  }
  return invalid(
    'key',
    'No user ID of this key is signed by the key itself: export it whole, with its user IDs.',
  )
}

/** The one that readers take for the owner's first; then by date and text. */
function byImportance(one: ReadUserId, other: ReadUserId): number {
  const isPrimary = ({ current }: ReadUserId): boolean => current?.isPrimaryUserId === true
  return (
    Number(one.revoked) - Number(other.revoked) ||
    Number(isPrimary(other)) - Number(isPrimary(one)) ||
    Number(other.createdAt) - Number(one.createdAt) ||
    Buffer.compare(one.body, other.body)
  )
}

async function readSubkeys(parts: KeyParts, primary: PublicKey): Promise<ReadSubkey[]> {
  const found: ReadSubkey[] = []
  const types = [SignatureType.subkeyBinding, SignatureType.subkeyRevocation]
  for (const part of parts.subkeys.values()) {
    const key = await readSubkey(part.body)
    if (key === undefined || key.fingerprint === primary.fingerprint) continue
    if (key.version !== primary.version) continue
    const subject: Subject = { kind: 'subkey', subkey: key }
    const signatures = await verifyAll(part.signatures, primary, subject, types)
    if (signatures.length > 0) found.push({ key, signatures })
  }
  if (found.length > maxSubkeys) {
    throw invalid(
      'key',
      `This key has ${found.length} subkeys; at most ${maxSubkeys} are accepted.`,
    )
  }
  return found.sort(
    (one, other) =>
      Number(one.key.createdAt) - Number(other.key.createdAt) ||
      Buffer.compare(one.key.body, other.key.body),
  )
}

/**
 * Whether a search for the subkey's ID finds this certificate. Where the subkey could sign but has
 * not said that it belongs here, it may be somebody else's, whose images would then be searched by
 * an ID that two certificates have.
 */
function isFoundByItsId({ key, signatures }: ReadSubkey): boolean {
  return !canSign(key) || signatures.some(({ isMutual }) => isMutual)
}

/**
 * The key itself and its first user ID both say when it ends; readers differ in whom they follow,
 * so the earlier counts.
 */
function expiryOf(
  key: PublicKey,
  signatures: readonly SelfSignature[],
  userIds: readonly ReadUserId[],
): Date | undefined {
  const direct = signatures.find(({ isRevocation }) => !isRevocation)
  const first = userIds.find(({ current }) => current !== undefined)?.current
  const lifetimes = [direct, first].flatMap((signature) => signature?.keyLifetimeSeconds ?? [])
  if (lifetimes.length === 0) return undefined
  return new Date(Number(key.createdAt) + Math.min(...lifetimes) * 1000)
}

function write(
  key: PublicKey,
  signatures: readonly SelfSignature[],
  userIds: readonly ReadUserId[],
  subkeys: readonly ReadSubkey[],
): Buffer {
  return writePackets([
    { tag: Tag.publicKey, body: key.body },
    ...signaturePackets(signatures),
    ...userIds.flatMap((userId) => [
      { tag: Tag.userId, body: userId.body },
      ...signaturePackets(userId.signatures),
    ]),
    ...subkeys.flatMap((subkey) => [
      { tag: Tag.publicSubkey, body: subkey.key.body },
      ...signaturePackets(subkey.signatures),
    ]),
  ])
}

function signaturePackets(signatures: readonly SelfSignature[]): Packet[] {
  return signatures.map(({ body }) => ({ tag: Tag.signature, body }))
}

function requireRoom(bytes: Buffer, signatures: readonly SelfSignature[]): void {
  const revocations = signatures.filter(({ isRevocation }) => isRevocation)
  const extra = Math.min(revocationBytes, writePackets(signaturePackets(revocations)).length)
  if (bytes.length <= maxBytes - revocationBytes + extra) return
  throw invalid(
    'key',
    `This key has ${Math.ceil(bytes.length / 1024)} KiB; at most ${(maxBytes - revocationBytes) / 1024} KiB are accepted: export it with --export-options export-minimal.`,
  )
}
