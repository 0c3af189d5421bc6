/** /api/v1/collections/<entity>/<collection>/access: who may see a collection. */
import type { Router } from 'express'
import { z } from 'zod'

import type { CollectionAccess } from '../content/collection-access.ts'
import { parseCollectionPath } from '../content/names.ts'
import type { NameDefaults } from '../content/names.ts'
import { actorOf } from '../http/actor.ts'
import { jsonBody, parse, splat } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'

const names = z.array(z.string().min(1).max(255)).max(200)
const access = z.strictObject({
  private: z.boolean(),
  /** May pull although it is private; the lists given replace those that were there. */
  accounts: names.default([]),
  groups: names.default([]),
})

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
