/** /api/v1/tokens: issue (with the password), list, revoke (with the password or a token). */
import type { Request, Router } from 'express'
import { z } from 'zod'

import type { AccountActor } from '../accounts/actor.ts'
import { requireAccount } from '../accounts/permissions.ts'
import type { TokenRow, Tokens } from '../accounts/tokens.ts'
import { unauthenticated } from '../failure.ts'
import { actorOf, passwordOf } from '../http/actor.ts'
import { jsonBody, parse, queryOf } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'

/** Checks a name and a password; undefined when they are wrong. */
export type SignIn = (
  name: string,
  password: string,
  address: string,
) => Promise<AccountActor | undefined>

// Labels are shown in terminals: no control characters, and nothing that is not a character.
const newToken = z.strictObject({
  label: z
    .string()
    .max(200)
    .regex(/^[^\p{Cc}\p{Cs}]*$/u, 'control characters are not allowed')
    .default(''),
})

export function tokenRoutes(tokens: Tokens, signIn: SignIn): Router {
  const router = newRouter()

  router.post('/api/v1/tokens', jsonBody(), async (req, res) => {
    const { label } = parse(newToken, req.body)
    // A token cannot beget tokens: a stolen one would outlive its revocation.
    const account = await byPassword(req)
    if (account === undefined) {
      res.set('WWW-Authenticate', 'Basic realm="berth"')
      throw unauthenticated('Send the account name and the password (HTTP Basic).')
    }
    const { token, id, expiresAt } = await tokens.issue(account, label)
    res.set('Cache-Control', 'no-store').status(201)
    res.json({ data: { token, id, expiration: expiresAt.toISOString() } })
  })

  router.get('/api/v1/tokens', async (req, res) => {
    const account = (await byPassword(req)) ?? requireAccount(actorOf(req))
    const list = await tokens.list(account, { all: queryOf(req, 'all') === 'true' })
    res.set('Cache-Control', 'no-store').json({ data: list.map(tokenJson) })
  })

  router.delete('/api/v1/tokens/:id', async (req, res) => {
    const account = (await byPassword(req)) ?? requireAccount(actorOf(req))
    await tokens.revoke(account, req.params.id)
    res.json({ data: { id: req.params.id } })
  })

  async function byPassword(req: Request): Promise<AccountActor | undefined> {
    const basic = passwordOf(req)
    if (basic === undefined) return undefined
    const account = await signIn(basic.name, basic.password, req.ip ?? 'unknown')
    if (account === undefined) throw unauthenticated('The name or the password is wrong.')
    return account
  }

  return router
}

function tokenJson(token: TokenRow): object {
  return {
    id: token.id,
    label: token.label,
    issuedAt: token.issuedAt.toISOString(),
    expiration: token.expiresAt.toISOString(),
    isRevoked: token.revokedAt !== null,
    revokedAt: token.revokedAt?.toISOString() ?? null,
    lastUsedAt: token.lastUsedAt?.toISOString() ?? null,
    lastUsedFrom: token.lastUsedFrom,
  }
}
