/** TLS to a server of the site: the settings, the same everywhere, and what can be told of the peer. */
import { isIP } from 'node:net'
import { checkServerIdentity } from 'node:tls'
import type { ConnectionOptions, TLSSocket } from 'node:tls'

export interface TlsPeer {
  /** The names that the certificate is for. */
  readonly names: readonly string[]
  readonly issuer: string
  readonly expiresAt: Date
  readonly protocol: string
}

/**
 * `name` is what the certificate must have. It is checked in our own words, because what Node checks
 * by itself depends on which of host, servername and socket were given.
 */
export function tlsOptions(name: string, ca: string | undefined): ConnectionOptions {
  return {
    ...(ca === undefined ? {} : { ca }),
    // An address cannot be asked for in the greeting (RFC 6066, 3).
    ...(isIP(name) === 0 ? { servername: name } : {}),
    host: name,
    minVersion: 'TLSv1.2',
    rejectUnauthorized: true,
    checkServerIdentity: (_asked, certificate) => checkServerIdentity(name, certificate),
  }
}

export function peerOf(socket: TLSSocket): TlsPeer {
  const certificate = socket.getPeerCertificate()
  const names = certificate.subjectaltname?.split(', ') ?? [`CN:${String(certificate.subject.CN)}`]
  return {
    names: names.map((name) => name.replace(/^(?:DNS|IP Address|CN):/, '')),
    issuer: String(certificate.issuer.CN ?? certificate.issuer.O ?? ''),
    expiresAt: new Date(certificate.valid_to),
    protocol: socket.getProtocol() ?? '',
  }
}
