/** Structured log lines on standard output, one JSON object each (journald keeps them). */
import { pino } from 'pino'
import type { Logger } from 'pino'

export type Log = Logger

export function createLog(level: string): Log {
  return pino({
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    // The second line of defence: nothing passes these fields in, and if something does it is cut.
    redact: {
      paths: ['authorization', 'password', 'token', '*.authorization', '*.password', '*.token'],
      censor: '[redacted]',
    },
  })
}
