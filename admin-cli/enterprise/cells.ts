/** Cells as the enterprise plugin prints them (enterprise.md 5), which people and scripts know. */
import { localTime } from '../time-zone.ts'

export function listCell(items: readonly unknown[] | undefined): string {
  return `[${(items ?? []).map(String).join(' ')}]`
}

export function mapCell(entries: Readonly<Record<string, string>> | undefined): string {
  const sorted = Object.entries(entries ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))
  return `map[${sorted.map(([key, value]) => `${key}:${value}`).join(' ')}]`
}

/** Bytes: ` 64.0 MiB`. */
export function sizeCell(bytes: number): string {
  if (bytes < 1024) return `${String(bytes).padStart(5)} B`
  const units = ['KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB']
  let value = bytes / 1024
  let unit = 0
  for (; value >= 1024 && unit < units.length - 1; unit += 1) value /= 1024
  return `${value.toFixed(1).padStart(5)} ${units[unit]}`
}

/** ISO 8601 → `2026-01-10 09:00:00 +0000 UTC` in the zone of this host; a zero time is empty. */
export function timeCell(text: string | null | undefined): string {
  if (text === null || text === undefined || text === '') return ''
  const time = new Date(text)
  if (Number.isNaN(time.getTime())) return text
  if (text.startsWith('0001-01-01T00:00:00')) return ''
  const { year, month, day, hour, minute, second, offset, zone } = localTime(time)
  const millis = time.getUTCMilliseconds()
  const fraction = millis === 0 ? '' : `.${String(millis).padStart(3, '0').replace(/0+$/, '')}`
  const date = `${year}-${two(month)}-${two(day)}`
  return `${date} ${two(hour)}:${two(minute)}:${two(second)}${fraction} ${offset} ${zone}`
}

/** Of more than 50 bytes the first 46. */
export function shortCell(text: string | undefined): string {
  const bytes = Buffer.from(text ?? '', 'utf8')
  if (bytes.length <= 50) return text ?? ''
  // A character that is cut in two is left out.
  return `${bytes
    .subarray(0, 46)
    .toString('utf8')
    .replace(/\uFFFD+$/, '')}...`
}

function two(value: number): string {
  return String(value).padStart(2, '0')
}
