/**
 * Key packets (RFC 9580, 5.5.2): which keys are accepted, and what is known of one. The library
 * parses; here is what it would let pass: weak keys, and bytes that it would write in another way.
 */
import { PublicKeyPacket, PublicSubkeyPacket } from 'openpgp'

import { Failure, invalid } from '../failure.ts'

export interface PublicKey {
  /** What verifies and is hashed. */
  readonly packet: PublicKeyPacket | PublicSubkeyPacket
  readonly body: Uint8Array
  readonly version: 4 | 6
  /** RFC 9580, 9.1. */
  readonly algorithm: number
  readonly bits: number
  readonly createdAt: Date
  /** Upper-case hex. */
  readonly fingerprint: string
  /** Upper-case hex, 16 digits. */
  readonly keyId: string
}

/** Public-key algorithms (RFC 9580, 9.1). */
const Algorithm = {
  rsa: 1,
  rsaEncryptOnly: 2,
  rsaSignOnly: 3,
  elgamal: 16,
  dsa: 17,
  ecdh: 18,
  ecdsa: 19,
  elgamalSign: 20,
  eddsaLegacy: 22,
  x25519: 25,
  x448: 26,
  ed25519: 27,
  ed448: 28,
} as const

const minRsaBits = 2048
/** OpenSSL's own limit, and more than anybody makes. */
const maxRsaBits = 16_384
/** Octets of a public exponent that Go's reader takes too; almost all have 65537. */
const maxExponentOctets = 7

const encryptOnly: ReadonlySet<number> = new Set([
  Algorithm.rsaEncryptOnly,
  Algorithm.ecdh,
  Algorithm.x25519,
  Algorithm.x448,
])
const nativeBits: ReadonlyMap<number, number> = new Map([
  [Algorithm.x25519, 256],
  [Algorithm.ed25519, 256],
  [Algorithm.x448, 448],
  [Algorithm.ed448, 448],
])
/** Curves whose signatures can be verified here; Singularity's own reader knows them too. */
const curveBits: ReadonlyMap<string, number> = new Map([
  ['nistP256', 256],
  ['nistP384', 384],
  ['nistP521', 521],
  ['ed25519Legacy', 256],
  ['curve25519Legacy', 256],
])

/** Whether keys of this algorithm can make signatures. */
export function canSign(key: PublicKey): boolean {
  return !encryptOnly.has(key.algorithm)
}

/** The key of a certificate itself; Failure `invalid` where it is not accepted. */
export async function readPrimaryKey(body: Uint8Array): Promise<PublicKey> {
  const key = await readKey(body, new PublicKeyPacket())
  if (!canSign(key)) throw invalid('key', 'This key can only encrypt: a key must be able to sign.')
  return key
}

/** A subkey; undefined where it is not accepted, so that the certificate goes without it. */
export async function readSubkey(body: Uint8Array): Promise<PublicKey | undefined> {
  try {
    return await readKey(body, new PublicSubkeyPacket())
  } catch (error) {
    if (error instanceof Failure) return undefined
    throw error
  }
}

async function readKey(
  body: Uint8Array,
  packet: PublicKeyPacket | PublicSubkeyPacket,
): Promise<PublicKey> {
  const version = body[0]
  if (version !== 4 && version !== 6) {
    throw invalid(
      'key',
      `This is an OpenPGP key of version ${version ?? 0}; versions 4 and 6 are accepted. Make a new one (singularity key newpair).`,
    )
  }
  requireStrongAlgorithm(body[5] ?? 0)
  await parse(packet, body)
  const bits = strengthOf(packet)
  const fingerprint = packet.getFingerprint().toUpperCase()
  const { algorithm, created: createdAt } = packet
  const keyId = packet.getKeyID().toHex().toUpperCase()
  return { packet, body, version, algorithm, bits, createdAt, fingerprint, keyId }
}

function requireStrongAlgorithm(algorithm: number): void {
  if (algorithm === Algorithm.dsa) throw weak('DSA keys are too weak')
  if (algorithm === Algorithm.elgamal || algorithm === Algorithm.elgamalSign) {
    throw weak('Elgamal keys are not accepted')
  }
}

async function parse(
  packet: PublicKeyPacket | PublicSubkeyPacket,
  body: Uint8Array,
): Promise<void> {
  let written: Uint8Array
  try {
    await packet.read(body)
    written = packet.write()
  } catch (error) {
    // The library says no more than that; its text is for programmers.
    throw invalid('key', 'The key is of a kind that is not known here, or is damaged.', error)
  }
  // Other bytes would be another fingerprint: numbers with leading zeros, or something behind them.
  if (!Buffer.from(body).equals(written)) {
    throw invalid('key', 'The key packet is not written as OpenPGP demands.')
  }
}

/** Bits of the modulus or of the curve. */
function strengthOf(packet: PublicKeyPacket | PublicSubkeyPacket): number {
  const native = nativeBits.get(packet.algorithm)
  if (native !== undefined) return native
  const { curve, bits } = packet.getAlgorithmInfo()
  if (curve !== undefined) {
    const size = curveBits.get(curve)
    if (size === undefined) throw weak(`Keys on the curve ${curve} are not accepted`)
    return size
  }
  const { n, e } = packet.publicParams as { readonly n?: Uint8Array; readonly e?: Uint8Array }
  if (bits === undefined || n === undefined || e === undefined) {
    throw invalid('key', 'The key is of a kind that is not known here.')
  }
  if (bits < minRsaBits) throw weak(`An RSA key of ${bits} bits is too weak`)
  if (bits > maxRsaBits) throw weak(`An RSA key of ${bits} bits is too large`)
  const isOdd = ((n.at(-1) ?? 0) & (e.at(-1) ?? 0) & 1) === 1
  const isOne = e.length === 1 && e[0] === 1
  if (!isOdd || isOne || e.length > maxExponentOctets) throw weak('This is not a sound RSA key')
  return bits
}

function weak(what: string): Failure {
  return invalid(
    'key',
    `${what}: use RSA with ${minRsaBits} to ${maxRsaBits} bits, Ed25519 or a NIST curve (singularity key newpair makes RSA with 4096).`,
  )
}
