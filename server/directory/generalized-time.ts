/**
 * A time as directories write it (RFC 4517, 3.3.13): 20260131235959Z, with parts of the hour, the
 * minute or the second behind a dot or comma, and with Z or an offset. Undefined for anything else.
 */
export function parseGeneralizedTime(text: string): Date | undefined {
  const match =
    /^(\d{4})(\d\d)(\d\d)(\d\d)(?:(\d\d)(\d\d)?)?(?:[.,](\d{1,9}))?(?:Z|([+-])(\d\d)(\d\d)?)$/.exec(
      text,
    )
  if (match === null) return undefined
  const [, year, month, day, hour, minute, second, fraction, sign, offsetHours, offsetMinutes] =
    match
  const utc = Date.UTC(
    Number(year),
    Number(month) - 1,
    Number(day),
    Number(hour),
    Number(minute ?? 0),
    // 60 is a leap second.
    Math.min(Number(second ?? 0), 59),
  )
  const date = new Date(utc)
  if (date.getUTCMonth() !== Number(month) - 1 || date.getUTCDate() !== Number(day))
    return undefined
  const unitMs = minute === undefined ? 3_600_000 : second === undefined ? 60_000 : 1000
  const partMs = fraction === undefined ? 0 : Number(`0.${fraction}`) * unitMs
  const offset = Number(offsetHours ?? 0) * 60 + Number(offsetMinutes ?? 0)
  return new Date(utc + partMs - (sign === '-' ? -offset : offset) * 60_000)
}
