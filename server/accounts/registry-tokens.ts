/**
 * Tokens of the OCI registry (docs.docker.com/registry/spec/auth/token): short-lived JWTs that grant
 * actions on named repositories. Each names the access token that it came from, and is good only
 * while that one lives: revoking the access token ends them at once.
 */
import { decodeJwt, decodeProtectedHeader, jwtVerify, SignJWT } from 'jose'
import { z } from 'zod'

import type { AccountActor } from './actor.ts'
import { signerOf } from './signing-key.ts'
import type { SigningKeys } from './signing-key.ts'
import type { Tokens } from './tokens.ts'

export type RegistryAction = 'pull' | 'push' | 'delete'

/** Stands for the list of all repositories in the place of a repository's path. */
export const catalogName = 'registry:catalog'

export interface Grant {
  /** The path of the repository, or `catalogName`. */
  readonly name: string
  readonly actions: readonly RegistryAction[]
}

export interface RegistryToken {
  readonly token: string
  readonly expiresIn: number
  readonly issuedAt: Date
}

export interface Bearer {
  /** Undefined for somebody who is not signed in. */
  readonly account: AccountActor | undefined
  readonly grants: readonly Grant[]
}

const pullSeconds = 300
/** A large blob may be on its way for long; clients renew between requests, not within one. */
const pushSeconds = 3600
/** Requests on an upload that is under way are good for this long after the token's end. */
const sessionSeconds = 86_400

const claims = z.looseObject({
  tid: z.string().optional(),
  access: z.array(
    z.object({ name: z.string(), actions: z.array(z.enum(['pull', 'push', 'delete'])) }),
  ),
})

const audience = 'berth-registry'

export class RegistryTokens {
  readonly #keys: SigningKeys
  readonly #tokens: Tokens
  readonly #issuer: string

  constructor(keys: SigningKeys, tokens: Tokens, issuer: string) {
    this.#keys = keys
    this.#tokens = tokens
    this.#issuer = issuer
  }

  async issue(account: AccountActor | undefined, grants: readonly Grant[]): Promise<RegistryToken> {
    const changes = grants.some(({ actions }) => actions.some((action) => action !== 'pull'))
    const expiresIn = changes ? pushSeconds : pullSeconds
    const issuedAt = Math.floor(Date.now() / 1000)
    const { kid, key } = signerOf(this.#keys)
    const token = await new SignJWT({ tid: account?.tokenId, access: grants })
      .setProtectedHeader({ alg: 'RS256', kid, typ: 'JWT' })
      .setSubject(account?.accountId ?? '')
      .setIssuer(this.#issuer)
      .setAudience(audience)
      .setIssuedAt(issuedAt)
      .setNotBefore(issuedAt - 60)
      .setExpirationTime(issuedAt + expiresIn)
      .sign(key)
    return { token, expiresIn, issuedAt: new Date(issuedAt * 1000) }
  }

  /** Whether it says of itself that it is one; nothing is verified. */
  claimsToBe(token: string): boolean {
    try {
      return decodeJwt(token).aud === audience
    } catch {
      return false
    }
  }

  /** Undefined for what is not such a token, is over, or came from an access token that is. */
  async verify(
    token: string,
    address: string,
    options: { readonly inSession: boolean },
  ): Promise<Bearer | undefined> {
    const payload = await this.#payloadOf(token, options.inSession)
    if (payload === undefined) return undefined
    const { tid, access } = payload
    if (tid === undefined) return { account: undefined, grants: access }
    const account = await this.#tokens.authenticateById(tid, address)
    return account && { account, grants: access }
  }

  async #payloadOf(token: string, inSession: boolean): Promise<z.infer<typeof claims> | undefined> {
    try {
      // The key is ours, whatever the token's header says of keys (CVE-2025-24976): it only chooses
      // among them.
      const { kid } = decodeProtectedHeader(token)
      const key = this.#keys.find((one) => one.kid === kid)
      if (key === undefined) return undefined
      const { payload } = await jwtVerify(token, key.publicKey, {
        algorithms: ['RS256'],
        audience,
        issuer: this.#issuer,
        clockTolerance: inSession ? sessionSeconds : 0,
      })
      return claims.parse(payload)
    } catch {
      return undefined
    }
  }
}
