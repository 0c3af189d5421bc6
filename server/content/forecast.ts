/** The day on which the disk is full, from how much was stored on the last days. */
import type { DailyTotal } from './holdings.ts'

export type Forecast =
  /** Too few days to see a trend in. */
  | { readonly kind: 'unknown'; readonly days: number; readonly needed: number }
  /** What is stored shrinks, stays, or needs longer than anybody plans for. */
  | { readonly kind: 'never'; readonly bytesPerDay: number }
  | { readonly kind: 'full'; readonly bytesPerDay: number; readonly day: string }

/** Fewer days say more about one large push than about the site. */
const neededDays = 14
const farthestDays = 3650
const dayMs = 86_400_000

/**
 * A line through what was stored day by day (least squares: one large push or deletion bends it
 * little) tells the growth; the room is what is free now beyond `keepFreeBytes`, at which uploads are
 * refused. Days without a count are gaps, not zeros. `now` is the day from which it counts.
 */
export function forecast(
  totals: readonly Pick<DailyTotal, 'day' | 'storedBytes'>[],
  room: { readonly freeBytes: number; readonly keepFreeBytes: number },
  now: Date,
): Forecast {
  const points = totals.map(({ day, storedBytes }) => ({
    x: Date.parse(`${day}T00:00:00Z`) / dayMs,
    y: storedBytes,
  }))
  const first = points[0]?.x ?? 0
  const days = points.length === 0 ? 0 : (points.at(-1)?.x ?? first) - first + 1
  if (days < neededDays || points.length < neededDays / 2) {
    return { kind: 'unknown', days, needed: neededDays }
  }
  const bytesPerDay = slope(points)
  const left = Math.max(0, room.freeBytes - room.keepFreeBytes)
  const daysLeft = bytesPerDay > 0 ? left / bytesPerDay : Number.POSITIVE_INFINITY
  if (daysLeft > farthestDays) return { kind: 'never', bytesPerDay }
  const day = new Date(now.getTime() + Math.floor(daysLeft) * dayMs).toISOString().slice(0, 10)
  return { kind: 'full', bytesPerDay, day }
}

function slope(points: readonly { readonly x: number; readonly y: number }[]): number {
  const mean = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / values.length
  const meanX = mean(points.map(({ x }) => x))
  const meanY = mean(points.map(({ y }) => y))
  const rise = points.reduce((sum, { x, y }) => sum + (x - meanX) * (y - meanY), 0)
  const run = points.reduce((sum, { x }) => sum + (x - meanX) ** 2, 0)
  return rise / run
}
