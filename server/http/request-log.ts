/** One structured line for each request. No header, no query, no capability: nothing secret is in. */
import { randomBytes } from 'node:crypto'

import type { Request, RequestHandler } from 'express'

import type { Log } from '../log.ts'
import { actorOf } from './actor.ts'

const ids = new WeakMap<Request, string>()

export function requestIdOf(req: Request): string {
  return ids.get(req) ?? ''
}

export function logRequests(log: Log): RequestHandler {
  return (req, res, next) => {
    const id = randomBytes(8).toString('hex')
    ids.set(req, id)
    res.set('X-Request-Id', id)
    const startedAt = performance.now()
    const path = loggable(req.originalUrl)
    res.once('close', () => {
      const actor = actorOf(req)
      log.info(
        {
          'request.id': id,
          'request.method': req.method,
          'request.path': path,
          'request.address': req.ip,
          'response.status': res.statusCode,
          'response.whole': res.writableFinished,
          'account.name': actor.kind === 'account' ? actor.name : undefined,
          'duration.ms': Math.round(performance.now() - startedAt),
        },
        'request',
      )
    })
    next()
  }
}

/** The path without query; of a capability URL only that it was one. */
function loggable(url: string): string {
  const path = url.split('?', 1)[0] ?? ''
  return path.replace(/^\/+(dl|ul)\/.*/is, '/$1/-').slice(0, 512)
}
