/**
 * What builder hosts speak: `POST /v1/runner/host` with the token of a builder, which is good for this
 * address and for nothing else. The host says what it has, and is answered when there is something to
 * do, or after a while; then it asks again.
 */
import type { Request, RequestHandler, Router } from 'express'
import { z } from 'zod'

import type { BuilderHosts } from '../builds/builder-hosts.ts'
import { unauthenticated } from '../failure.ts'
import { bearerToken } from '../http/actor.ts'
import { jsonBody, parse } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'

const mostRuns = 2_000
const line = (most: number): z.ZodType<string> =>
  z.string().transform((text) => text.replaceAll('\0', '').slice(0, most))

const report = z.object({
  name: z.string().min(1).max(64),
  instance: z.string().regex(/^[0-9a-f]{16,64}$/),
  archs: z
    .array(z.string().regex(/^[a-z0-9]{1,16}$/, 'expected amd64, arm64, …'))
    .min(1)
    .max(16),
  slots: z.number().int().min(1).max(1000),
  version: line(64),
  runs: z
    .array(
      z.object({
        run: z.string().regex(/^[0-9a-f]{32}$/),
        id: z.string().regex(/^[0-9a-f]{24}$/),
        state: z.enum(['running', 'ending', 'ended']),
        started: z.boolean(),
        said: line(600),
      }),
    )
    .max(mostRuns),
  selfTest: z.object({ at: z.iso.datetime(), failure: line(2_000).nullable() }).nullable(),
  leaving: z.boolean().default(false),
})

export function hostRoutes(hosts: BuilderHosts): Router {
  const router = newRouter()
  const builders = new WeakMap<Request, string>()

  // Before anything of the body is read.
  const authenticate: RequestHandler = async (req, _res, next) => {
    const token = bearerToken(req)
    if (token === undefined) throw unauthenticated('A builder host sends its token.')
    builders.set(req, await hosts.authenticate(token))
    next()
  }

  router.post('/v1/runner/host', authenticate, jsonBody('1mb'), async (req, res) => {
    const { name, selfTest, ...said } = parse(report, req.body)
    const gone = new AbortController()
    res.on('close', () => gone.abort())
    const answer = await hosts.exchange(
      builders.get(req) ?? '',
      name,
      { ...said, selfTest: selfTest && { ...selfTest, at: new Date(selfTest.at) } },
      gone.signal,
    )
    res.set('Cache-Control', 'no-store').json({ data: answer })
  })

  return router
}
