/**
 * The OCI Distribution API over the content model, after distribution-spec 1.1: pull (end-2, 3),
 * push (end-7), content discovery (end-8, 12), content management (end-9, 10) and the catalog of
 * Docker's registry. Blob uploads are in upload-routes.ts.
 */
import type { Request, Response, Router } from 'express'

import type { RegistryTokens } from '../accounts/registry-tokens.ts'
import type { Tokens } from '../accounts/tokens.ts'
import type { Artifacts } from '../content/artifacts.ts'
import { blobPath } from '../content/blob-path.ts'
import type { BlobUploads } from '../content/blob-uploads.ts'
import { maxManifestBytes } from '../content/manifest-document.ts'
import type { ManifestReference, ReferrerRow } from '../content/manifests.ts'
import { parseDigest, parseOciRepository, parseTag } from '../content/names.ts'
import type { NameDefaults, RepositoryName, Tag } from '../content/names.ts'
import { Failure, invalid, notFound, unauthenticated } from '../failure.ts'
import { contentLength, takeBody } from '../http/body.ts'
import { queryOf } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'
import { sendBlob } from '../http/send-blob.ts'
import type { ImageChecks } from '../keystore/image-checks.ts'
import type { Log } from '../log.ts'
import { callerFor, callerOf, catalogReader, identifyCaller } from './access.ts'
import { pageOf } from './page.ts'
import { route } from './paths.ts'
import { isInUse, ociErrors } from './problem.ts'
import type { Challenge } from './problem.ts'
import { uploadRoutes } from './upload-routes.ts'

export interface OciRouteParts {
  readonly artifacts: Artifacts
  readonly blobUploads: BlobUploads
  readonly imageChecks: ImageChecks
  readonly tokens: Tokens
  readonly registryTokens: RegistryTokens
  readonly defaults: NameDefaults
  readonly anonymousPull: boolean
  readonly registryUrl: string
  readonly challenge: Challenge
  readonly log: Log
}

const maxTags = 64
const indexType = 'application/vnd.oci.image.index.v1+json'

