import { invalid } from '../failure.ts'

const seconds = { d: 86_400, h: 3600, m: 60, s: 1 } as const
const duration = /^(?:\d{1,9}(?:\.\d{1,9})?(?:d|h|m|s|ms|us|µs|ns))+$/

/**
 * How long a token is to live, in seconds: a Go duration (`8760h`, `1h30m`), or days (`30d`), which
 * the interface gives as its example although Go has none. At least one second.
 */
export function parseLifetime(text: string): number {
  if (text.length > 64 || !duration.test(text)) {
    throw invalid('request', `"dur" is not a duration: expected something like 30d or 720h.`)
  }
  const parts = [...text.matchAll(/([\d.]+)(d|h|m(?!s)|s)/g)]
  const total = parts.reduce(
    (sum, [, amount, unit]) => sum + Number(amount) * seconds[unit as keyof typeof seconds],
    0,
  )
  if (total >= 1) return Math.floor(total)
  throw invalid('request', `"dur" is shorter than a second.`)
}
