/**
 * OpenPGP signatures over the statement of an image, checked in the way of `apptainer verify`
 * (ProtonMail/go-crypto openpgp/read.go, verifyDetachedSignature): a signing key, neither revoked
 * nor expired by now, and a hash of SHA-2. A key that has expired since it signed does not count:
 * clients refuse the image from then on, and what the page says must be what they say.
 *
 * Runs in the thread of clear-signed.ts only: OpenPGP.js can be kept busy for seconds.
 */
import { config, createMessage, enums, readKey, readSignature } from 'openpgp'
import type { Config, PublicKey, SignaturePacket } from 'openpgp'

import type { ClearSigned } from '../sif/clear-sign.ts'

/** One signature as it describes itself, before anything is verified. */
export interface Issuer {
  /** 16 upper-case hex digits. */
  readonly keyId: string
  /** Of the key that signed, a subkey perhaps; upper-case hex. Old signatures state none. */
  readonly fingerprint: string | undefined
  /** Why no key could make it count: the end of a sentence for people. */
  readonly refusal: string | undefined
}

export type Finding =
  | {
      readonly kind: 'good'
      /** What was verified, and nothing else: the only bytes to believe. */
      readonly signed: Uint8Array
      /** Of the primary key of the certificate, which people know it by; upper-case hex. */
      readonly fingerprint: string
      /** Of the key that signed. */
      readonly keyId: string
      /** As the signer's clock said. */
      readonly at: Date
      /** When the key or the signature expires, whichever comes first. */
      readonly until: Date | undefined
    }
  | {
      readonly kind: 'bad'
      /** The end of a sentence for people. */
      readonly reason: string
      /** When the finding may be another although nothing was changed. */
      readonly again?: Date
    }

/** More than one is not made by any client; each costs a search for its key. */
const MAX_ISSUERS = 8

const HASHES: ReadonlySet<number> = new Set([
  enums.hash.sha224,
  enums.hash.sha256,
  enums.hash.sha384,
  enums.hash.sha512,
])

/** Clients hold a signature's key to less: which keys are good enough is decided when one is stored. */
const clientRules: Config = {
  ...config,
  minRSABits: 1024,
  rejectPublicKeyAlgorithms: new Set(),
  rejectCurves: new Set(),
}

/** The signatures of a message in their order; throws what OpenPGP.js throws when there are none. */
export async function readIssuers(message: ClearSigned): Promise<readonly Issuer[]> {
  const packets = await readPackets(message)
  if (packets.length > MAX_ISSUERS) throw new Error(`more than ${MAX_ISSUERS} signatures in one`)
  return packets.map((packet) => ({
    keyId: packet.issuerKeyID.toHex().toUpperCase(),
    fingerprint: packet.issuerFingerprint === null ? undefined : upperHex(packet.issuerFingerprint),
    refusal: refusalOf(packet),
  }))
}

/** Checks the signature of this number with a certificate that should hold its key. */
export async function checkSignature(
  message: ClearSigned,
  index: number,
  certificate: Uint8Array,
): Promise<Finding> {
  const packet = (await readPackets(message))[index]
  if (packet === undefined) return bad('it is not there')
  const refusal = refusalOf(packet)
  if (refusal !== undefined) return bad(refusal)
  const key = await readKey({ binaryKey: certificate })
  const now = new Date()
  const signer = await key
    .getSigningKey(packet.issuerKeyID, now, undefined, clientRules)
    .catch(() => undefined)
  if (signer === undefined) return bad(await whyNotSigning(key, now))
  const [literal] = (await createMessage({ binary: message.signed })).packets
  if (literal === undefined || packet.signatureType === null) return bad('it signs nothing')
  try {
    const { signatureType } = packet
    await packet.verify(signer.keyPacket, signatureType, literal, now, false, clientRules)
  } catch {
    return whyNotVerified(packet, now)
  }
  const ends = [
    await key.getExpirationTime(undefined, clientRules),
    // Of the primary key this is the same once more.
    'mainKey' in signer ? await signer.getExpirationTime(now, clientRules) : null,
    packet.getExpirationTime(),
  ]
  return {
    kind: 'good',
    signed: message.signed,
    fingerprint: key.getFingerprint().toUpperCase(),
    keyId: packet.issuerKeyID.toHex().toUpperCase(),
    at: packet.created ?? now,
    until: earliest(ends),
  }
}

async function readPackets({ armoredSignature }: ClearSigned): Promise<readonly SignaturePacket[]> {
  const { packets } = await readSignature({ armoredSignature })
  if (packets.length === 0) throw new Error('there is no signature in it')
  return packets
}

function refusalOf({
  hashAlgorithm,
  signatureType,
  issuerKeyID,
}: SignaturePacket): string | undefined {
  if (issuerKeyID.toHex() === '') return 'it does not say by which key it was made'
  if (signatureType !== enums.signature.binary && signatureType !== enums.signature.text) {
    return 'it is a signature of another kind'
  }
  if (hashAlgorithm !== null && HASHES.has(hashAlgorithm)) return undefined
  const name = Object.entries(enums.hash).find(([, number]) => number === hashAlgorithm)?.[0]
  return `its hash, ${name?.toUpperCase() ?? 'an unknown one'}, is not one of those that clients accept`
}

async function whyNotSigning(key: PublicKey, now: Date): Promise<string> {
  if (await key.isRevoked(undefined, undefined, now, clientRules)) return 'its key is revoked'
  const expiresAt = await key.getExpirationTime(undefined, clientRules)
  if (expiresAt instanceof Date && expiresAt <= now) return 'its key has expired'
  return 'its key may not sign: it is no signing key, or is revoked or has expired'
}

function whyNotVerified(packet: SignaturePacket, now: Date): Finding {
  if (packet.created !== null && packet.created > now) {
    return { ...bad('its time is in the future'), again: packet.created }
  }
  if (packet.isExpired(now)) return bad('it has expired')
  return bad('it does not fit the text or the key: one of them was changed')
}

/** Keys that never expire say Infinity, or nothing. */
function earliest(ends: readonly (Date | number | null)[]): Date | undefined {
  const times = ends.flatMap((end) => (end instanceof Date ? [end.getTime()] : []))
  return times.length === 0 ? undefined : new Date(Math.min(...times))
}

function upperHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex').toUpperCase()
}

function bad(reason: string): Finding & { readonly kind: 'bad' } {
  return { kind: 'bad', reason }
}
