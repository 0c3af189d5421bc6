/** /api/v1/tokens: issue (with the password), list, revoke (with the password or a token). */
import type { Router } from 'express'
import { z } from 'zod'

import { requireFullAccount } from '../accounts/permissions.ts'
import type { SignIn } from '../accounts/sign-in.ts'
import type { TokenRow, Tokens } from '../accounts/tokens.ts'
import { unauthenticated } from '../failure.ts'
import { actorOf, passwordAccount } from '../http/actor.ts'
import { jsonBody, parse } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'
import type { Operation } from './operation.ts'

const scope = z
  .enum(['all', 'pull', 'build'])
  .describe('What it is good for: everything, pulling, or pulling and building')

// Labels are shown in terminals: no control characters, and nothing that is not a character.
const newToken = z.strictObject({
  label: z
    .string()
    .max(200)
    .regex(/^[^\p{Cc}\p{Cs}]*$/u, 'control characters are not allowed')
    .default(''),
  scope: scope.default('all'),
})
const listQuery = z.object({
  all: z.enum(['true', 'false']).optional().describe('true: with revoked and expired ones'),
})
const issued = z.object({
  token: z.string().describe('The access token, which is shown this once'),
  id: z.string(),
  expiration: z.iso.datetime(),
})
const token = z.object({
  id: z.string(),
  label: z.string(),
  scope,
  issuedAt: z.iso.datetime(),
  expiration: z.iso.datetime(),
  isRevoked: z.boolean(),
  revokedAt: z.iso.datetime().nullable(),
  lastUsedAt: z.iso.datetime().nullable(),
  lastUsedFrom: z.string().nullable().describe('IP address'),
})
const revoked = z.object({ id: z.string() })

export const tokenOperations: readonly Operation[] = [
  {
    method: 'post',
    path: '/api/v1/tokens',
    summary: 'Issue an access token for oneself',
    credentials: ['password'],
    body: newToken,
    reply: { status: 201, data: issued },
    problems: [400, 401, 409, 429, 503],
  },
  {
    method: 'get',
    path: '/api/v1/tokens',
    summary: "List one's own access tokens",
    credentials: ['password', 'token'],
    query: listQuery,
    reply: { status: 200, data: z.array(token) },
    problems: [400, 401, 403, 429, 503],
  },
  {
    method: 'delete',
    path: '/api/v1/tokens/{id}',
    summary: "Revoke an access token of one's own, or as an administrator anybody's",
    credentials: ['password', 'token'],
    reply: { status: 200, data: revoked },
    problems: [401, 403, 404, 429, 503],
  },
]

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
    const { all } = parse(listQuery, req.query)
    const list = await tokens.list(account, { all: all === 'true' })
    res.set('Cache-Control', 'no-store').json({ data: list.map(tokenJson) })
  })

  router.delete('/api/v1/tokens/:id', async (req, res) => {
    const account = (await passwordAccount(req, signIn)) ?? requireFullAccount(actorOf(req))
    await tokens.revoke(account, req.params.id)
    res.json({ data: { id: req.params.id } })
  })

  return router
}

function tokenJson(row: TokenRow): z.infer<typeof token> {
  return {
    id: row.id,
    label: row.label,
    scope: row.scope,
    issuedAt: row.issuedAt.toISOString(),
    expiration: row.expiresAt.toISOString(),
    isRevoked: row.revokedAt !== null,
    revokedAt: row.revokedAt?.toISOString() ?? null,
    lastUsedAt: row.lastUsedAt?.toISOString() ?? null,
    lastUsedFrom: row.lastUsedFrom,
  }
}
