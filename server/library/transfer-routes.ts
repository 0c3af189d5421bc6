/**
 * Images in and out of the library (protocol.md 5.5, 5.6): the v1 upload in one request, the v2
 * upload in one piece or in parts through capability URLs, and the download as one stream or as a
 * redirect that clients follow in parallel ranges.
 */
import type { Request, Router } from 'express'
import { z } from 'zod'

import type { Capabilities } from '../capability.ts'
import { blobPath } from '../content/blob-path.ts'
import type { ImageRow } from '../content/images.ts'
import { parseImageReference } from '../content/names.ts'
import type { Digest, NameDefaults, RepositoryName } from '../content/names.ts'
import type { Registry } from '../content/registry.ts'
import type { Uploads } from '../content/uploads.ts'
import { Failure, invalid } from '../failure.ts'
import { actorOf } from '../http/actor.ts'
import { contentLength, takeBody } from '../http/body.ts'
import { jsonBody, parse, splat } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'
import { sendBlob } from '../http/send-blob.ts'
import type { ImageChecks } from '../keystore/image-checks.ts'
import { wantedArch } from './query.ts'

export interface LibraryTransferParts {
  readonly registry: Registry
  readonly uploads: Uploads
  readonly imageChecks: ImageChecks
  readonly capabilities: Capabilities
  /** Origin of the library service, for addresses in replies. */
  readonly libraryUrl: string
  readonly defaults: NameDefaults
  readonly redirectFromBytes: number
}

const size = z.number().int().positive().max(Number.MAX_SAFE_INTEGER)
// The hashes that clients add (md5sum, sha256sum) say less than the one of the announced image.
const startWhole = z.object({ filesize: size })
const startParts = z.object({ filesize: size })
const askPart = z.object({ uploadID: z.string(), partNumber: z.number().int() })
const finishParts = z.object({
  uploadID: z.string(),
  completedParts: z
    .array(z.object({ partNumber: z.number().int(), token: z.string() }))
    .max(10_000),
})
const abortParts = z.object({ uploadID: z.string() })

export function libraryTransferRoutes(parts: LibraryTransferParts): Router {
  const { registry, uploads, imageChecks, capabilities, libraryUrl, defaults, redirectFromBytes } =
    parts
  const router = newRouter()
  const body = jsonBody()
  const longBody = jsonBody('2mb') // 10,000 parts and their ETags

  const imageOf = (req: Request): { name: RepositoryName; digest: Digest } => {
    const reference = parseImageReference(splat(req, 'image'), defaults)
    if (reference.kind === 'digest') {
      return { name: reference.repository, digest: reference.digest }
    }
    throw invalid(
      'image',
      'An upload needs the ID of an image: <container>:sha256.<64 hex digits>.',
    )
  }

  router.put('/v2/imagefile/*image/_complete', body, async (req, res) => {
    const { name, digest } = imageOf(req)
    req.socket.setTimeout(0) // reading and flushing a large file takes as long as it takes
    res.json({ data: await receipt(await uploads.completeWhole(actorOf(req), name, digest)) })
  })

  router.post('/v2/imagefile/*image/_multipart', body, async (req, res) => {
    const { name, digest } = imageOf(req)
    const { filesize } = parse(startParts, req.body)
    const upload = await uploads.open(actorOf(req), name, digest, filesize, { parts: true })
    res.json({
      data: {
        uploadID: upload.id,
        totalParts: upload.totalParts,
        partSize: upload.partBytes,
        // A text, not a boolean. Without S3 the client need not hash each part beforehand.
        options: { s3compliant: 'false' },
      },
    })
  })

  router.put('/v2/imagefile/*image/_multipart', body, async (req, res) => {
    const { name, digest } = imageOf(req)
    const { uploadID, partNumber } = parse(askPart, req.body)
    await uploads.requirePart(actorOf(req), name, digest, uploadID, partNumber)
    const path = capabilities.uploadPath({ upload: uploadID, part: partNumber })
    res.json({ data: { presignedURL: libraryUrl + path } })
  })

  router.put('/v2/imagefile/*image/_multipart_complete', longBody, async (req, res) => {
    const { name, digest } = imageOf(req)
    const input = parse(finishParts, req.body)
    const completed = input.completedParts.map(({ partNumber, token }) => ({
      number: partNumber,
      etag: token,
    }))
    req.socket.setTimeout(0)
    const image = await uploads.completeParts(actorOf(req), name, digest, input.uploadID, completed)
    res.json({ data: await receipt(image) })
  })

  router.put('/v2/imagefile/*image/_multipart_abort', body, async (req, res) => {
    const { name, digest } = imageOf(req)
    const { uploadID } = parse(abortParts, req.body)
    await uploads.abort(actorOf(req), name, digest, uploadID)
    res.json({ data: {} })
  })

  router.post('/v2/imagefile/*image', body, async (req, res) => {
    const { name, digest } = imageOf(req)
    const { filesize } = parse(startWhole, req.body)
    const upload = await uploads.open(actorOf(req), name, digest, filesize, { parts: false })
    const path = capabilities.uploadPath({ upload: upload.id, part: 0 })
    res.json({ data: { uploadURL: libraryUrl + path } })
  })

  // Clients 3.0–3.2: the file is the body.
  router.post('/v1/imagefile/*image', async (req, res) => {
    const { name, digest } = imageOf(req)
    const length = contentLength(req)
    if (length === undefined) {
      throw new Failure('length-required', 'upload', 'Send the file with a Content-Length.')
    }
    const actor = actorOf(req)
    const upload = await uploads.open(actor, name, digest, length, { parts: false })
    await uploads.receiveWhole(upload.id, takeBody(req, res), length)
    req.socket.setTimeout(0)
    res.json({ data: await receipt(await uploads.completeWhole(actor, name, digest)) })
  })

  router.get('/v1/imagefile/*image', async (req, res) => {
    const reference = parseImageReference(splat(req, 'image'), defaults)
    const [actor, arch] = [actorOf(req), wantedArch(req)]
    const find = async () => {
      const {
        digest,
        sizeBytes: size,
        repositoryId,
        manifestDigest,
      } = await registry.resolve(actor, reference, arch)
      const file = size < redirectFromBytes ? await registry.openBlob(digest, size) : undefined
      return { digest, size, repositoryId, manifestDigest, file }
    }
    const image = await find().catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error
      // Deleted and swept since it was found: the second time that is said.
      return await find()
    })
    const { digest, size, file } = image
    if (req.method === 'GET') registry.countDownload(image)
    if (file !== undefined) {
      const stored = blobPath(digest)
      return await sendBlob(req, res, file, { size, etag: digest, stored })
    }
    // The client fetches parallel ranges of 5 MiB from there (scs-library-client, downloader.go).
    res.redirect(303, libraryUrl + capabilities.downloadPath({ digest, size }))
  })

  /** What the client prints after a push: the use of the quota, and the container's page. */
  async function receipt(image: ImageRow): Promise<object> {
    await imageChecks.arrived(image.digest)
    const entity = await registry.getEntity(image.entity)
    return {
      quota: { quotaTotal: entity.quotaBytes, quotaUsage: entity.usedBytes },
      containerUrl: `library/${image.path}`,
    }
  }

  return router
}
