/**
 * This endpoint's own library and registry, as a build sees them: behind the door, without TLS and
 * without a credential, for reading images and nothing else. The token is added out here.
 */
import { request as requestPlain } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { request as requestSecure } from 'node:https'
import { pipeline } from 'node:stream/promises'

export interface EndpointOptions {
  readonly libraryUrl: string
  readonly registryUrl: string
  /** Where this host reaches them. */
  readonly libraryVia: string
  readonly registryVia: string
  readonly pullToken: string | undefined
  readonly ca: string | undefined
  /** The origin by which the build speaks to it. */
  readonly inside: string
}

const idleMs = 120_000
const forwarded = ['accept', 'accept-encoding', 'range', 'if-range', 'user-agent']
const returned = [
  'content-type',
  'content-length',
  'content-range',
  'content-encoding',
  'accept-ranges',
  'etag',
  'last-modified',
  'link',
  'docker-content-digest',
  'docker-distribution-api-version',
]

type Service = 'library' | 'registry'

/** What pulling needs, service by service (protocol of the library; distribution-spec, "pull"). */
const readable: readonly (readonly [Service, RegExp])[] = [
  ['library', /^\/version$/],
  ['library', /^\/v1\/images\/[^?]+$/],
  ['library', /^\/v1\/imagefile\/[^?]+$/],
  ['library', /^\/dl\/[^?]+$/],
  ['library', /^\/pks\/lookup$/],
  ['registry', /^\/v2\/$/],
  ['registry', /^\/v2\/[a-z0-9._/-]+\/manifests\/[A-Za-z0-9_][A-Za-z0-9._:-]*$/],
  ['registry', /^\/v2\/[a-z0-9._/-]+\/blobs\/sha(?:256|512):[0-9a-f]+$/],
  ['registry', /^\/v2\/[a-z0-9._/-]+\/referrers\/sha(?:256|512):[0-9a-f]+$/],
  ['registry', /^\/v2\/[a-z0-9._/-]+\/tags\/list$/],
]

export function serveEndpoint(
  options: EndpointOptions,
): (req: IncomingMessage, res: ServerResponse) => Promise<void> {
  const { libraryUrl, registryUrl, libraryVia, registryVia } = options
  const origins = [libraryUrl, registryUrl, libraryVia, registryVia].map(
    (url) => new URL(url).origin,
  )

  return async (req, res) => {
    const [path = '', query] = (req.url ?? '').split(/\?(.*)/s)
    if (path === '/assets/config/config.prod.json') return discovery(res, options.inside)
    const service = serviceFor(req.method, path)
    if (service === undefined) {
      res.writeHead(403, { 'content-type': 'text/plain' })
      res.end('Only pulling images is possible from within a build.\n')
      return
    }
    const base = service === 'library' ? libraryVia : registryVia
    const target = new URL(
      base.replace(/\/+$/, '') + path + (query === undefined ? '' : `?${query}`),
    )
    const answer = await ask(target, req, options)
    const location = answer.headers.location
    const place = location === undefined ? undefined : new URL(location, target)
    const isOwn = place !== undefined && origins.includes(place.origin)
    res.writeHead(answer.statusCode ?? 502, {
      ...pick(answer.headers, returned),
      ...(place === undefined
        ? {}
        : { location: isOwn ? options.inside + place.pathname + place.search : place.href }),
    })
    await pipeline(answer, res)
  }
}

function serviceFor(method: string | undefined, path: string): Service | undefined {
  if (method !== 'GET' && method !== 'HEAD') return undefined
  const decoded = decoding(path)
  if (decoded === undefined || /\/\.{1,2}(?:\/|$)|\/\/|[\\\0]/.test(decoded)) return undefined
  return readable.find(([, pattern]) => pattern.test(path))?.[0]
}

function decoding(path: string): string | undefined {
  try {
    return decodeURIComponent(path)
  } catch {
    return undefined
  }
}

async function ask(
  target: URL,
  req: IncomingMessage,
  { pullToken, ca }: EndpointOptions,
): Promise<IncomingMessage> {
  const headers = {
    ...pick(req.headers, forwarded),
    ...(pullToken === undefined ? {} : { authorization: `Bearer ${pullToken}` }),
  }
  const send = target.protocol === 'https:' ? requestSecure : requestPlain
  return await new Promise((resolve, reject) => {
    const request = send(
      target,
      { method: req.method, headers, timeout: idleMs, ...(ca === undefined ? {} : { ca }) },
      resolve,
    )
    request.on('timeout', () => request.destroy(new Error('the endpoint does not answer')))
    request.on('error', reject)
    request.end()
  })
}

/** Every service is here; what is not served answers so. */
function discovery(res: ServerResponse, inside: string): void {
  const services = ['libraryAPI', 'keystoreAPI', 'tokenAPI', 'builderAPI', 'consentAPI']
  const body = Object.fromEntries(services.map((service) => [service, { uri: inside }]))
  res.writeHead(200, { 'content-type': 'application/json' })
  res.end(JSON.stringify(body))
}

function pick(
  headers: IncomingMessage['headers'],
  names: readonly string[],
): Record<string, string | string[]> {
  const found: Record<string, string | string[]> = {}
  for (const name of names) {
    const value = headers[name]
    if (value !== undefined) found[name] = value
  }
  return found
}
