/** /api/v1/collections/<entity>/<collection>/access: who may see a collection. */
import type { Router } from 'express'
import { z } from 'zod'

import type { CollectionAccess } from '../content/collection-access.ts'
import { parseCollectionPath } from '../content/names.ts'
import type { NameDefaults } from '../content/names.ts'
import { actorOf } from '../http/actor.ts'
import { jsonBody, parse, splat } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'
import type { Operation } from './operation.ts'

const names = z.array(z.string().min(1).max(255)).max(200)
const access = z.strictObject({
  private: z.boolean(),
  /** May pull although it is private; the lists given replace those that were there. */
  accounts: names.default([]),
  groups: names.default([]),
})
const path = '/api/v1/collections/{path}/access'
const parameters = { path: 'entity/collection; the slash may be written as %2F' }

export const collectionOperations: readonly Operation[] = [
  {
    method: 'get',
    path,
    parameters,
    summary: 'Who may see a collection',
    credentials: ['token'],
    reply: { status: 200, data: access },
    problems: [400, 401, 403, 404],
  },
  {
    method: 'put',
    path,
    parameters,
    summary: 'Set who may see a collection',
    credentials: ['token'],
    body: access,
    reply: { status: 200, data: access },
    problems: [400, 401, 403, 404],
  },
]

export function collectionRoutes(collections: CollectionAccess, defaults: NameDefaults): Router {
  const router = newRouter()

  router.get('/api/v1/collections/*path/access', async (req, res) => {
    const { entity, collection } = parseCollectionPath(splat(req, 'path'), defaults)
    res.json({ data: await collections.read(actorOf(req), entity, collection) })
  })

  router.put('/api/v1/collections/*path/access', jsonBody(), async (req, res) => {
    const { entity, collection } = parseCollectionPath(splat(req, 'path'), defaults)
    const wanted = parse(access, req.body)
    res.json({ data: await collections.write(actorOf(req), entity, collection, wanted) })
  })

  return router
}
