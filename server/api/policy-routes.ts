/** /api/v1/policies/<entity>: which images a space takes. */
import type { Request, Router } from 'express'
import { z } from 'zod'

import type { ImagePolicy } from '../content/image-policy.ts'
import { parseEntityName } from '../content/names.ts'
import { actorOf } from '../http/actor.ts'
import { jsonBody, parse } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'
import type { Operation } from './operation.ts'

const rule = z.enum(['any', 'verified'])
const spaceRule = z.object({
  entity: z.string(),
  images: rule.describe('What holds for the next push'),
  own: rule.nullable().describe("Set for this space; null where the site's rule holds"),
  site: rule,
})
const change = z.strictObject({ images: rule.nullable() })
const path = '/api/v1/policies/{entity}'
const parameters = { entity: 'The name of a space' }

export const policyOperations: readonly Operation[] = [
  {
    method: 'get',
    path,
    parameters,
    summary: 'Which images a space takes: any, or only those that the keystore verifies',
    credentials: ['token'],
    reply: { status: 200, data: spaceRule },
    problems: [400, 401, 403, 404],
  },
  {
    method: 'put',
    path,
    parameters,
    summary: "Set which images a space takes; null lets the site's rule hold",
    credentials: ['token'],
    body: change,
    reply: { status: 200, data: spaceRule },
    problems: [400, 401, 403, 404],
  },
]

export function policyRoutes(policy: ImagePolicy): Router {
  const router = newRouter()

  router.get('/api/v1/policies/:entity', async (req, res) => {
    const entity = entityOf(req)
    res.json({ data: await policy.read(actorOf(req), entity) })
  })

  router.put('/api/v1/policies/:entity', jsonBody(), async (req, res) => {
    const entity = entityOf(req)
    const { images } = parse(change, req.body)
    res.json({ data: await policy.set(actorOf(req), entity, images) })
  })

  return router
}

function entityOf(req: Request): string {
  return parseEntityName(String(req.params['entity']))
}
