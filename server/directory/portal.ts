/**
 * Signing in at the site's portal: name and password go to one address over TLS, and the reply says
 * whether they are right and who that is. Right means the expected status and the expected value in
 * the expected field, both: pages that say "200 OK, please log in" are common.
 */
import { request as requestPlain } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { request as requestTls } from 'node:https'
import type { TLSSocket } from 'node:tls'

import { isAccountName } from '../accounts/accounts.ts'
import type { Directory, DirectoryAnswer } from '../accounts/directory.ts'
import { Failure } from '../failure.ts'
import type { Log } from '../log.ts'
import type { PortalSettings } from '../portal-settings.ts'
import { noReport } from './steps.ts'
import type { Report } from './steps.ts'
import { peerOf, tlsOptions } from './tls-peer.ts'

interface Question {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

interface Reply {
  readonly status: number
  readonly text: string
}

const maxReplyBytes = 65_536

export class PortalDirectory implements Directory {
  readonly provider = 'portal'
  readonly #settings: PortalSettings
  readonly #log: Log
  readonly #report: Report

  constructor(settings: PortalSettings, log: Log, report: Report = noReport) {
    this.#settings = settings
    this.#log = log
    this.#report = report
  }

  async signIn(
    name: string,
    password: string,
    admit: (canonical: string) => Promise<void>,
  ): Promise<DirectoryAnswer> {
    await admit(name)
    const question = ask(this.#settings, name, password)
    if (question === undefined) {
      return { outcome: 'refused', reason: 'malformed', detail: 'a colon in the name' }
    }
    try {
      return this.#understand(await this.#send(question))
    } catch (error) {
      // Neither what was sent nor what came back is in these errors.
      this.#log.warn({ err: error, 'directory.server': this.#settings.url }, 'the portal failed')
      if (error instanceof Failure) throw error
      throw unavailable('The portal does not answer: try again in a few minutes.', error)
    }
  }

  #understand({ status, text }: Reply): DirectoryAnswer {
    const { success, refusedStatuses } = this.#settings
    if (refusedStatuses.includes(status)) {
      this.#report({ step: 'reply', status, fields: [] })
      return { outcome: 'refused', reason: 'password', detail: `status ${status}` }
    }
    if (status !== success.status) {
      throw unavailable(
        `The portal answered with the status ${status}, which is neither success nor refusal: tell the administrators.`,
      )
    }
    const reply = parseObject(text)
    this.#report({ step: 'reply', status, fields: Object.keys(reply) })
    if (fieldOf(reply, success.field) !== success.value) {
      const detail = `${success.field} is not ${JSON.stringify(success.value)}`
      return { outcome: 'refused', reason: 'password', detail }
    }
    return this.#readPerson(reply)
  }

  #readPerson(reply: object): DirectoryAnswer {
    const fields = this.#settings.reply
    const id = textOf(reply, fields.id)
    const found = textOf(reply, fields.name)
    if (id === '' || found === '') {
      const detail = `the reply has no ${id === '' ? fields.id : fields.name}`
      return { outcome: 'refused', reason: 'malformed', detail }
    }
    const name = this.#settings.lowercaseNames ? found.toLowerCase() : found
    const person = {
      id,
      name,
      email: textOf(reply, fields.mail),
      fullName: textOf(reply, fields.fullName),
    }
    this.#report({ step: 'person', person })
    if (!isAccountName(name)) {
      const detail = `the library cannot have the name "${name}"`
      return { outcome: 'refused', reason: 'malformed', detail }
    }
    const groups = groupsOf(reply, fields.groups)
    const told = groups.map((group) => ({ dn: group, name: group }))
    this.#report({ step: 'groups', method: 'reply', groups: told })
    return { outcome: 'accepted', entry: { ...person, groups } }
  }

  /** One request on a connection of its own; redirects are replies like any other. */
  async #send({ headers, body }: Question): Promise<Reply> {
    const { url, timeoutMs, certificateName, ca } = this.#settings
    const isTls = url.startsWith('https:')
    const deadline = AbortSignal.timeout(timeoutMs)
    const options = {
      method: 'POST',
      agent: false as const,
      signal: deadline,
      headers: {
        ...headers,
        accept: 'application/json',
        'content-length': String(Buffer.byteLength(body)),
        connection: 'close',
      },
    }
    return await new Promise<Reply>((resolve, reject) => {
      const { host: _host, ...tls } = tlsOptions(certificateName, ca)
      const request = isTls ? requestTls(url, { ...options, ...tls }) : requestPlain(url, options)
      request.on('socket', (socket) => {
        this.#report({ step: 'server', url })
        if (!isTls) return
        socket.on('secureConnect', () =>
          this.#report({ step: 'certificate', peer: peerOf(socket as TLSSocket) }),
        )
      })
      request.on('error', reject)
      request.on('response', (response) => {
        readText(response).then(
          (text) => resolve({ status: response.statusCode ?? 0, text }),
          (error: Error) => {
            request.destroy()
            reject(error)
          },
        )
      })
      request.end(body)
    })
  }
}

/** Undefined for a name that would read as another with HTTP Basic (RFC 7617, 2). */
function ask(settings: PortalSettings, name: string, password: string): Question | undefined {
  const { format, request } = settings
  const fields = { [request.name]: name, [request.password]: password }
  if (format === 'form') {
    return {
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams(fields).toString(),
    }
  }
  if (format === 'json') {
    return { headers: { 'content-type': 'application/json' }, body: JSON.stringify(fields) }
  }
  if (name.includes(':')) return undefined
  const credentials = Buffer.from(`${name}:${password}`).toString('base64')
  return { headers: { authorization: `Basic ${credentials}` }, body: '' }
}

async function readText(response: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = []
  let size = 0
  for await (const piece of response as AsyncIterable<Buffer>) {
    size += piece.length
    if (size > maxReplyBytes) {
      throw unavailable('The reply of the portal is too long: tell the administrators.')
    }
    pieces.push(piece)
  }
  if (!response.complete) throw new Error('the reply was cut')
  return Buffer.concat(pieces).toString()
}

function parseObject(text: string): object {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null) return value
  } catch {
    // Falls through: the text of the error would quote the reply.
  }
  throw unavailable('The reply of the portal is no JSON object: tell the administrators.')
}

/** Own fields only: "constructor" is nobody's name. */
function fieldOf(reply: unknown, path: string | undefined): unknown {
  if (path === undefined) return undefined
  let value = reply
  for (const key of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined
    value = (value as Record<string, unknown>)[key]
  }
  return value
}

/** Texts, and whole numbers, which many identifiers are. */
function textOf(reply: object, path: string | undefined): string {
  const value = fieldOf(reply, path)
  if (typeof value === 'string') return value
  return Number.isSafeInteger(value) ? String(value) : ''
}

function groupsOf(reply: object, path: string | undefined): string[] {
  const value = fieldOf(reply, path)
  if (!Array.isArray(value)) return []
  return value.filter((group): group is string => typeof group === 'string')
}

function unavailable(message: string, cause?: unknown): Failure {
  return new Failure('unavailable', 'directory', message, { cause })
}
