/** /api/v1/usage: what the caller's own space and those of his groups hold. */
import type { Router } from 'express'

import { requireAccount } from '../accounts/permissions.ts'
import type { SignIn } from '../accounts/sign-in.ts'
import type { Registry } from '../content/registry.ts'
import { actorOf, passwordAccount } from '../http/actor.ts'
import { newRouter } from '../http/router.ts'

export function usageRoutes(registry: Registry, signIn: SignIn): Router {
  const router = newRouter()

  router.get('/api/v1/usage', async (req, res) => {
    const account = (await passwordAccount(req, signIn)) ?? requireAccount(actorOf(req))
    res.set('Cache-Control', 'no-store').json({ data: await registry.usageOf(account) })
  })

  return router
}
