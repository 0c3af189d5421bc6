/** Failures in the registry's error form (distribution-spec, "Error Codes"). */
import type { ErrorRequestHandler, Request, Response } from 'express'

import { Failure } from '../failure.ts'
import type { FailureKind, FailureSubject } from '../failure.ts'
import { logProblem, problemOf } from '../http/problem.ts'
import type { Log } from '../log.ts'
import { callerOf, scopeOf } from './access.ts'

/** What went wrong, where the kind alone says it. */
const codes = {
  invalid: 'UNSUPPORTED',
  unauthenticated: 'UNAUTHORIZED',
  denied: 'DENIED',
  'not-found': 'NAME_UNKNOWN',
  throttled: 'TOOMANYREQUESTS',
  conflict: 'DENIED',
  'too-large': 'SIZE_INVALID',
  'length-required': 'SIZE_INVALID',
  range: 'BLOB_UPLOAD_INVALID',
  // Not 5xx and not retried: a repetition cannot help.
  'over-quota': 'DENIED',
  'storage-full': 'DENIED',
  unavailable: 'UNAVAILABLE',
} as const satisfies Record<FailureKind, string>

const invalidCodes: Partial<Record<FailureSubject, string>> = {
  entity: 'NAME_INVALID',
  collection: 'NAME_INVALID',
  repository: 'NAME_INVALID',
  digest: 'DIGEST_INVALID',
  tag: 'MANIFEST_INVALID',
  manifest: 'MANIFEST_INVALID',
  image: 'MANIFEST_INVALID',
  // A manifest that names what is not here.
  blob: 'MANIFEST_BLOB_UNKNOWN',
  upload: 'BLOB_UPLOAD_INVALID',
}

const unknownCodes: Partial<Record<FailureSubject, string>> = {
  blob: 'BLOB_UNKNOWN',
  manifest: 'MANIFEST_UNKNOWN',
  tag: 'MANIFEST_UNKNOWN',
  upload: 'BLOB_UPLOAD_UNKNOWN',
}

export interface Challenge {
  /** Where registry tokens are had. */
  readonly realm: string
  readonly service: string
}

export function ociErrors(challenge: Challenge, log: Log): ErrorRequestHandler {
  return (thrown: unknown, req, res, next) => {
    const error = hideFromAnonymous(thrown, req)
    const { status: usual, message, retryAfterSeconds } = problemOf(error)
    const status = isInUse(error) ? 405 : usual
    logProblem(log, req, error, status)
    if (res.headersSent) return res.destroy()
    if (res.destroyed) return next()
    if (status === 401) challengeWith(req, res, challenge)
    if (retryAfterSeconds !== undefined) res.set('Retry-After', String(retryAfterSeconds))
    res.status(status).json({ errors: [{ code: codeOf(error, status), message }] })
    return undefined
  }
}

/** Of the deletion of a blob that a manifest needs; the specification has no 409 for it (end-10). */
export function isInUse(error: unknown): boolean {
  return error instanceof Failure && error.kind === 'conflict' && error.subject === 'blob'
}

/** Clients that have not signed in yet learn nothing about private names, and are asked to sign in. */
function hideFromAnonymous(error: unknown, req: Request): unknown {
  const isName =
    error instanceof Failure &&
    error.kind === 'not-found' &&
    ['repository', 'collection', 'entity'].includes(error.subject)
  if (!isName || callerOf(req).hasCredential) return error
  return new Failure('unauthenticated', error.subject, `${error.message} Or sign in to see it.`)
}

/** A token that is good but not for this makes some clients ask for another only when told so. */
function challengeWith(req: Request, res: Response, { realm, service }: Challenge): void {
  const scope = scopeOf(req)
  const wanted = scope === undefined ? '' : `,scope="${scope}"`
  const error = callerOf(req).grants === undefined ? '' : ',error="insufficient_scope"'
  res.set('WWW-Authenticate', `Bearer realm="${realm}",service="${service}"${wanted}${error}`)
}

function codeOf(error: unknown, status: number): string {
  if (!(error instanceof Failure)) return status >= 500 ? 'UNKNOWN' : 'UNSUPPORTED'
  const { kind, subject } = error
  if (kind === 'invalid') return invalidCodes[subject] ?? codes.invalid
  if (kind === 'not-found') return unknownCodes[subject] ?? codes['not-found']
  return codes[kind]
}
