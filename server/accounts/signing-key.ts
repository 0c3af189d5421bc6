/** The RSA key that signs access tokens; its public half is at /v1/keys/public. */
import { createPrivateKey, createPublicKey, generateKeyPair } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { promisify } from 'node:util'

import { calculateJwkThumbprint, exportJWK } from 'jose'
import type { JWK } from 'jose'

import { readOrMakeSecret } from '../secret-file.ts'

export interface SigningKey {
  /** RFC 7638 thumbprint. */
  readonly kid: string
  readonly privateKey: KeyObject
  readonly publicJwk: JWK
}

export async function openSigningKey(path: string): Promise<SigningKey> {
  const pem = await readOrMakeSecret(path, makeKey)
  const privateKey = createPrivateKey(pem)
  const publicJwk = await exportJWK(createPublicKey(privateKey))
  const kid = await calculateJwkThumbprint(publicJwk)
  return { kid, privateKey, publicJwk: { ...publicJwk, kid, alg: 'RS256', use: 'sig' } }
}

async function makeKey(): Promise<string> {
  const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 })
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}
