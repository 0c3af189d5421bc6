/** Whether Berth can work: checks by name, each answered in time, as /readyz shows them. */

export interface HealthCheck {
  readonly name: string
  /** Without the others Berth still works, less well. */
  readonly isVital: boolean
  /** Resolves when all is well; rejects otherwise. Why is for the log, not for the page. */
  readonly look: () => Promise<unknown>
}

type CheckState = 'ok' | 'degraded' | 'failed'

interface HealthReport {
  readonly status: 'ready' | 'degraded' | 'not ready'
  readonly checks: Readonly<Record<string, CheckState>>
}

export type Health = () => Promise<HealthReport>

/** Less than the 5 seconds after which whoever asks gives up. */
const patienceMs = 3_000
/** Those who ask at the same time, or again and again, share an answer. */
const sharedMs = 1_000

/** `tell` gets the reason of each check that has failed. */
export function healthOf(
  checks: readonly HealthCheck[],
  tell: (name: string, error: unknown) => void,
): Health {
  let last: { readonly at: number; readonly report: Promise<HealthReport> } | undefined
  return async () => {
    if (last === undefined || performance.now() - last.at > sharedMs) {
      last = { at: performance.now(), report: examine(checks, tell) }
    }
    return await last.report
  }
}

async function examine(
  checks: readonly HealthCheck[],
  tell: (name: string, error: unknown) => void,
): Promise<HealthReport> {
  const states = await Promise.all(
    checks.map(async ({ name, isVital, look }): Promise<[string, CheckState]> => {
      try {
        await inTime(look())
        return [name, 'ok']
      } catch (error) {
        tell(name, error)
        return [name, isVital ? 'failed' : 'degraded']
      }
    }),
  )
  const found = new Set(states.map(([, state]) => state))
  const status = found.has('failed') ? 'not ready' : found.has('degraded') ? 'degraded' : 'ready'
  return { status, checks: Object.fromEntries(states) }
}

async function inTime(looking: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error('no answer in time')), patienceMs)
  })
  try {
    await Promise.race([looking, late])
  } finally {
    clearTimeout(timer)
  }
}
