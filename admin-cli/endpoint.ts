/** The endpoint as login-node commands see it: its address, its name, and what goes wrong there. */
import { readFileSync } from 'node:fs'

import { parse as parseToml } from 'smol-toml'
import { z } from 'zod'

import { CommandError, UsageError } from './exit.ts'
import { printable } from './printable.ts'

const clientFile = '/etc/berth/client.toml'
const quickStart = 'http://localhost:5080'

const clientSettings = z.looseObject({ url: z.string().optional() })
const discovery = z.looseObject({ site: z.looseObject({ name: z.string() }) })
const problem = z.looseObject({ error: z.looseObject({ message: z.string() }) })

/** Where a command sends its requests. */
export function endpointUrl(option: string | undefined): URL {
  return parseAddress(option ?? configuredAddress() ?? quickStart)
}

/** $BERTH_URL, else `url` of the file that a site puts on its login nodes. */
export function configuredAddress(
  variable = process.env['BERTH_URL'],
  file = clientFile,
): string | undefined {
  if (variable !== undefined && variable !== '') return variable
  try {
    return clientSettings.parse(parseToml(readFileSync(file, 'utf8'))).url
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    const what = error instanceof z.ZodError ? 'url is not a text' : (error as Error).message
    throw new UsageError(`${file}: ${what.split('\n', 1)[0]}`)
  }
}

export function parseAddress(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url && /^https?:$/.test(url.protocol)) return url
  throw new UsageError(`"${text}" is not an address: expected https://host or http://host:port.`)
}

/** A password must not cross a network in clear text. */
export function requireSafe(url: URL): void {
  const isLoopback = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/.test(url.hostname)
  if (url.protocol === 'https:' || isLoopback) return
  throw new CommandError(
    `${url.origin} is not encrypted, and a password is not sent in clear text: use https:// (--url, BERTH_URL or url in ${clientFile}).`,
  )
}

/** The site's name, for the prompt. */
export async function siteName(url: URL): Promise<string> {
  const reply = await exchange(url, '/assets/config/config.prod.json')
  const parsed = discovery.safeParse(reply.json)
  if (reply.status === 200 && parsed.success) return printable(parsed.data.site.name)
  throw new CommandError(`${url.origin} answers, but it is not a Berth: check the address.`)
}

export interface EndpointReply {
  readonly status: number
  readonly headers: Headers
  /** The body; undefined when it is not JSON. */
  readonly json: unknown
}

export interface ExchangeOptions {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly timeoutMs?: number
}

/** One request to Berth's API. Redirects are not followed: a password goes where it was meant to go. */
export async function exchange(
  url: URL,
  path: string,
  { timeoutMs = 30_000, ...init }: ExchangeOptions = {},
): Promise<EndpointReply> {
  const reply = await send(url, path, init, timeoutMs)
  const target = reply.headers.get('location')
  if (reply.status >= 300 && reply.status < 400 && target !== null) {
    const text = `${url.origin} sends on to ${printable(target)}: give the right address with --url.`
    throw new CommandError(text)
  }
  return { status: reply.status, headers: reply.headers, json: parseJson(reply.text) }
}

/** What the server said about a refusal. */
export function refusalOf(reply: EndpointReply): string {
  const parsed = problem.safeParse(reply.json)
  return parsed.success ? printable(parsed.data.error.message) : `HTTP status ${reply.status}.`
}

async function send(
  url: URL,
  path: string,
  init: RequestInit,
  timeoutMs: number,
): Promise<{ status: number; headers: Headers; text: string }> {
  const signal = AbortSignal.timeout(timeoutMs)
  try {
    const reply = await fetch(new URL(path, url), { ...init, redirect: 'manual', signal })
    return { status: reply.status, headers: reply.headers, text: await reply.text() }
  } catch (error) {
    throw new CommandError(explain(url, error))
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** OpenSSL's names for what can be wrong with a certificate, as Node passes them on. */
const certificateCodes =
  /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ISSUER|HOSTNAME_MISMATCH|_CRL|INVALID_CA/

function explain(url: URL, error: unknown): string {
  const { name, cause } = error as { name?: string; cause?: { code?: string; message?: string } }
  const code = cause?.code ?? ''
  if (name === 'TimeoutError' || /TIMEOUT|ETIMEDOUT/.test(code)) {
    return `${url.origin} does not answer: try again later, or ask the administrators.`
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return `The host ${url.hostname} is not known here: check the address.`
  }
  if (code === 'CERT_HAS_EXPIRED') {
    return `The certificate of ${url.host} has expired: tell the administrators. Nothing was sent.`
  }
  if (certificateCodes.test(code)) {
    return `The certificate of ${url.host} is not trusted here (${code}): check the address, or ask the administrators. Nothing was sent.`
  }
  if (/SSL|TLS|EPROTO/.test(code)) {
    return `${url.host} does not speak TLS (${code}): check the address and its port.`
  }
  const reason = code === '' ? (cause?.message ?? 'no connection') : code
  return `${url.origin} cannot be reached (${printable(reason)}): is the address right, and is the service running?`
}
