/**
 * The build API: what `singularity build --remote`, scs-build and Berth's own client speak
 * (protocol.md 8), and the lists of the enterprise interface (enterprise.md 8.5, 8.6).
 */
import type { Request, Router } from 'express'
import { z } from 'zod'

import { requireAccount, requireAdministrator } from '../accounts/permissions.ts'
import type { BuilderSettings } from '../builder-settings.ts'
import { readDefinition } from '../builds/acceptance.ts'
import type { BuildRow } from '../builds/build-rows.ts'
import { requireSite } from '../builds/builds.ts'
import type { Builds, Submission } from '../builds/builds.ts'
import type { BuildContexts } from '../builds/contexts.ts'
import { describeDefinition } from '../builds/definition/description.ts'
import { filesOf } from '../builds/definition/files.ts'
import type { BuildOutput } from '../builds/output.ts'
import type { Capabilities } from '../capability.ts'
import { parseLibraryHash } from '../content/names.ts'
import { denied, invalid, notFound } from '../failure.ts'
import { actorOf } from '../http/actor.ts'
import { contentLength, takeBody } from '../http/body.ts'
import { flagOf, jsonBody, parse, queryOf, rawBody } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'
import { buildJson, listedBuildJson } from './json.ts'

export interface BuildApiParts {
  readonly builds: Builds
  readonly contexts: BuildContexts
  readonly output: BuildOutput
  readonly capabilities: Capabilities
  readonly settings: BuilderSettings
  readonly libraryUrl: string
  readonly builderUrl: string
  /** The build that each slot of a builder works on. */
  readonly agents: () => Promise<readonly Agent[]>
}

export interface Agent {
  readonly id: string
  readonly queue: string
  readonly addedAt: Date
  /** Empty when it has nothing to do. */
  readonly taskId: string
}

const base64 = z
  .string()
  .max(2 << 20)
  .regex(/^[A-Za-z0-9+/\r\n]*={0,2}[\r\n]*$/, 'expected base64')

const newBuild = z.object({
  definitionRaw: base64,
  libraryRef: z.string().max(1024).nullish(),
  libraryURL: z.string().max(1024).nullish(),
  builderRequirements: z.object({ arch: z.string().max(32).nullish() }).nullish(),
  contextDigest: z.string().nullish(),
  workingDir: z.string().max(4096).startsWith('/', 'expected an absolute path').nullish(),
  buildArgs: z
    .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string().max(65_536))
    .nullish(),
})
const newContext = z.object({ size: z.number().int().positive(), digest: z.string() })
const time = z.iso.datetime({ offset: true })

const pieceBytes = 1 << 18

