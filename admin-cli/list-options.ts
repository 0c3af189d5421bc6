/** What listings are asked by: since when, how many. */
import { UsageError } from './exit.ts'

/** A time, or how long ago. */
export function timeOf(text: string): Date {
  const ago = /^(\d{1,6})(m|h|d)$/.exec(text)
  const minutes = { m: 1, h: 60, d: 1440 }[ago?.[2] ?? ''] ?? Number.NaN
  const time = ago ? new Date(Date.now() - Number(ago[1]) * minutes * 60_000) : new Date(text)
  if (!Number.isNaN(time.getTime())) return time
  throw new UsageError(`"${text}" is not a time: try 2026-11-21, or 2h, or 7d.`)
}

/** How many lines at the most. */
export function countOf(text: string): number {
  const count = Number(text)
  if (Number.isSafeInteger(count) && count > 0 && count <= 1_000_000) return count
  throw new UsageError(`"${text}" is not a number of lines.`)
}
