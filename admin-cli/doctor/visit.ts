/** Requests to the public address, as a client on another host makes them, with what TLS says of it. */
import { readFileSync } from 'node:fs'
import { request as requestPlain } from 'node:http'
import type { IncomingMessage, RequestOptions } from 'node:http'
import { request as requestTls } from 'node:https'
import { checkServerIdentity, connect, rootCertificates } from 'node:tls'
import type { DetailedPeerCertificate } from 'node:tls'

import type { Site } from './site.ts'

export interface Visit {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: string
  /** When it was there. */
  readonly at: Date
}

export interface VisitOptions {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  /** What is sent of the body; the request stays open behind it when `isWhole` is false. */
  readonly body?: Buffer
  readonly isWhole?: boolean
  readonly patienceMs: number
}

/** Where the connection ended, or nothing came, before there was a reply. */
export class NoReply extends Error {
  override readonly name = 'NoReply'
  readonly isLate: boolean
  constructor(isLate: boolean, cause?: unknown) {
    super(isLate ? 'no answer in time' : 'the connection ended without an answer', { cause })
    this.isLate = isLate
  }
}

const maxBody = 1 << 20

/** The path goes out as it is written. Certificates are not looked at: another check does that. */
export async function visit(site: Site, path: string, options: VisitOptions): Promise<Visit> {
  const url = new URL(site.config.publicUrl)
  const settings: RequestOptions & { rejectUnauthorized?: boolean; servername?: string } = {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port || (url.protocol === 'https:' ? 443 : 80),
    path,
    method: options.method ?? 'GET',
    headers: { host: url.host, ...options.headers },
    agent: false,
  }
  return await new Promise<Visit>((resolve, reject) => {
    const request =
      url.protocol === 'https:'
        ? requestTls({ ...settings, rejectUnauthorized: false })
        : requestPlain(settings)
    const timer = setTimeout(() => {
      reject(new NoReply(true))
      request.destroy()
    }, options.patienceMs)
    const end = (work: () => void): void => {
      clearTimeout(timer)
      work()
      request.destroy()
    }
    request.on('error', (error) => end(() => reject(error)))
    request.on('close', () => end(() => reject(new NoReply(false))))
    const take = (response: IncomingMessage): void => {
      let body = ''
      const { statusCode: status = 0, headers } = response
      const done = (): void => end(() => resolve({ status, headers, body, at: new Date() }))
      response.setEncoding('utf8')
      response.on('data', (piece: string) => {
        body += piece
        if (body.length > maxBody) done()
      })
      response.on('end', done)
      response.on('error', (error) => end(() => reject(error)))
    }
    request.on('response', take)
    request.on('upgrade', (response, socket) => {
      socket.destroy()
      take(response)
    })
    request.flushHeaders()
    if (options.body !== undefined) request.write(options.body)
    if (options.isWhole !== false) request.end()
  })
}

export interface ShownCertificate {
  /** Undefined: trusted, and for this name. */
  readonly code: string | undefined
  readonly expiresAt: Date
  readonly names: string
  /** Certificates that came with it, itself among them. */
  readonly chain: number
}

/** What clients of this operating system would think of the public address's certificate. */
export async function lookAtCertificate(site: Site): Promise<ShownCertificate | undefined> {
  const url = new URL(site.config.publicUrl)
  if (url.protocol !== 'https:') return undefined
  const host = url.hostname.replace(/^\[|\]$/g, '')
  return await new Promise<ShownCertificate>((resolve, reject) => {
    const socket = connect({
      host,
      port: Number(url.port || 443),
      ...(/^[\d.]+$|:/.test(host) ? {} : { servername: host }),
      ca: authorities(site),
      rejectUnauthorized: false,
      ALPNProtocols: ['http/1.1'],
    })
    socket.setTimeout(site.patienceMs, () => socket.destroy(new NoReply(true)))
    socket.on('error', reject)
    socket.on('secureConnect', () => {
      const certificate = socket.getPeerCertificate(true)
      const trust = socket.authorizationError as Error | string | undefined | null
      const wrongName = checkServerIdentity(host, certificate)
      const untrusted =
        trust instanceof Error ? String((trust as NodeJS.ErrnoException).code) : trust
      // Node puts the name before anything else where both are wrong; the chain says more.
      const code = isOfName(untrusted) ? undefined : (untrusted ?? undefined)
      resolve({
        code: code ?? (wrongName === undefined ? undefined : 'ERR_TLS_CERT_ALTNAME_INVALID'),
        expiresAt: new Date(certificate.valid_to),
        names: certificate.subjectaltname ?? String(certificate.subject.CN),
        chain: chainLength(certificate),
      })
      socket.destroy()
    })
  })
}

function isOfName(code: string | undefined | null): boolean {
  return code === 'ERR_TLS_CERT_ALTNAME_INVALID'
}

function chainLength(certificate: DetailedPeerCertificate): number {
  const seen = new Set<string>()
  let one: DetailedPeerCertificate | undefined = certificate
  while (one !== undefined && !seen.has(one.fingerprint256)) {
    seen.add(one.fingerprint256)
    one = one.issuerCertificate as DetailedPeerCertificate | undefined
  }
  return seen.size
}

/** Of the operating system, which the clients go by; Node's own where it keeps none. */
function authorities({ ca }: Site): string[] {
  const files = ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt']
  const system = files.flatMap((file) => {
    try {
      return [readFileSync(file, 'utf8')]
    } catch {
      return []
    }
  })
  const all = system.length === 0 ? [...rootCertificates] : system
  return ca === undefined ? all : [...all, ca]
}
