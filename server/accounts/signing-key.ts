/** The RSA key that signs access tokens; its public half is at /v1/keys/public. */
import { createHash, createPrivateKey, createPublicKey, generateKeyPair } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { promisify } from 'node:util'

import type { JWK } from 'jose'

import { RotatedSecret } from '../rotated-secret.ts'

interface SigningKey {
  /** RFC 7638 thumbprint. */
  readonly kid: string
  /** Undefined of a former one: what it has signed is accepted, and nothing is signed with it. */
  readonly privateKey: KeyObject | undefined
  readonly publicKey: KeyObject
  readonly publicJwk: JWK
}

export type SigningKeys = RotatedSecret<SigningKey>

/** A former key stays published for `overlapDays`: as long as a token may live that it has signed. */
export async function openSigningKeys(path: string, overlapDays: number): Promise<SigningKeys> {
  return await RotatedSecret.open(path, {
    name: 'token-signing-key',
    make: makeKey,
    parse: parseKey,
    retire: (pem) => createPublicKey(pem).export({ type: 'spki', format: 'pem' }).toString(),
    // One day more, in which uploads that are under way go on (registry-tokens.ts).
    overlapSeconds: (overlapDays + 1) * 86_400,
  })
}

/** The private half of the present key. */
export function signerOf(keys: SigningKeys): { readonly kid: string; readonly key: KeyObject } {
  const { kid, privateKey } = keys.current
  if (privateKey === undefined) throw new Error(`${keys.name} has no private half.`)
  return { kid, key: privateKey }
}

function parseKey(pem: string): SigningKey {
  const isPrivate = pem.includes('PRIVATE KEY')
  const privateKey = isPrivate ? createPrivateKey(pem) : undefined
  const publicKey = createPublicKey(pem)
  const { kty, n, e } = publicKey.export({ format: 'jwk' })
  // RFC 7638, 3.2: the members that an RSA key must have, in this order.
  const kid = createHash('sha256').update(JSON.stringify({ e, kty, n })).digest('base64url')
  const publicJwk = { kty: kty ?? 'RSA', n: n ?? '', e: e ?? '', kid, alg: 'RS256', use: 'sig' }
  return { kid, privateKey, publicKey, publicJwk }
}

async function makeKey(): Promise<string> {
  const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 })
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}
