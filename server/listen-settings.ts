/** Where Berth listens, whom it believes about the addresses of others, and its own certificate. */
import { BlockList, isIP } from 'node:net'

import { z } from 'zod'

/** A place to listen at: an address of TCP, or the absolute path of a unix socket. */
export type Place = { readonly host: string; readonly port: number } | { readonly path: string }

export interface TlsSettings {
  readonly certificateFile: string
  readonly keyFile: string
}

const socketPathLimit = 107 // sizeof sun_path - 1

export const listenField = z.string().transform((value, context): Place => {
  if (value.startsWith('unix:')) {
    const path = value.slice('unix:'.length)
    if (path.startsWith('/') && Buffer.byteLength(path) <= socketPathLimit) return { path }
    const message = `expected unix: and an absolute path of ${socketPathLimit} bytes at most`
    context.addIssue({ code: 'custom', message })
    return z.NEVER
  }
  const match = /^(?:(\[[0-9a-fA-F:]+\]|[^:[\]]+):)?(\d{1,5})$/.exec(value)
  const port = Number(match?.[2])
  if (match && port <= 65535) {
    return { host: (match[1] ?? '127.0.0.1').replace(/^\[|\]$/g, ''), port }
  }
  const message = 'expected host:port, for example 127.0.0.1:5080, or unix:/run/berth/berth.sock'
  context.addIssue({ code: 'custom', message })
  return z.NEVER
})

export const tlsTable = z
  .strictObject({
    /** PEM: the certificate, and behind it those between it and its authority. */
    cert_file: z.string().min(1),
    /** PEM, without a passphrase. */
    key_file: z.string().min(1),
  })
  .transform((data): TlsSettings => ({ certificateFile: data.cert_file, keyFile: data.key_file }))

/** Hosts and networks ("10.0.0.5", "10.1.0.0/16", "fd00::/8") that stand before Berth as proxies. */
export const proxiesField = z.array(z.string()).transform((entries, context) => {
  const proxies = new BlockList()
  for (const entry of entries) {
    const [, address = '', bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(entry) ?? []
    const version = isIP(address)
    const family = version === 6 ? 'ipv6' : 'ipv4'
    const most = version === 6 ? 128 : 32
    if (version === 0 || Number(bits ?? most) > most) {
      const message = `${entry} is neither an address nor a network such as 10.1.0.0/16`
      context.addIssue({ code: 'custom', message })
    } else proxies.addSubnet(address, Number(bits ?? most), family)
  }
  return (address: string): boolean => {
    const version = isIP(address)
    return version !== 0 && proxies.check(address, version === 6 ? 'ipv6' : 'ipv4')
  }
})

/** The origin of replies when none is configured; undefined where there is no port to name. */
export function defaultOrigin(place: Place, tls: TlsSettings | undefined): string | undefined {
  if ('path' in place) return undefined
  return `${tls === undefined ? 'http' : 'https'}://localhost:${place.port}`
}
