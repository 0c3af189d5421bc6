/**
 * Files that the proxy sends in Berth's place: nginx takes the path in `X-Accel-Redirect` as the
 * answer (https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_ignore_headers). Only who
 * asks for it gets one, and only from an address of a proxy: a client that came directly, such as a
 * builder on this host, would be left with an empty file.
 */
import type { Request, RequestHandler } from 'express'

export interface AccelSettings {
  /** Such as "/blobs/"; undefined: Berth sends everything itself. */
  readonly prefix: string | undefined
  readonly isTrustedProxy: (address: string) => boolean
}

const prefixes = new WeakMap<Request, string>()

export function offerAccel({ prefix, isTrustedProxy }: AccelSettings): RequestHandler {
  return (req, _res, next) => {
    const asks = req.get('x-berth-accel') === 'yes'
    if (prefix !== undefined && asks && isTrustedProxy(req.socket.remoteAddress ?? '')) {
      prefixes.set(req, prefix)
    }
    next()
  }
}

/**
 * The path for `X-Accel-Redirect`, or undefined where Berth answers itself: nginx neither knows our
 * entity tags nor serves a whole file where the range does not count.
 */
export function accelPath(
  req: Request,
  stored: string | undefined,
  rangeCounts: boolean,
): string | undefined {
  const prefix = prefixes.get(req)
  if (prefix === undefined || stored === undefined || req.method !== 'GET') return undefined
  if (conditions.some((name) => req.headers[name] !== undefined)) return undefined
  const range = req.get('range')
  const isAlike = range === undefined || (rangeCounts && nginxRange.test(range))
  return isAlike ? prefix + stored : undefined
}

const conditions = [
  'if-range',
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
]
/** Longer numbers are no range to nginx. */
const nginxRange = /^bytes=(?:\d{1,15}-\d{0,15}|-\d{1,15})$/
