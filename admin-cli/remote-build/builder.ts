/** The builder and the library of an endpoint, as the stock build client calls them (protocol.md 8). */
import { z } from 'zod'

import { exchange, refusalOf } from '../endpoint.ts'
import type { EndpointReply } from '../endpoint.ts'
import { CommandError } from '../exit.ts'
import type { ActiveRemote } from '../remotes.ts'
import type { PackedContext } from './context.ts'
import type { Progress } from './progress.ts'
import { streamRequest, textOf } from './stream-request.ts'

const address = z.looseObject({ uri: z.url({ protocol: /^https?$/ }) })
const discovery = z.looseObject({ libraryAPI: address, builderAPI: address })

const build = z.looseObject({
  id: z.string().regex(/^[0-9a-f]{1,64}$/),
  libraryRef: z.string(),
  libraryURL: z.string(),
  isComplete: z.boolean(),
  imageSize: z.number().default(0),
  imageChecksum: z.string().default(''),
  state: z.string().default(''),
  reason: z.string().nullish(),
  arch: z.string().default(''),
  submitTime: z.string().default(''),
  startTime: z.string().default(''),
  completeTime: z.string().default(''),
  createdByName: z.string().default(''),
  queue: z
    .looseObject({ position: z.number(), waiting: z.number(), reason: z.string() })
    .optional(),
})
export type Build = z.infer<typeof build>
const one = z.looseObject({ data: build })
const many = z.looseObject({ data: z.array(build).nullish() })

export interface Submission {
  readonly definition: Buffer
  /** Empty: the server finds a place that it keeps for a day. */
  readonly libraryRef: string
  readonly libraryUrl: string | undefined
  readonly arch: string
  readonly workingDir: string
  readonly contextDigest: string | undefined
  readonly buildArgs: Readonly<Record<string, string>>
}

export class Builder {
  readonly library: URL
  readonly token: string
  readonly #base: URL

  private constructor(base: URL, library: URL, token: string) {
    this.#base = base
    this.library = library
    this.token = token
  }

  static async discover(remote: ActiveRemote): Promise<Builder> {
    if (remote.token === undefined) {
      throw new CommandError('Sign in first, with "remote login": builds are made for an account.')
    }
    const reply = await exchange(remote.url, '/assets/config/config.prod.json')
    const parsed = discovery.safeParse(reply.json)
    if (reply.status !== 200 || !parsed.success) {
      throw new CommandError(`${remote.url.origin} answers, but it has no builder.`)
    }
    const { builderAPI, libraryAPI } = parsed.data
    return new Builder(new URL(builderAPI.uri), new URL(libraryAPI.uri), remote.token)
  }

  async submit(submission: Submission): Promise<Build> {
    const { definition, libraryUrl, arch, contextDigest } = submission
    const { libraryRef, workingDir, buildArgs } = submission
    const body = JSON.stringify({
      definitionRaw: definition.toString('base64'),
      libraryRef,
      ...(libraryUrl === undefined ? {} : { libraryURL: libraryUrl }),
      builderRequirements: { arch },
      ...(contextDigest === undefined ? {} : { contextDigest }),
      workingDir,
      buildArgs,
    })
    return this.#build(await this.#send('POST', '/v1/build', body))
  }

  async find(id: string): Promise<Build> {
    return this.#build(await this.#send('GET', `/v1/build/${encodeURIComponent(id)}`))
  }

  async list(): Promise<readonly Build[]> {
    const parsed = many.safeParse((await this.#send('GET', '/v1/build')).json)
    if (parsed.success) return parsed.data.data ?? []
    throw this.#odd()
  }

  async cancel(id: string): Promise<void> {
    await this.#send('PUT', `/v1/build/${encodeURIComponent(id)}/_cancel`)
  }

  /** Where the output comes from, and the header that says who asks. */
  outputAddress(id: string, offset: number): { readonly url: URL; readonly authorization: string } {
    const url = this.#url(`/v1/build-ws/${encodeURIComponent(id)}`)
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    url.searchParams.set('offset', String(offset))
    return { url, authorization: `BEARER ${this.token}` }
  }

  /** Sends the files, unless the server has them from this account. */
  async sendContext(context: PackedContext, progress: Progress): Promise<void> {
    const { digest, size } = context
    const offer = await this.#send('POST', '/v1/build-context', JSON.stringify({ size, digest }))
    const place = offer.headers.get('location')
    if (place === null) return
    const url = new URL(place, this.#url('/'))
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await putContext(url, context, progress)
      } catch (error) {
        if (error instanceof CommandError || attempt === 3) throw connectionLost(url, error)
      }
    }
  }

  /** It is not needed any more; the server drops it by itself in a day. */
  async dropContext(digest: string): Promise<void> {
    await this.#send('DELETE', `/v1/build-context/${digest}`)
  }

  #build(reply: EndpointReply): Build {
    const parsed = one.safeParse(reply.json)
    if (parsed.success) return parsed.data.data
    throw this.#odd()
  }

  async #send(method: string, path: string, body?: string): Promise<EndpointReply> {
    const headers = {
      authorization: `Bearer ${this.token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    }
    const init = { method, headers, ...(body === undefined ? {} : { body }) }
    const reply = await exchange(this.#base, this.#url(path).pathname, init)
    if (reply.status >= 200 && reply.status < 300) return reply
    throw new RefusedError(reply.status, refusalOf(reply))
  }

  #url(path: string): URL {
    return new URL(`${this.#base.pathname.replace(/\/+$/, '')}${path}`, this.#base)
  }

  #odd(): CommandError {
    return new CommandError(`${this.#base.origin} does not answer as a builder does.`)
  }
}

/** The server understood, and said no. */
export class RefusedError extends CommandError {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

async function putContext(url: URL, context: PackedContext, progress: Progress): Promise<void> {
  const { file, size } = context
  const body = file.createReadStream({ start: 0, end: size - 1, autoClose: false })
  let sent = 0
  body.on('data', (chunk) => {
    sent += chunk.length
    progress.bytes('Sending files:', sent, size)
  })
  // The address is the right; the token is not for everybody who may be behind it.
  const headers = { 'content-type': 'application/octet-stream', 'content-length': String(size) }
  const reply = await streamRequest(url, { method: 'PUT', headers, body })
  const text = await textOf(reply)
  progress.clear()
  const status = reply.statusCode ?? 0
  if (status >= 200 && status < 300) return
  throw new CommandError(reasonIn(text) ?? `The files were refused with HTTP status ${status}.`)
}

function reasonIn(text: string): string | undefined {
  try {
    return refusalOf({ status: 0, headers: new Headers(), json: JSON.parse(text) as unknown })
  } catch {
    return undefined
  }
}

function connectionLost(url: URL, error: unknown): CommandError {
  if (error instanceof CommandError) return error
  const why = error instanceof Error ? error.message : String(error)
  return new CommandError(`The connection to ${url.host} was lost (${why}): try again later.`)
}
