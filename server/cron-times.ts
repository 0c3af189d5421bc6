/** When a schedule of five cron fields is due, in UTC: whole minutes before and after a moment. */
import { parse } from 'node-cron'

const minuteMs = 60_000
/** A schedule that is due less often than this is none of a housekeeper's. */
const horizonMinutes = 35 * 1440

/** The last due time that is not after `moment`. */
export function lastDue(cron: string, moment: Date): Date {
  return search(cron, moment, -1)
}

/** The first due time after `moment`. */
export function nextDue(cron: string, moment: Date): Date {
  return search(cron, new Date(moment.getTime() + minuteMs), 1)
}

function search(cron: string, from: Date, direction: 1 | -1): Date {
  const isDue = matcher(cron)
  const first = Math.floor(from.getTime() / minuteMs)
  for (let step = 0; step < horizonMinutes; step += 1) {
    const moment = new Date((first + direction * step) * minuteMs)
    if (isDue(moment)) return moment
  }
  throw new RangeError(`"${cron}" is not due within ${horizonMinutes} minutes`)
}

function matcher(cron: string): (moment: Date) => boolean {
  const fields = parse(cron)
  const [minutes, hours, months] = [fields.minute, fields.hour, fields.month].map(
    (values) => new Set(values),
  )
  const days = new Set(fields.dayOfMonth.map(Number))
  // Sunday is 0 and 7.
  const weekdays = new Set(fields.dayOfWeek.map((day) => Number(day) % 7))
  return (moment) =>
    minutes?.has(moment.getUTCMinutes()) === true &&
    hours?.has(moment.getUTCHours()) === true &&
    days.has(moment.getUTCDate()) &&
    months?.has(moment.getUTCMonth() + 1) === true &&
    weekdays.has(moment.getUTCDay())
}
