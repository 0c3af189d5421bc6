/**
 * The token service of the enterprise interface (enterprise.md 8.1): bare JSON, success is exactly
 * 200. token-status and keys/public are in accounts/routes.ts, because every client asks for them.
 */
import type { Request, Router } from 'express'
import { z } from 'zod'

import { requireAccount, requireAdministrator } from '../accounts/permissions.ts'
import type { TokenRecord, TokenRegister } from '../accounts/token-register.ts'
import type { Tokens } from '../accounts/tokens.ts'
import { invalid, notFound } from '../failure.ts'
import { actorOf } from '../http/actor.ts'
import { flagOf, formBody, parse, queryOf } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'
import { speaking } from './dialect.ts'
import { parseIdentifier } from './identifier.ts'
import { parseLifetime } from './lifetime.ts'

interface TokenJson {
  readonly id: string
  readonly subject: string
  readonly label: string
  readonly issuedAt: string
  readonly expiration: string
  readonly isRevoked: boolean
  readonly revokedAt: string | undefined
}

const newToken = z.strictObject({
  sub: z.string(),
  dur: z.string().optional(),
  lab: z
    .string()
    .max(200)
    .regex(/^[^\p{Cc}\p{Cs}]*$/u, 'control characters are not allowed')
    .default(''),
})

/** Capped by what any token may have. */
const longest = Number.MAX_SAFE_INTEGER

export function enterpriseTokenRoutes(register: TokenRegister, tokens: Tokens): Router {
  const router = newRouter()

  router.get('/v1/tokens', async (req, res) => {
    const account = requireAccount(actorOf(req))
    const all = flagOf(req, 'all') ?? false
    const list = await register.list(account, subjectOf(req) ?? account.accountId, { all })
    res.set('Cache-Control', 'no-store').json(list.map(tokenJson))
  })

  return router.use(detailRoutes(register), revocationRoutes(register, tokens), issueRoutes(tokens))
}

/** 403 also for whoever is not signed in, where the list says 401. */
function detailRoutes(register: TokenRegister): Router {
  const router = newRouter()

  router.get('/v1/token/:jti', async (req, res) => {
    const account = requireAccount(actorOf(req))
    const token = await register.find(account, parseIdentifier(req.params.jti, 'token'))
    res.set('Cache-Control', 'no-store').json(tokenJson(token))
  })

  return router.use(speaking({ unauthenticated: 'denied' }))
}

/** Somebody else's token is not found: that there is one is nobody's business. */
function revocationRoutes(register: TokenRegister, tokens: Tokens): Router {
  const router = newRouter()

  router.delete('/v1/token/all', async (req, res) => {
    const account = requireAccount(actorOf(req))
    const subject = subjectOf(req)
    if (subject === undefined) {
      throw invalid('token', 'Whose tokens are to be revoked is said with "sub", a user ID.')
    }
    await register.revokeAll(account, subject)
    res.status(200).end()
  })

  router.delete('/v1/token/:jti', async (req, res) => {
    const account = requireAccount(actorOf(req))
    const id = parseIdentifier(req.params.jti, 'token')
    const subject = subjectOf(req)
    const token = await register.find(account, id)
    if (subject !== undefined && subject !== token.accountId) {
      throw notFound('token', `The user ${subject} has no token with the ID ${id}.`)
    }
    await tokens.revoke(account, id)
    res.status(200).end()
  })

  return router.use(speaking({ denied: 'not-found' }))
}

/** For others only: for oneself it needs the password (api/token-routes.ts). */
function issueRoutes(tokens: Tokens): Router {
  const router = newRouter()

  router.post('/v1/token/new', formBody(), async (req, res) => {
    const admin = requireAdministrator(actorOf(req))
    const { sub, dur, lab } = parse(newToken, req.body)
    const { token } = await tokens.issueFor(admin, parseIdentifier(sub, 'user'), {
      label: lab,
      seconds: dur === undefined ? longest : parseLifetime(dur),
    })
    res.set('Cache-Control', 'no-store').type('application/jwt').send(token)
  })

  return router.use(speaking({ 'not-found': 'invalid', conflict: 'invalid' }))
}

function subjectOf(req: Request): string | undefined {
  const subject = queryOf(req, 'sub')
  return subject === undefined ? undefined : parseIdentifier(subject, 'user')
}

function tokenJson(token: TokenRecord): TokenJson {
  return {
    id: token.id,
    subject: token.accountId,
    label: token.label,
    issuedAt: token.issuedAt.toISOString(),
    expiration: token.expiresAt.toISOString(),
    isRevoked: token.revokedAt !== null,
    revokedAt: token.revokedAt?.toISOString(),
  }
}
