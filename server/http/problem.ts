/** Failures as HTTP: the one table of statuses, and the error form of the library and Berth's API. */
import { STATUS_CODES } from 'node:http'

import type { ErrorRequestHandler, Request, Response } from 'express'

import { diskFailure } from '../disk-failure.ts'
import { Failure, Throttled } from '../failure.ts'
import type { FailureKind } from '../failure.ts'
import type { Log } from '../log.ts'
import { requestIdOf } from './request-log.ts'

const statuses = {
  invalid: 400,
  unauthenticated: 401,
  denied: 403,
  'not-found': 404,
  throttled: 429,
  conflict: 409,
  'length-required': 411,
  'too-large': 413,
  range: 416,
  // Not 5xx: clients repeat those, and a repetition cannot help (Harbor #8797).
  'over-quota': 403,
  'storage-full': 507,
  unavailable: 503,
} as const satisfies Record<FailureKind, number>

export interface Problem {
  readonly status: number
  readonly message: string
  /** When a repetition may help. */
  readonly retryAfterSeconds?: number
}

/** What a caller is told. Anything but a Failure is a bug: the details are in the log only. */
export function problemOf(thrown: unknown): Problem {
  const error = diskFailure(thrown) ?? thrown
  if (error instanceof Throttled) {
    const { message, retryAfterSeconds } = error
    return { status: statuses.throttled, message, retryAfterSeconds }
  }
  if (error instanceof Failure) {
    const problem = { status: statuses[error.kind], message: error.message }
    return problem.status === 503 ? { ...problem, retryAfterSeconds: 5 } : problem
  }
  const { status, type } = error as { status?: number; type?: string }
  if (error instanceof URIError) return { status: 400, message: 'The path is not well-formed.' }
  if (type === 'entity.too.large') return { status: 413, message: 'The request is too large.' }
  if (type === 'entity.parse.failed') return { status: 400, message: 'The body is not JSON.' }
  if (status !== undefined && status >= 400 && status < 500) {
    return { status, message: STATUS_CODES[status] ?? 'The request is not acceptable.' }
  }
  return {
    status: 500,
    message: 'Something went wrong in Berth; the administrators find the reason in its log.',
  }
}

/**
 * `{"error":{"code","message"}}`. Clients print the code of the body, not the status (protocol.md
 * 0.1), and those of the enterprise consent service read the flat members beside it.
 */
function sendProblem(res: Response, { status, message, retryAfterSeconds }: Problem): void {
  if (retryAfterSeconds !== undefined) res.set('Retry-After', String(retryAfterSeconds))
  res.status(status).json({
    error: { code: status, message },
    code: status,
    status: STATUS_CODES[status],
    message,
  })
}

/** What an administrator has to know of. While a part is away each request fails alike: a line each. */
export function logProblem(log: Log, req: Request, error: unknown, status: number): void {
  if (status < 500 || status === 507) return
  const id = requestIdOf(req)
  if (!(error instanceof Failure && error.kind === 'unavailable')) {
    log.error({ err: error, 'request.id': id }, 'a request failed')
    return
  }
  const reason = error.cause instanceof Error ? error.cause.message : undefined
  log.warn({ 'request.id': id, reason }, `a request failed: ${error.message}`)
}

export function jsonErrors(log: Log): ErrorRequestHandler {
  return (error: unknown, req, res, next) => {
    const problem = problemOf(error)
    logProblem(log, req, error, problem.status)
    // A reply that has begun cannot be taken back: the client must not take it for whole.
    if (res.headersSent) return res.destroy()
    if (res.destroyed) return next()
    sendProblem(res, problem)
    return undefined
  }
}
