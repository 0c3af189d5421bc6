/** A check of `berthctl doctor`: what may be wrong with a site, how it is seen, and what mends it. */

/** Undefined: all is well. */
export type Outcome =
  | undefined
  | {
      readonly state: 'fault' | 'warning'
      /** What is wrong, with the names and figures of this site. No secret. */
      readonly what: string
      /** Where the check knows a better way than its table says. */
      readonly fix?: string
    }
  /** It could not be looked at, or concerns nothing here. */
  | { readonly state: 'skipped'; readonly what: string }

export interface Check<Subject> {
  /** By which scripts know it; stays the same from release to release. */
  readonly name: string
  readonly run: (subject: Subject) => Promise<Outcome> | Outcome
  readonly fix: string
}

export interface Finding {
  readonly check: string
  readonly state: 'ok' | 'fault' | 'warning' | 'skipped'
  readonly what: string
  /** Of faults and warnings. */
  readonly fix: string
}

export const fault = (what: string, fix?: string): Outcome => ({
  state: 'fault',
  what,
  ...(fix === undefined ? {} : { fix }),
})

export const warning = (what: string, fix?: string): Outcome => ({
  state: 'warning',
  what,
  ...(fix === undefined ? {} : { fix }),
})

export const skipped = (what: string): Outcome => ({ state: 'skipped', what })

/** All of a table at the same time; a check that breaks is a fault of its own. */
export async function runChecks<Subject>(
  checks: readonly Check<Subject>[],
  subject: Subject,
): Promise<Finding[]> {
  return await Promise.all(
    checks.map(async (check): Promise<Finding> => {
      const { name, fix } = check
      try {
        const outcome = await check.run(subject)
        if (outcome === undefined) return { check: name, state: 'ok', what: '', fix: '' }
        if (outcome.state === 'skipped') return { check: name, ...outcome, fix: '' }
        return { check: name, fix, ...outcome }
      } catch (error) {
        return { check: name, state: 'fault', what: messageOf(error), fix }
      }
    }),
  )
}

export function skipAll<Subject>(checks: readonly Check<Subject>[], why: string): Finding[] {
  return checks.map(({ name }) => ({ check: name, state: 'skipped', what: why, fix: '' }))
}

/** With what lies beneath: sockets and TLS say there what has happened. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const [own = ''] = (error.message || error.name).split('\n', 1)
  const cause = error.cause === undefined ? '' : messageOf(error.cause)
  return own.includes(cause) ? own : `${own}: ${cause}`
}

/** Codes of an error and of those beneath it, such as ECONNREFUSED. */
export function codesOf(error: unknown): readonly string[] {
  if (!(error instanceof Error)) return []
  const { code } = error as { code?: unknown }
  return [...(typeof code === 'string' ? [code] : []), ...codesOf(error.cause)]
}
