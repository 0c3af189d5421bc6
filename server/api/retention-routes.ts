/** /api/v1/retention: what spaces, collections and containers keep. */
import type { Router } from 'express'
import { z } from 'zod'

import type { Retention, RetentionRule } from '../content/retention.ts'
import { actorOf } from '../http/actor.ts'
import { jsonBody, parse, splat } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'
import type { Operation } from './operation.ts'

const count = z.int().min(1).max(1_000_000)
const measures = {
  keepLast: count.nullable().default(null).describe('So many of the last images stay'),
  pulledWithinDays: count
    .max(36_500)
    .nullable()
    .default(null)
    .describe('What came, or was last pulled, within so many days stays'),
  keepTagged: z.boolean().default(true).describe('What has a tag stays; else its tags go with it'),
  eachContainer: z
    .boolean()
    .default(false)
    .describe('keepLast counts in each container, not in the whole place'),
}
const wanted = z.strictObject({
  ...measures,
  active: z
    .boolean()
    .default(false)
    .describe('true only for a rule that stands with the same measures: look at its preview first'),
})
const rule = z.object({
  place: z.string().describe('entity, entity/collection or entity/collection/container'),
  ...measures,
  active: z.boolean(),
  setAt: z.iso.datetime(),
})
const preview = z.object({
  rule,
  images: z
    .array(
      z.object({
        path: z.string(),
        digest: z.string(),
        tags: z.array(z.string()),
        sizeBytes: z.int(),
        arrivedAt: z.iso.datetime(),
        pulledAt: z.iso.datetime().nullable(),
      }),
    )
    .describe('Exactly what the rule would delete now, oldest first'),
  sizeBytes: z.int(),
})
const removed = z.object({ place: z.string() })
const parameters = { path: 'entity, entity/collection or entity/collection/container' }

export const retentionOperations: readonly Operation[] = [
  {
    method: 'get',
    path: '/api/v1/retention/rules',
    summary: "The rules of one's own space and of those of one's groups",
    credentials: ['token'],
    reply: { status: 200, data: z.array(rule) },
    problems: [401, 403],
  },
  {
    method: 'get',
    path: '/api/v1/retention/rules/{path}',
    parameters,
    summary: 'The rule of a space, a collection or a container',
    credentials: ['token'],
    reply: { status: 200, data: rule },
    problems: [400, 401, 403, 404],
  },
  {
    method: 'put',
    path: '/api/v1/retention/rules/{path}',
    parameters,
    summary:
      'Set what is kept. A new or changed rule is inactive; 409 for one that was not set before',
    credentials: ['token'],
    body: wanted,
    reply: { status: 200, data: rule },
    problems: [400, 401, 403, 404, 409],
  },
  {
    method: 'delete',
    path: '/api/v1/retention/rules/{path}',
    parameters,
    summary: 'Remove a rule; a wider one holds then, if there is one',
    credentials: ['token'],
    reply: { status: 200, data: removed },
    problems: [400, 401, 403, 404],
  },
  {
    method: 'get',
    path: '/api/v1/retention/preview/{path}',
    parameters,
    summary: 'What a rule would delete now, whether it is active or not',
    credentials: ['token'],
    reply: { status: 200, data: preview },
    problems: [400, 401, 403, 404],
  },
]

export function retentionRoutes(retention: Retention): Router {
  const router = newRouter()

  router.get('/api/v1/retention/rules', async (req, res) => {
    res.json({ data: (await retention.list(actorOf(req))).map(ruleJson) })
  })

  router.get('/api/v1/retention/rules/*path', async (req, res) => {
    res.json({ data: ruleJson(await retention.read(actorOf(req), splat(req, 'path'))) })
  })

  router.put('/api/v1/retention/rules/*path', jsonBody(), async (req, res) => {
    const body = parse(wanted, req.body)
    res.json({ data: ruleJson(await retention.set(actorOf(req), splat(req, 'path'), body)) })
  })

  router.delete('/api/v1/retention/rules/*path', async (req, res) => {
    const place = splat(req, 'path')
    await retention.remove(actorOf(req), place)
    res.json({ data: { place } })
  })

  router.get('/api/v1/retention/preview/*path', async (req, res) => {
    const { rule, images, sizeBytes } = await retention.preview(actorOf(req), splat(req, 'path'))
    res.json({ data: { rule: ruleJson(rule), images, sizeBytes } })
  })

  return router
}

function ruleJson(row: RetentionRule): z.infer<typeof rule> {
  return { ...row, setAt: row.setAt.toISOString() }
}
