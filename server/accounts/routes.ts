/** What clients ask about a token: token-status, the current user, the public signing key. */
import type { Router } from 'express'

import { notFound } from '../failure.ts'
import { actorOf, bearerToken } from '../http/actor.ts'
import { newRouter } from '../http/router.ts'
import { requireAccount } from './permissions.ts'
import type { SigningKeys } from './signing-key.ts'
import { endsSoon } from './tokens.ts'
import type { Tokens } from './tokens.ts'

export function accountRoutes(tokens: Tokens, keys: SigningKeys): Router {
  const router = newRouter()

  // 404 is the one status that clients turn into "Invalid Credentials" (protocol.md 2.1).
  router.get('/v1/token-status', (req, res) => {
    if (actorOf(req).kind !== 'account') {
      throw notFound(
        'token',
        'This is not a live access token: get one with get_singularity_token.',
      )
    }
    res.status(200).end()
  })

  // Harbor's form, without envelope. The secret is the password for the OCI registry: the very
  // token, so that revoking it ends both (protocol.md 3).
  router.get('/v1/rbac/users/current', async (req, res) => {
    const actor = requireAccount(actorOf(req))
    const account = await tokens.accountOf(actor)
    res.set('Cache-Control', 'no-store').json({
      username: account.name,
      email: announceEnd(account.email, actor.tokenExpiresAt),
      realname: account.fullName,
      oidc_user_meta: { secret: bearerToken(req) ?? '' },
    })
  })

  router.get('/v1/keys/public', (_req, res) => {
    res.json({ keys: keys.accepted.map(({ publicJwk }) => publicJwk) })
  })

  return router
}

/**
 * `remote status` prints "Logged in as: name <email>" and nothing else of ours: from 30 days before
 * its end, the token's end is told there.
 */
function announceEnd(email: string, expiresAt: Date | undefined): string {
  if (expiresAt === undefined || !endsSoon(expiresAt)) return email
  const notice = `your access token ends on ${expiresAt.toISOString().slice(0, 10)}, get a new one with get_singularity_token`
  return email === '' ? notice : `${email}; ${notice}`
}