export function ociRoutes(parts: OciRouteParts): Router {
  const { artifacts, defaults } = parts
  const router = newRouter()
  const isOurs =
    /^\/v2(?:\/?$|\/_catalog$|\/(?!imagefile\/|tags\/).+\/(?:blobs|manifests|tags|referrers)\/)/
  const identify = identifyCaller(parts)
  router.use((req, res, next) => {
    if (!isOurs.test(req.path)) return next('router')
    res.set('Docker-Distribution-Api-Version', 'registry/2.0')
    return identify(req, res, next)
  })

  // end-1: also how clients find out where to sign in.
  router.get(/^\/v2\/?$/, (req, res) => {
    if (!callerOf(req).hasCredential) {
      throw unauthenticated('Sign in with your user name and an access token, or as nobody.')
    }
    res.json({})
  })

  router.get('/v2/_catalog', async (req, res) => {
    const actor = catalogReader(req, parts)
    const page = pageOf(req)
    const found = await artifacts.listRepositories(actor, { ...page, limit: page.limit + 1 })
    res.json({ repositories: page.cut(res, found, '/v2/_catalog') })
  })

  // end-8a, 8b
  router.get(route('tags/list'), async (req, res) => {
    const name = nameOf(req)
    const page = pageOf(req)
    const actor = callerFor(req, name, 'pull', parts)
    const found = await artifacts.listTags(actor, name, { ...page, limit: page.limit + 1 })
    const asked = String(req.params[0])
    res.json({ name: asked, tags: page.cut(res, found, `/v2/${asked}/tags/list`) })
  })

  // end-12a, 12b
  router.get(route('referrers/([^/]+)'), async (req, res) => {
    const name = nameOf(req)
    const digest = parseDigest(String(req.params[1]))
    const actor = callerFor(req, name, 'pull', parts)
    const artifactType = queryOf(req, 'artifactType')
    const all = await artifacts.listReferrers(actor, name, digest)
    const wanted = all.filter(
      (one) => artifactType === undefined || one.artifactType === artifactType,
    )
    if (artifactType !== undefined) res.set('OCI-Filters-Applied', 'artifactType')
    const index = { schemaVersion: 2, mediaType: indexType, manifests: wanted.map(referrerJson) }
    res.set('Content-Type', indexType).end(JSON.stringify(index))
  })

  // end-3; GET answers HEAD as well
  router.get(route('manifests/([^/]+)'), async (req, res) => {
    const name = nameOf(req)
    const actor = callerFor(req, name, 'pull', parts)
    const manifest = await artifacts.getManifest(actor, name, wantedReference(req, name))
    if (req.method === 'GET') artifacts.countDownload(manifest)
    res.set({
      'Content-Type': manifest.mediaType,
      'Content-Length': String(manifest.bytes.length),
      'Docker-Content-Digest': manifest.digest,
      ETag: `"${manifest.digest}"`,
    })
    res.end(req.method === 'HEAD' ? undefined : manifest.bytes)
  })

  // end-7a, 7b
  router.put(route('manifests/([^/]+)'), async (req, res) => {
    const name = nameOf(req)
    const reference = referenceOf(String(req.params[1]))
    const actor = callerFor(req, name, 'push', parts)
    const bytes = await readManifest(req, res)
    const type = req.get('content-type')
    const tags = reference.kind === 'digest' ? tagsOf(req) : []
    const pushed = { bytes, contentType: type, tags }
    const { digest, subject, sif } = await artifacts.putManifest(actor, name, reference, pushed)
    if (sif !== undefined) await parts.imageChecks.arrived(sif)
    if (tags.length > 0) res.set('OCI-Tag', tags.join(', '))
    if (subject !== undefined) res.set('OCI-Subject', subject)
    res.status(201).set({
      Location: `${parts.registryUrl}/v2/${String(req.params[0])}/manifests/${digest}`,
      'Docker-Content-Digest': digest,
      'Content-Length': '0',
    })
    res.end()
  })

  // end-9
  router.delete(route('manifests/([^/]+)'), async (req, res) => {
    const name = nameOf(req)
    const actor = callerFor(req, name, 'delete', parts)
    await artifacts.deleteManifest(actor, name, wantedReference(req, name))
    res.status(202).end()
  })

  router.use(uploadRoutes(parts))

  // end-2; GET answers HEAD as well
  router.get(route('blobs/([^/]+)'), async (req, res) => {
    const name = nameOf(req)
    const digest = parseDigest(String(req.params[1]))
    const actor = callerFor(req, name, 'pull', parts)
    const blob =
      req.method === 'HEAD'
        ? await artifacts.findBlob(actor, name, digest)
        : await artifacts.readBlob(actor, name, digest)
    const headers = { 'Docker-Content-Digest': digest }
    if (blob.kind === 'inline') {
      res.set({ ...headers, 'Content-Length': String(blob.bytes.length) })
      res.set('Content-Type', 'application/octet-stream')
      res.end(req.method === 'HEAD' ? undefined : blob.bytes)
      return
    }
    const file = await artifacts.openBlob(actor, name, digest, blob.size)
    const stored = blobPath(digest)
    await sendBlob(req, res, file, { size: blob.size, etag: digest, stored, headers })
  })

  // end-10
  router.delete(route('blobs/([^/]+)'), async (req, res) => {
    const name = nameOf(req)
    const digest = parseDigest(String(req.params[1]))
    const actor = callerFor(req, name, 'delete', parts)
    try {
      await artifacts.deleteBlob(actor, name, digest)
    } catch (error) {
      if (isInUse(error)) res.set('Allow', 'GET, HEAD')
      throw error
    }
    res.status(202).end()
  })

  router.use((_req, _res) => {
    throw notFound('request', 'The registry has nothing at this address.')
  })
  router.use(ociErrors(parts.challenge, parts.log))
  return router

  function nameOf(req: Request): RepositoryName {
    return parseOciRepository(String(req.params[0]), defaults)
  }
}

function referenceOf(text: string): ManifestReference {
  return text.includes(':')
    ? { kind: 'digest', digest: parseDigest(text) }
    : { kind: 'tag', tag: parseTag(text) }
}

/** `?tag=a&tag=b` of a push by digest. */
function tagsOf(req: Request): Tag[] {
  const texts = new URL(req.url, 'http://x').searchParams.getAll('tag')
  if (texts.length > maxTags) throw invalid('tag', `At most ${maxTags} tags go with a manifest.`)
  return [...new Set(texts)].map(parseTag)
}

/** What cannot be a tag is one that is not there. */
function wantedReference(req: Request, name: RepositoryName): ManifestReference {
  const text = String(req.params[1])
  try {
    return referenceOf(text)
  } catch (error) {
    if (!(error instanceof Failure) || error.subject !== 'tag') throw error
    throw notFound('manifest', `There is no such manifest in ${name.path}.`)
  }
}

async function readManifest(req: Request, res: Response): Promise<Buffer> {
  const length = contentLength(req)
  if (length !== undefined && length > maxManifestBytes) throw tooLarge()
  const pieces: Buffer[] = []
  let size = 0
  for await (const piece of takeBody(req, res)) {
    size += piece.length
    if (size > maxManifestBytes) throw tooLarge()
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}

function tooLarge(): Failure {
  return new Failure('too-large', 'manifest', 'A manifest has at most 4 MiB.')
}

function referrerJson(one: ReferrerRow): object {
  return {
    mediaType: one.mediaType,
    digest: one.digest,
    size: one.size,
    ...(one.artifactType === null ? {} : { artifactType: one.artifactType }),
    ...(Object.keys(one.annotations).length === 0 ? {} : { annotations: one.annotations }),
  }
}
