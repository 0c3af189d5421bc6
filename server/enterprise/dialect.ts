/**
 * Each enterprise service knows a few statuses only and prints a general text for all others
 * (enterprise.md 6): a failure is said in one of those, with its own message.
 */
import type { ErrorRequestHandler } from 'express'

import { Failure } from '../failure.ts'
import type { FailureKind } from '../failure.ts'

type Dialect = Readonly<Partial<Record<FailureKind, FailureKind>>>

/** For the end of a router. */
export function speaking(dialect: Dialect): ErrorRequestHandler {
  return (error: unknown, _req, _res, next) => {
    next(error instanceof Failure ? translate(error, dialect) : error)
  }
}

function translate(failure: Failure, dialect: Dialect): Failure {
  const kind = dialect[failure.kind]
  if (kind === undefined) return failure
  return new Failure(kind, failure.subject, failure.message, { cause: failure })
}
