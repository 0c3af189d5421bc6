/** Blob uploads: distribution-spec end-4a, 4b, 5, 6, 11, 13, 14. */
import type { Request, Response, Router } from 'express'

import type { BlobUploads, Chunk } from '../content/blob-uploads.ts'
import { parseDigest, parseOciRepository } from '../content/names.ts'
import type { NameDefaults, RepositoryName } from '../content/names.ts'
import { Failure, invalid } from '../failure.ts'
import { contentLength, takeBody } from '../http/body.ts'
import { queryOf } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'
import { callerFor, readerFor } from './access.ts'
import { route } from './paths.ts'

export interface UploadRouteParts {
  readonly blobUploads: BlobUploads
  readonly defaults: NameDefaults
  readonly anonymousPull: boolean
  /** Origin of the registry: some clients resolve relative addresses wrongly (protocol.md 6.2). */
  readonly registryUrl: string
}

export function uploadRoutes(parts: UploadRouteParts): Router {
  const { blobUploads, defaults, registryUrl } = parts
  const router = newRouter()

  // end-4a, 4b, 11
  router.post(route('blobs/uploads/?'), async (req, res) => {
    const name = nameOf(req)
    const actor = callerFor(req, name, 'push', parts)
    const mount = queryOf(req, 'mount')
    const from = queryOf(req, 'from')
    if (mount !== undefined) {
      const digest = parseDigest(mount)
      const source = from === undefined ? undefined : parseOciRepository(from, defaults)
      const where = { from: source, reader: readerFor(req, source) }
      if (await blobUploads.mount(actor, name, digest, where)) return created(req, res, digest)
    }
    const digest = queryOf(req, 'digest')
    const wanted = digest === undefined ? undefined : parseDigest(digest)
    const id = await blobUploads.open(actor, name)
    if (wanted === undefined) return progress(req, res.status(202), id, 0)
    try {
      await blobUploads.finish(actor, name, id, wanted, chunkOf(req, res))
    } catch (error) {
      // Nobody knows the session's address: it ends here.
      await blobUploads.cancel(actor, name, id).catch(() => {})
      throw error
    }
    created(req, res, wanted)
  })

  // end-13
  router.get(route('blobs/uploads/([0-9a-f]{32})'), async (req, res) => {
    const name = nameOf(req)
    const actor = callerFor(req, name, 'push', parts)
    const id = uploadOf(req)
    progress(req, res.status(204), id, await blobUploads.offset(actor, name, id))
  })

  // end-5
  router.patch(route('blobs/uploads/([0-9a-f]{32})'), async (req, res) => {
    const name = nameOf(req)
    const actor = callerFor(req, name, 'push', parts)
    const id = uploadOf(req)
    try {
      const offset = await blobUploads.append(actor, name, id, chunkOf(req, res))
      progress(req, res.status(202), id, offset)
    } catch (error) {
      await showOffset(error, req, res, async () => await blobUploads.offset(actor, name, id))
      throw error
    }
  })

  // end-6
  router.put(route('blobs/uploads/([0-9a-f]{32})'), async (req, res) => {
    const name = nameOf(req)
    const actor = callerFor(req, name, 'push', parts)
    const id = uploadOf(req)
    const digest = parseDigest(queryOf(req, 'digest') ?? '')
    const chunk = contentLength(req) === 0 || isBodiless(req) ? undefined : chunkOf(req, res)
    try {
      await blobUploads.finish(actor, name, id, digest, chunk)
    } catch (error) {
      await showOffset(error, req, res, async () => await blobUploads.offset(actor, name, id))
      throw error
    }
    created(req, res, digest)
  })

  // end-14
  router.delete(route('blobs/uploads/([0-9a-f]{32})'), async (req, res) => {
    const name = nameOf(req)
    const actor = callerFor(req, name, 'push', parts)
    await blobUploads.cancel(actor, name, uploadOf(req))
    res.status(204).end()
  })

  return router

  function nameOf(req: Request): RepositoryName {
    return parseOciRepository(String(req.params[0]), defaults)
  }

  function progress(req: Request, res: Response, id: string, offset: number): void {
    res.set({
      Location: `${registryUrl}/v2/${String(req.params[0])}/blobs/uploads/${id}`,
      Range: `0-${Math.max(0, offset - 1)}`,
      'Docker-Upload-UUID': id,
      'Content-Length': '0',
    })
    res.end()
  }

  function created(req: Request, res: Response, digest: string): void {
    res.status(201).set({
      Location: `${registryUrl}/v2/${String(req.params[0])}/blobs/${digest}`,
      'Docker-Content-Digest': digest,
      'Content-Length': '0',
    })
    res.end()
  }

  /** A chunk that is out of order is answered with where to go on. */
  async function showOffset(
    error: unknown,
    req: Request,
    res: Response,
    offset: () => Promise<number>,
  ): Promise<void> {
    if (!(error instanceof Failure) || error.kind !== 'range') return
    const at = await offset().catch(() => 0)
    res.set({
      Location: `${registryUrl}/v2/${String(req.params[0])}/blobs/uploads/${uploadOf(req)}`,
      Range: `0-${Math.max(0, at - 1)}`,
    })
  }
}

function uploadOf(req: Request): string {
  return String(req.params[1])
}

function isBodiless(req: Request): boolean {
  return req.get('content-length') === undefined && req.get('transfer-encoding') === undefined
}

/** The socket's idle time-out goes on while bytes arrive, and stops while they are hashed and flushed. */
function chunkOf(req: Request, res: Response): Chunk {
  const length = contentLength(req)
  const range = rangeOf(req)
  if (length !== undefined && range && range.last - range.first + 1 !== length) {
    throw invalid('upload', 'The Content-Range and the Content-Length do not agree.')
  }
  return { source: takeBody(req, res), length, range }
}

/** `0-5242879` of the library's client, `bytes 0-99/*` of others. */
function rangeOf(req: Request): Chunk['range'] {
  const text = req.get('content-range')
  if (text === undefined) return undefined
  const match = /^(?:bytes[ =])?(\d{1,15})-(\d{1,15})(?:\/(?:\d+|\*))?$/.exec(text.trim())
  const [first, last] = [Number(match?.[1]), Number(match?.[2])]
  if (match && last >= first) return { first, last }
  throw new Failure('range', 'upload', 'The Content-Range is not one of a chunk: first-last.')
}
