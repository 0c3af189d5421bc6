/** /api/v1/trash: deleted images that can be restored. */
import type { Request, Router } from 'express'
import { z } from 'zod'

import { parseEntityName } from '../content/names.ts'
import type { DeletedImage, Trash } from '../content/trash.ts'
import { notFound } from '../failure.ts'
import { actorOf } from '../http/actor.ts'
import { newRouter } from '../http/router.ts'
import type { Operation } from './operation.ts'

const deletedImage = z.object({
  id: z.int(),
  path: z.string().describe('entity/collection/container'),
  digest: z.string(),
  tags: z.array(z.string()).describe('What it gets again, unless they name another image then'),
  sizeBytes: z.int(),
  deletedAt: z.iso.datetime(),
  goneAt: z.iso.datetime().describe('From then on it cannot be restored'),
  deletedBy: z.string().nullable(),
  reason: z.enum(['request', 'retention']),
})
const restored = z.object({
  path: z.string(),
  digest: z.string(),
  tags: z.array(z.string()),
  tagsTaken: z.array(z.string()).describe('These name other images now, and stay there'),
})
const purged = z.object({ images: z.int(), bytes: z.int() })
const entityParameter = { entity: 'The name of a space' }
const imageParameters = { ...entityParameter, id: 'The number of a deleted image' }

export const trashOperations: readonly Operation[] = [
  {
    method: 'get',
    path: '/api/v1/trash',
    summary: "Deleted images of one's own space and of those of one's groups",
    credentials: ['token'],
    reply: { status: 200, data: z.array(deletedImage) },
    problems: [401, 403],
  },
  {
    method: 'get',
    path: '/api/v1/trash/{entity}',
    parameters: entityParameter,
    summary: 'Deleted images of a space, the newest first',
    credentials: ['token'],
    reply: { status: 200, data: z.array(deletedImage) },
    problems: [400, 401, 403, 404],
  },
  {
    method: 'post',
    path: '/api/v1/trash/{entity}/{id}/restore',
    parameters: imageParameters,
    summary: 'Restore a deleted image with its tags; 403 where the quota has no room for it',
    credentials: ['token'],
    reply: { status: 200, data: restored },
    problems: [400, 401, 403, 404, 409],
  },
  {
    method: 'delete',
    path: '/api/v1/trash/{entity}/{id}',
    parameters: imageParameters,
    summary: 'Give up a deleted image before its time',
    credentials: ['token'],
    reply: { status: 200, data: purged },
    problems: [400, 401, 403, 404],
  },
]

export function trashRoutes(trash: Trash): Router {
  const router = newRouter()

  router.get('/api/v1/trash', async (req, res) => {
    res.json({ data: (await trash.list(actorOf(req))).map(deletedJson) })
  })

  router.get('/api/v1/trash/:entity', async (req, res) => {
    res.json({ data: (await trash.list(actorOf(req), entityOf(req))).map(deletedJson) })
  })

  router.post('/api/v1/trash/:entity/:id/restore', async (req, res) => {
    res.json({ data: await trash.restore(actorOf(req), idOf(req), entityOf(req)) })
  })

  router.delete('/api/v1/trash/:entity/:id', async (req, res) => {
    res.json({ data: await trash.purge(actorOf(req), idOf(req), entityOf(req)) })
  })

  return router
}

function entityOf(req: Request): string {
  return parseEntityName(String(req.params['entity']))
}

function idOf(req: Request): number {
  const text = String(req.params['id'])
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text)
  throw notFound('image', 'A deleted image is known by its number: list them first.')
}

function deletedJson(image: DeletedImage): z.infer<typeof deletedImage> {
  return {
    ...image,
    tags: [...image.tags],
    deletedAt: image.deletedAt.toISOString(),
    goneAt: image.goneAt.toISOString(),
  }
}
