/**
 * What runners speak: `/v1/runner/…` with a job token, which is good for one build while that is under
 * way, and for nothing else.
 */
import type { Request, Router } from 'express'
import { z } from 'zod'

import type { Jobs, RunnerJob } from '../builds/jobs.ts'
import { Failure, unauthenticated } from '../failure.ts'
import { bearerToken } from '../http/actor.ts'
import { contentLength, takeBody } from '../http/body.ts'
import { jsonBody, parse, queryOf, rawBody } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'
import { sendBlob } from '../http/send-blob.ts'
import { offsetOf } from './routes.ts'

export interface RunnerApiParts {
  readonly jobs: Jobs
  readonly libraryUrl: string
  readonly registryUrl: string
  readonly publicUrl: string
}

const end = z.object({
  /** `unable`: the walls of the builder do not hold, and nothing of the build has run. */
  state: z.enum(['succeeded', 'failed', 'cancelled', 'unable']),
  reason: z
    .string()
    .default('')
    .transform((text) => text.replaceAll('\0', '').slice(0, 4096)),
})

export function runnerRoutes(parts: RunnerApiParts): Router {
  const { jobs } = parts
  const router = newRouter()

  const jobOf = async (req: Request): Promise<RunnerJob> => {
    const token = bearerToken(req)
    if (token === undefined) throw unauthenticated('A runner sends the token of its job.')
    return await jobs.authenticate(token)
  }

  router.get('/v1/runner/job', async (req, res) => {
    const { build, definition, limits, allowedHosts, pullToken } = await jobs.take(await jobOf(req))
    res.set('Cache-Control', 'no-store').json({
      data: {
        id: build.id,
        arch: build.arch,
        definition,
        workingDir: build.workingDir,
        // Below the address that the runner has from its job file.
        contextUrl: build.contextId === null ? null : 'v1/runner/context',
        libraryUrl: parts.libraryUrl,
        registryUrl: parts.registryUrl,
        libraryVia: via(parts.publicUrl, parts.libraryUrl),
        registryVia: via(parts.publicUrl, parts.registryUrl),
        limits,
        allowedHosts,
        pullToken,
      },
    })
  })

  router.patch('/v1/runner/output', rawBody('4mb'), async (req, res) => {
    const job = await jobOf(req)
    const offset = offsetOf(queryOf(req, 'offset'))
    const bytes = Buffer.isBuffer(req.body) ? req.body : Buffer.alloc(0)
    const { accepted, size, cancel } = await jobs.append(job, offset, bytes)
    res.status(accepted ? 200 : 409).json({ data: { size, cancel } })
  })

  router.post('/v1/runner/walls', async (req, res) => {
    await jobs.wallsHold(await jobOf(req))
    res.json({ data: {} })
  })

  router.get('/v1/runner/context', async (req, res) => {
    const { file, size } = await jobs.context(await jobOf(req))
    await sendBlob(req, res, file, { size, etag: 'context' })
  })

  router.put('/v1/runner/image', async (req, res) => {
    const job = await jobOf(req)
    const length = contentLength(req)
    if (length === undefined) {
      throw new Failure('length-required', 'image', 'Send the image with a Content-Length.')
    }
    const body = takeBody(req, res)
    const source = async function* (): AsyncGenerator<Buffer> {
      yield* body
      req.socket.setTimeout(0) // what follows takes as long as it takes
    }
    await jobs.image(job, source(), length)
    res.json({ data: {} })
  })

  router.post('/v1/runner/end', jsonBody(), async (req, res) => {
    const job = await jobOf(req)
    const { state, reason } = parse(end, req.body)
    if (state === 'unable') await jobs.unable(job, reason)
    else if (!(await jobs.end(job, state, reason))) {
      throw new Failure('conflict', 'build', 'The build cannot end so: its image has not arrived.')
    }
    res.json({ data: {} })
  })

  return router
}

/**
 * A service of this server, below the address by which the runner reports to it: that way needs neither
 * the site's name nor its certificate. Null when the service is somewhere else.
 */
function via(publicUrl: string, service: string): string | null {
  const { origin, pathname } = new URL(service)
  return origin === new URL(publicUrl).origin ? pathname.replace(/^\/+/, '') : null
}