export function buildRoutes(parts: BuildApiParts): Router {
  const { builds, contexts, output, settings, capabilities, libraryUrl, builderUrl } = parts
  const router = newRouter()
  const body = jsonBody('3mb')
  const text = rawBody('2mb')
  const addresses = { library: libraryUrl, builder: builderUrl }
  const show = async (req: Request, build: BuildRow): Promise<object> =>
    buildJson(build, addresses, await builds.place(build, requireAccount(actorOf(req))))

  router.post('/v1/build', body, async (req, res) => {
    const build = await builds.submit(actorOf(req), submissionOf(req, settings))
    res.status(201).json({ data: await show(req, build) })
  })

  router.post('/v1/build-def-file', text, async (req, res) => {
    const build = await builds.submit(actorOf(req), {
      definition: textOf(req),
      libraryRef: '',
      libraryUrl: undefined,
      arch: queryOf(req, 'arch'),
      workingDir: undefined,
      buildArgs: {},
      contextDigest: undefined,
    })
    res.status(200).json({ data: await show(req, build) })
  })

  // scs-build asks before every build, and packs what it is told (protocol.md 8.6).
  router.post('/v1/convert-def-file', text, (req, res) => {
    const definition = readDefinition(actorOf(req), textOf(req))
    const files = filesOf(definition).map((section) => ({
      args: section.args,
      files: section.files.map(({ source, destination }) => ({ source, destination })),
    }))
    const { buildData, ...rest } = describeDefinition(definition)
    // A list here, and not the map that a build has: the one program that asks wants it so.
    res.json({ data: { ...rest, buildData: { ...buildData, files } } })
  })

  router.get('/v1/build', async (req, res) => {
    const rows = await builds.list(actorOf(req), {
      accountId: queryOf(req, 'user') ?? null,
      from: timeOf(req, 'from'),
      to: timeOf(req, 'to'),
      includeDeleted: flagOf(req, 'includeDeleted') ?? false,
    })
    res.json({ data: rows.map((row) => listedBuildJson(row, addresses)) })
  })

  router.get('/v1/build/:id', async (req, res) => {
    res.json({ data: await show(req, await builds.find(actorOf(req), req.params.id)) })
  })

  // Exactly 204: older clients take nothing else (protocol.md 8.4).
  router.put('/v1/build/:id/_cancel', async (req, res) => {
    await builds.cancel(actorOf(req), req.params.id)
    res.status(204).end()
  })

  router.delete('/v1/build/:id', async (req, res) => {
    await builds.remove(actorOf(req), req.params.id)
    res.json({ data: {} })
  })

  router.get('/v1/build-output/:id', async (req, res) => {
    const build = await builds.find(actorOf(req), req.params.id)
    const end = build.outputBytes
    let position = Math.min(offsetOf(queryOf(req, 'offset')), end)
    res.set({
      'Content-Type': 'text/plain; charset=utf-8',
      'Content-Length': String(end - position),
    })
    while (position < end && !res.destroyed) {
      const piece = await output.read(build.id, position, end, pieceBytes)
      // Removed meanwhile: the length was promised, so the connection breaks.
      if (piece.length === 0) return res.destroy()
      position += piece.length
      if (!res.write(piece)) await drained(res)
    }
    return res.end()
  })

  // Contexts

  router.post('/v1/build-context', body, async (req, res) => {
    requireSite(settings)
    const input = parse(newContext, req.body)
    const digest = parseLibraryHash(input.digest)
    const context = await contexts.offer(actorOf(req), digest, input.size)
    // Without a Location the client has nothing to send.
    if (context !== undefined) {
      res.set('Location', builderUrl + capabilities.contextPath({ context }))
    }
    res.status(context === undefined ? 200 : 201).json({ data: { digest: input.digest } })
  })

  router.delete('/v1/build-context/:digest', async (req, res) => {
    await contexts.remove(actorOf(req), parseLibraryHash(req.params.digest))
    res.json({ data: {} })
  })

  // Administration

  router.get('/v1/stats/builds', async (req, res) => {
    const counts = await builds.counts(actorOf(req))
    res.json({
      data: {
        buildCount: counts.builds,
        usersWithBuilds: counts.accounts,
        buildsProcessing: counts.running,
        buildsQueued: counts.queued,
      },
    })
  })

  router.get('/v1/admin/agent-pool/:name', async (req, res) => {
    requireAdministrator(actorOf(req))
    requirePool(req.params.name)
    const agents = settings.enabled ? await parts.agents() : []
    res.json({
      data: agents.map((agent) => ({
        id: agent.id,
        queue: agent.queue,
        addedAt: agent.addedAt.toISOString(),
        taskID: agent.taskId,
      })),
    })
  })

  router.delete('/v1/admin/agent-pool/:name/:id', (req) => {
    requireAdministrator(actorOf(req))
    requirePool(req.params.name)
    throw invalid(
      'builder',
      'Builders are named in the configuration, [builder], or added with berthctl builder: remove it there.',
    )
  })

  return router
}

/** The address that a context is sent to. It is the right itself: an Authorization is not looked at. */
export function contextUploadRoutes(contexts: BuildContexts, capabilities: Capabilities): Router {
  const router = newRouter()
  router.put('/ul/context/:sealed', async (req, res) => {
    const right = capabilities.openContextUpload(req.params.sealed)
    if (right === undefined) {
      throw denied('context', 'This upload address is not valid (any more).')
    }
    await contexts.receive(right.context, takeBody(req, res), contentLength(req))
    res.status(200).end()
  })
  return router
}

/** `?offset=` of an output, in bytes; 0 when there is none. */
export function offsetOf(given: string | null | undefined): number {
  const text = given ?? '0'
  const offset = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(offset)) return offset
  throw invalid('request', '"offset" is a number of bytes.')
}

function submissionOf(req: Request, settings: BuilderSettings): Submission {
  // Before anything is said about what was sent: no change of it would help.
  requireAccount(actorOf(req))
  requireSite(settings)
  const sent = (req.body ?? {}) as Record<string, unknown>
  if (sent['definitionRaw'] === undefined && sent['definition'] !== undefined) {
    throw invalid(
      'build',
      'This client sends definition files in a form of before 2021: use Singularity 3.3 or later.',
    )
  }
  const input = parse(newBuild, sent)
  const contextDigest = input.contextDigest || undefined
  return {
    definition: Buffer.from(input.definitionRaw, 'base64'),
    libraryRef: input.libraryRef ?? '',
    libraryUrl: input.libraryURL || undefined,
    arch: input.builderRequirements?.arch || undefined,
    workingDir: input.workingDir || undefined,
    buildArgs: input.buildArgs ?? {},
    contextDigest: contextDigest === undefined ? undefined : parseLibraryHash(contextDigest),
  }
}

function textOf(req: Request): Buffer {
  return Buffer.isBuffer(req.body) ? req.body : Buffer.alloc(0)
}

function timeOf(req: Request, name: string): Date | null {
  const given = queryOf(req, name)
  if (given === undefined) return null
  const parsed = time.safeParse(given)
  if (parsed.success) return new Date(parsed.data)
  throw invalid('request', `"${name}" is a time such as 2026-01-31T12:00:00Z.`)
}

function requirePool(name: string): void {
  if (name !== 'default') throw notFound('builder', 'There is one pool of builders: "default".')
}

async function drained(res: NodeJS.WritableStream): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = (): void => {
      res.off('drain', done)
      res.off('close', done)
      resolve()
    }
    res.once('drain', done)
    res.once('close', done)
  })
}
