/** Where a build may go: hosts by name, and then only what their names resolve to in public. */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { BlockList } from 'node:net'

import { isReachable } from './addresses.ts'

export interface Destination {
  readonly host: string
  readonly port: number
}

/** All addresses of a name; the resolver of the host, unless a test has its own. */
export type Resolve = (host: string) => Promise<readonly string[]>

/** The message is for the person whose build it is. */
export class NotAllowed extends Error {
  override readonly name = 'NotAllowed'
}

const usualPorts = [80, 443]

export const resolveOnHost: Resolve = async (host) =>
  (await lookup(host, { all: true, verbatim: true })).map(({ address }) => address)

/**
 * "host:port" of a CONNECT, or of an absolute address, in one spelling: that of the URL standard, which
 * knows `0x7f.1`, `2130706433` and the like for what they are. Undefined for anything else.
 */
export function parseDestination(authority: string, defaultPort: number): Destination | undefined {
  let url: URL
  try {
    url = new URL(`http://${authority}/`)
  } catch {
    return undefined
  }
  if (url.username !== '' || url.password !== '' || url.pathname !== '/') return undefined
  const host = url.hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '')
  // The URL standard leaves the default port of http away.
  const port = url.port !== '' ? Number(url.port) : authority.endsWith(':80') ? 80 : defaultPort
  return host === '' || port === 0 ? undefined : { host, port }
}

/** "deb.example.org", "*.example.org", "mirror.example.org:8080", "[2001:db8::1]:8080"; the usual ports without one. */
function isListed({ host, port }: Destination, list: readonly string[]): boolean {
  return list.some((entry) => {
    const match = /^(\[[^\]]+\]|[^:]+)(?::(\d+))?$/.exec(entry.toLowerCase())
    const pattern = match?.[1]?.replace(/^\[|\]$/g, '') ?? ''
    const onlyPort = match?.[2]
    const isPort = onlyPort === undefined ? usualPorts.includes(port) : Number(onlyPort) === port
    if (!isPort) return false
    if (pattern === '*') return isIP(host) === 0
    return pattern.startsWith('*.') ? host.endsWith(pattern.slice(1)) : host === pattern
  })
}

/**
 * One address to connect to: resolved once, checked, and never resolved again. Throws NotAllowed.
 * `lists` all have to hold the host: that of the server, and that of the builder.
 */
export async function addressFor(
  destination: Destination,
  lists: readonly (readonly string[])[],
  privateNetworks: BlockList,
  resolve: Resolve,
): Promise<string> {
  const name = `${destination.host}:${destination.port}`
  if (!lists.every((list) => isListed(destination, list))) {
    throw new NotAllowed(`${name} is not on the list of hosts that builds may reach`)
  }
  const isLiteral = isIP(destination.host) !== 0
  const addresses = isLiteral ? [destination.host] : await resolve(destination.host)
  const good = addresses.find((address) => isReachable(address, privateNetworks))
  if (good === undefined) throw new NotAllowed(`${name} has no public address`)
  return good
}
