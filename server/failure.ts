/**
 * The one error type of the inner rings. The domain says what went wrong in its own words; each
 * protocol's edge turns the kind into its status (http/problem.ts) in a table that does not compile
 * while a kind is missing. Anything thrown that is not a Failure is a bug and becomes a 500.
 */
export type FailureKind =
  | 'invalid' // the request cannot be understood or breaks a rule of the format
  | 'unauthenticated' // no credential, or one that is not live
  | 'denied' // a known caller who may not do this
  | 'not-found'
  | 'throttled' // too many attempts; trying later is expected
  | 'conflict' // the state does not allow it (now)
  | 'too-large' // a body over its limit
  | 'length-required' // a body whose length must be known beforehand
  | 'range' // a byte range outside the object
  | 'over-quota' // the entity's quota cannot take it
  | 'storage-full' // the host's disk cannot take it
  | 'unavailable' // a part that we depend on does not answer; trying later may help

export type FailureSubject =
  | 'account'
  | 'group'
  | 'directory'
  | 'token'
  | 'entity'
  | 'collection'
  | 'repository'
  | 'image'
  | 'tag'
  | 'manifest'
  | 'digest'
  | 'upload'
  | 'blob'
  | 'key'
  | 'rule'
  | 'build'
  | 'builder'
  | 'context'
  | 'request'
  | 'database'
  | 'storage'

export class Failure extends Error {
  override readonly name = 'Failure'
  readonly kind: FailureKind
  readonly subject: FailureSubject

  /** `message` is shown to people: it says what is wrong and, where that helps, what to do next. */
  constructor(
    kind: FailureKind,
    subject: FailureSubject,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options)
    this.kind = kind
    this.subject = subject
  }
}

export function invalid(subject: FailureSubject, message: string, cause?: unknown): Failure {
  return new Failure('invalid', subject, message, { cause })
}

export function notFound(subject: FailureSubject, message: string): Failure {
  return new Failure('not-found', subject, message)
}

export function denied(subject: FailureSubject, message: string): Failure {
  return new Failure('denied', subject, message)
}

/** Too many attempts: the message says when the next one may be made. */
export class Throttled extends Failure {
  readonly retryAfterSeconds: number

  constructor(subject: FailureSubject, message: string, retryAfterSeconds: number) {
    super('throttled', subject, message)
    this.retryAfterSeconds = retryAfterSeconds
  }
}

export function unauthenticated(message: string): Failure {
  return new Failure('unauthenticated', 'token', message)
}
