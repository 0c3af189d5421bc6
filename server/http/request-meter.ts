/** Tells whoever counts of each request: when it began, and how it ended. */
import type { Request, RequestHandler } from 'express'

export interface RequestMeter {
  requestBegan(): void
  requestEnded(request: {
    readonly route: string | undefined
    readonly method: string
    readonly status: number
    readonly isWhole: boolean
    readonly seconds: number
  }): void
}

export function measureRequests(meter: RequestMeter): RequestHandler {
  return (req, res, next) => {
    const began = performance.now()
    meter.requestBegan()
    res.once('close', () => {
      meter.requestEnded({
        route: routeOf(req),
        method: req.method,
        status: res.statusCode,
        isWhole: res.writableFinished,
        seconds: (performance.now() - began) / 1000,
      })
    })
    next()
  }
}

/** As it stands in the code: nothing of what was asked for is in it. Undefined: no route took it. */
function routeOf(req: Request): string | undefined {
  const { path } = (req.route as { path?: unknown } | undefined) ?? {}
  if (typeof path === 'string') return path
  return path instanceof RegExp ? readable(path) : undefined
}

/** `^/v2/(?!…)(.+)/tags/list$` becomes `/v2/:name/tags/list`. */
function readable({ source }: RegExp): string {
  return source
    .replaceAll('\\/', '/')
    .replaceAll(/\(\?![^)]*\)/g, '')
    .replaceAll(/\([^()]*\)/g, ':name')
    .replaceAll(/^\^|\$$|\?/g, '')
}
