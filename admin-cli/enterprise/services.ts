/** The services of the active endpoint, as the enterprise plugin calls them (enterprise.md 2, 3). */
import { z } from 'zod'

import { exchange } from '../endpoint.ts'
import type { EndpointReply } from '../endpoint.ts'
import { CommandError } from '../exit.ts'
import { printable } from '../printable.ts'
import type { ActiveRemote } from '../remotes.ts'
import { user } from './objects.ts'
import type { User } from './objects.ts'

const origin = z.url({ protocol: /^https?$/ })
const address = z.looseObject({ uri: origin })
const discovery = z.looseObject({
  libraryAPI: address,
  builderAPI: address.extend({ managerUri: origin }),
  keystoreAPI: address,
  consentAPI: address,
  tokenAPI: address,
})
const version = z.object({ data: z.object({ version: z.string() }) })

export type ServiceName =
  | 'library'
  | 'build server'
  | 'build manager'
  | 'key service'
  | 'consent service'
  | 'token service'

/** From 30 days before its end the server says so with each reply to a token. */
export type ExpiryNotice = (expiresAt: Date) => void

export class Services {
  readonly #urls: Readonly<Record<ServiceName, URL>>
  readonly #token: string | undefined
  readonly #notice: ExpiryNotice
  readonly #names = new Map<string, string>()

  private constructor(
    urls: Readonly<Record<ServiceName, URL>>,
    token: string | undefined,
    notice: ExpiryNotice,
  ) {
    this.#urls = urls
    this.#token = token
    this.#notice = notice
  }

  static async discover(remote: ActiveRemote, notice: ExpiryNotice): Promise<Services> {
    const reply = await exchange(remote.url, '/assets/config/config.prod.json')
    const parsed = discovery.safeParse(reply.json)
    if (reply.status !== 200 || !parsed.success) {
      throw new CommandError(`${remote.url.origin} answers, but it is no such endpoint.`)
    }
    const { libraryAPI, builderAPI, keystoreAPI, consentAPI, tokenAPI } = parsed.data
    const urls = {
      library: new URL(libraryAPI.uri),
      'build server': new URL(builderAPI.uri),
      'build manager': new URL(builderAPI.managerUri),
      'key service': new URL(keystoreAPI.uri),
      'consent service': new URL(consentAPI.uri),
      'token service': new URL(tokenAPI.uri),
    }
    return new Services(urls, remote.token, notice)
  }

  get names(): readonly ServiceName[] {
    return Object.keys(this.#urls) as ServiceName[]
  }

  get hasToken(): boolean {
    return this.#token !== undefined && this.#token !== ''
  }

  /** The account that the token speaks for, read out of it; empty where it is none. */
  get accountId(): string {
    const payload = this.#token?.split('.')[1]
    if (payload === undefined) return ''
    try {
      const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString())
      return z.looseObject({ sub: z.string() }).parse(claims).sub
    } catch {
      return ''
    }
  }

  async version(service: ServiceName): Promise<string> {
    return (await this.get(service, '/version', version)).data.version
  }

  /** The JSON of a 200, which must have this shape. */
  async get<T>(service: ServiceName, path: string, shape: z.ZodType<T>): Promise<T> {
    const parsed = shape.safeParse((await this.#succeed(service, 'GET', path)).json)
    if (parsed.success) return parsed.data
    const { origin } = this.#urls[service]
    throw new CommandError(
      `The ${service} at ${origin} answers ${wordsOf('GET', path)} with something else than it should: is the address right?`,
    )
  }

  /** Ends one token by its ID, or with `all?sub=` those of an account. */
  async revoke(path: string): Promise<void> {
    await this.#succeed('token service', 'DELETE', `/v1/token/${path}`)
  }

  async isTokenLive(): Promise<boolean> {
    return (await this.#send('token service', 'GET', '/v1/token-status')).status === 200
  }

  /** IDs of accounts; a name that is no ID is looked up in the list of all, which is for administrators. */
  async accountIds(refs: readonly string[]): Promise<string[]> {
    if (refs.every((ref) => isObjectId(ref))) return [...refs]
    const everybody = z.object({ data: z.array(user) })
    const { data: all } = await this.get('consent service', '/v1/admin/users', everybody)
    return refs.map((ref) => {
      const found = all.find(({ id, username }) => id === ref || username === ref)
      if (found === undefined) throw new CommandError(`"${printable(ref)}" - unknown user`)
      return found.id
    })
  }

  async user(id: string): Promise<User> {
    const path = `/v1/admin/users/${encode(id)}`
    return (await this.get('consent service', path, z.object({ data: user }))).data
  }

  /** Names of accounts by their IDs, each asked for once. */
  async accountNames(
    ids: readonly string[],
    warn: (text: string) => void,
  ): Promise<ReadonlyMap<string, string>> {
    for (const id of new Set(ids)) {
      if (this.#names.has(id)) continue
      try {
        this.#names.set(id, (await this.user(id)).username)
      } catch (error) {
        if (!(error instanceof CommandError)) throw error
        warn(error.message)
      }
    }
    return this.#names
  }

  /** Success is exactly 200; anything else is thrown as the plugin words it. */
  async #succeed(
    service: ServiceName,
    method: 'GET' | 'DELETE',
    path: string,
  ): Promise<EndpointReply> {
    const reply = await this.#send(service, method, path)
    if (reply.status === 200) return reply
    throw new CommandError(`${wordsOf(method, path)}[${reply.status}] ${reasonOf(reply)}`)
  }

  async #send(service: ServiceName, method: string, path: string): Promise<EndpointReply> {
    const headers = this.#token ? { authorization: `Bearer ${this.#token}` } : {}
    const base = this.#urls[service]
    const prefix = base.pathname.replace(/\/+$/, '')
    const reply = await exchange(base, `${prefix}${path}`, { method, headers })
    const expires = reply.headers.get('berth-token-expires')
    if (expires !== null) this.#notice(new Date(expires))
    return reply
  }
}

function wordsOf(method: string, path: string): string {
  return `[${method} ${path.split('?', 1)[0]}]`
}

function isObjectId(text: string): boolean {
  return /^[0-9a-f]{24}$/.test(text)
}

/** A path parameter: slashes are escaped, `:` and `@` are not (Go's url.PathEscape). */
export function encode(text: string): string {
  return encodeURIComponent(text).replace(/%3A/g, ':').replace(/%40/g, '@').replace(/%2B/g, '+')
}

const problem = z.looseObject({ error: z.looseObject({ message: z.string() }) })

function reasonOf(reply: EndpointReply): string {
  const parsed = problem.safeParse(reply.json)
  return parsed.success ? printable(parsed.data.error.message) : 'the service gave no reason.'
}
