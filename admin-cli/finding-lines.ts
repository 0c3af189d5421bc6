import type { Finding } from '../server/fsck.ts'

const remarks = { repaired: ' (repaired)', repairable: ' (--repair)', open: '' } as const

/** What the check of everything has found, for people. */
export function findingLines(findings: readonly Finding[]): string {
  return findings
    .map(({ kind, subject, problem, state }) => `${kind} ${subject}: ${problem}${remarks[state]}\n`)
    .join('')
}
