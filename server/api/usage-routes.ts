/** /api/v1/usage: what the caller's own space and those of his groups hold. */
import type { Router } from 'express'
import { z } from 'zod'

import { requireAccount } from '../accounts/permissions.ts'
import type { SignIn } from '../accounts/sign-in.ts'
import type { Registry } from '../content/registry.ts'
import { actorOf, passwordAccount } from '../http/actor.ts'
import { newRouter } from '../http/router.ts'
import type { Operation } from './operation.ts'

const space = z.object({
  entity: z.string(),
  kind: z.enum(['user', 'group']),
  usedBytes: z.int(),
  reservedBytes: z.int().describe('Taken by running uploads'),
  quotaBytes: z.int(),
  repositories: z.int(),
})

export const usageOperations: readonly Operation[] = [
  {
    method: 'get',
    path: '/api/v1/usage',
    summary: "What one's own space and those of one's groups hold",
    credentials: ['password', 'token'],
    reply: { status: 200, data: z.array(space) },
    problems: [401, 429, 503],
  },
]

export function usageRoutes(registry: Registry, signIn: SignIn): Router {
  const router = newRouter()

  router.get('/api/v1/usage', async (req, res) => {
    const account = (await passwordAccount(req, signIn)) ?? requireAccount(actorOf(req))
    const spaces: z.infer<typeof space>[] = await registry.usageOf(account)
    res.set('Cache-Control', 'no-store').json({ data: spaces })
  })

  return router
}
