/**
 * Hosts as an administrator lists them, and what a request or a header names, compared in one way: by
 * the server when a build is handed in, and by the runner's proxy for each connection.
 */
import { isIP } from 'node:net'

export interface Destination {
  /** In the canonical spelling, without brackets. */
  readonly host: string
  readonly port: number
}

const usualPorts = [80, 443]

/**
 * "host:port" of a CONNECT, of an absolute address or of a reference, in one spelling: that of the URL
 * standard, which knows `0x7f.1`, `2130706433` and the like for what they are. Undefined for anything else.
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
export function isListed({ host, port }: Destination, list: readonly string[]): boolean {
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
