/** /api/v1/tokens: issue (with the password), list, revoke (with the password or a token). */
import type { Router } from 'express'
import { z } from 'zod'

import { requireFullAccount } from '../accounts/permissions.ts'
import type { SignIn } from '../accounts/sign-in.ts'
import type { TokenRow, Tokens } from '../accounts/tokens.ts'
import { unauthenticated } from '../failure.ts'
import { actorOf, passwordAccount } from '../http/actor.ts'
import { jsonBody, parse, queryOf } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'

// Labels are shown in terminals: no control characters, and nothing that is not a character.
const newToken = z.strictObject({
  label: z
    .string()
    .max(200)
    .regex(/^[^\p{Cc}\p{Cs}]*$/u, 'control characters are not allowed')
    .default(''),
  scope: z.enum(['all', 'pull', 'build']).default('all'),
})

export function tokenRoutes(tokens: Tokens, signIn: SignIn): Router {
  const router = newRouter()

  router.post('/api/v1/tokens', jsonBody(), async (req, res) => {
    const { label, scope } = parse(newToken, req.body)
    // A token cannot beget tokens: a stolen one would outlive its revocation.
    const account = await passwordAccount(req, signIn)
    if (account === undefined) {
      res.set('WWW-Authenticate', 'Basic realm="berth"')
      throw unauthenticated('Send the account name and the password (HTTP Basic).')
    }
    const { token, id, expiresAt } = await tokens.issue(account, label, scope)
    res.set('Cache-Control', 'no-store').status(201)
    res.json({ data: { token, id, expiration: expiresAt.toISOString() } })
  })

  router.get('/api/v1/tokens', async (req, res) => {
    const account = (await passwordAccount(req, signIn)) ?? requireFullAccount(actorOf(req))
    const list = await tokens.list(account, { all: queryOf(req, 'all') === 'true' })
    res.set('Cache-Control', 'no-store').json({ data: list.map(tokenJson) })
  })

  router.delete('/api/v1/tokens/:id', async (req, res) => {
    const account = (await passwordAccount(req, signIn)) ?? requireFullAccount(actorOf(req))
    await tokens.revoke(account, req.params.id)
    res.json({ data: { id: req.params.id } })
  })

  return router
}

function tokenJson(token: TokenRow): object {
  return {
    id: token.id,
    label: token.label,
    scope: token.scope,
    issuedAt: token.issuedAt.toISOString(),
    expiration: token.expiresAt.toISOString(),
    isRevoked: token.revokedAt !== null,
    revokedAt: token.revokedAt?.toISOString() ?? null,
    lastUsedAt: token.lastUsedAt?.toISOString() ?? null,
    lastUsedFrom: token.lastUsedFrom,
  }
}
