/**
 * The packets of a certificate, sorted by what they belong to (RFC 9580, 10.1): nothing is verified
 * here. Several blocks of one key become one, which is how certificates are merged.
 */
import { invalid } from '../failure.ts'
import { secretKey, severalKeys } from './armor.ts'
import { readPackets, Tag } from './packets.ts'
import type { Packet } from './packets.ts'
import { openSignature, SignatureType } from './self-signature.ts'
import type { UnverifiedSignature } from './self-signature.ts'

/** A user ID or a subkey with what follows it. */
export interface KeyPart {
  readonly body: Uint8Array
  readonly signatures: UnverifiedSignature[]
}

export interface KeyParts {
  readonly body: Uint8Array
  /** About the key itself. */
  readonly signatures: UnverifiedSignature[]
  /** By their bytes, so that each is there once. */
  readonly userIds: Map<string, KeyPart>
  readonly subkeys: Map<string, KeyPart>
}

const maxUserIdBytes = 256
/** An RSA key of the largest size has 2 KiB. */
const maxKeyPacketBytes = 4096
/** A signature of such a key with another one in it, and some text. */
const maxSignatureBytes = 16_384

/** Failure `invalid` where the blocks are not all of one public key. */
export function gatherKeyParts(blocks: readonly Uint8Array[]): KeyParts {
  const packets = blocks.map((block) => readPackets(block).filter(({ tag }) => tag !== Tag.marker))
  if (packets.flat().some(isSecret)) throw secretKey()
  const [primary] = packets.flat()
  if (primary === undefined) throw invalid('key', 'There is no key in this block.')
  const parts: KeyParts = {
    body: primary.body,
    signatures: [],
    userIds: new Map(),
    subkeys: new Map(),
  }
  for (const block of packets) gatherBlock(parts, block)
  return parts
}

function gatherBlock(parts: KeyParts, packets: readonly Packet[]): void {
  requireKeyFirst(packets[0])
  let target: UnverifiedSignature[] | undefined
  for (const packet of packets) {
    requireFittingSize(packet)
    const { tag, body } = packet
    if (tag === Tag.publicKey) {
      if (!Buffer.from(body).equals(parts.body)) throw severalKeys()
      target = parts.signatures
    } else if (tag === Tag.userId) {
      target = partOf(parts.userIds, body).signatures
    } else if (tag === Tag.publicSubkey) {
      target = partOf(parts.subkeys, body).signatures
    } else if (tag === Tag.signature) {
      const signature = openSignature(body)
      if (signature !== undefined) listOf(signature, parts, target)?.push(signature)
    } else {
      // What follows belongs to something that is dropped, such as a photograph.
      target = undefined
    }
  }
}

/** What is said of the key itself counts wherever it stands: a revocation must not get lost. */
function listOf(
  { type }: UnverifiedSignature,
  parts: KeyParts,
  target: UnverifiedSignature[] | undefined,
): UnverifiedSignature[] | undefined {
  const isOfKey = type === SignatureType.keyRevocation || type === SignatureType.directKey
  return isOfKey ? parts.signatures : target
}

function partOf(parts: Map<string, KeyPart>, body: Uint8Array): KeyPart {
  const name = Buffer.from(body).toString('base64')
  const part = parts.get(name) ?? { body, signatures: [] }
  parts.set(name, part)
  return part
}

function isSecret({ tag }: Packet): boolean {
  return tag === Tag.secretKey || tag === Tag.secretSubkey
}

function requireKeyFirst(packet: Packet | undefined): void {
  if (packet?.tag === Tag.publicKey) return
  if (packet?.tag === Tag.signature) {
    throw invalid(
      'key',
      'This is a signature, not a key. A revocation certificate is imported first (gpg --import), and then the key is sent with it.',
    )
  }
  throw invalid('key', 'This is not an OpenPGP public key.')
}

function requireFittingSize({ tag, body }: Packet): void {
  if (tag === Tag.userId && body.length > maxUserIdBytes) {
    throw invalid(
      'key',
      `A user ID of this key has ${body.length} bytes; at most ${maxUserIdBytes} are accepted.`,
    )
  }
  const isKey = tag === Tag.publicKey || tag === Tag.publicSubkey
  const isTooLarge =
    (isKey && body.length > maxKeyPacketBytes) ||
    (tag === Tag.signature && body.length > maxSignatureBytes)
  if (isTooLarge) {
    throw invalid('key', `The key has a packet of ${body.length} bytes, which is too large.`)
  }
}
