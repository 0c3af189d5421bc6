/**
 * Times in the zone of this host, with its abbreviation (JST), which neither Date nor Intl names:
 * read from the host's time zone file (RFC 9636).
 */
import { readFileSync } from 'node:fs'

export interface LocalTime {
  readonly year: number
  /** 1 to 12. */
  readonly month: number
  readonly day: number
  readonly hour: number
  readonly minute: number
  readonly second: number
  /** `+0900`. */
  readonly offset: string
  /** `JST`; the offset again where the zone has no abbreviation. */
  readonly zone: string
}

export function localTime(time: Date): LocalTime {
  const minutes = -time.getTimezoneOffset()
  const sign = minutes < 0 ? '-' : '+'
  const hours = Math.floor(Math.abs(minutes) / 60)
  const offset = `${sign}${two(hours)}${two(Math.abs(minutes) % 60)}`
  return {
    year: time.getFullYear(),
    month: time.getMonth() + 1,
    day: time.getDate(),
    hour: time.getHours(),
    minute: time.getMinutes(),
    second: time.getSeconds(),
    offset,
    zone: abbreviationAt(zoneFile(), time, minutes * 60) ?? offset,
  }
}

interface Period {
  /** Unix seconds of its begin. */
  readonly from: number
  readonly abbreviation: string
}

interface Zone {
  readonly periods: readonly Period[]
  /** What holds after the last of them: `JST-9`, `CET-1CEST,M3.5.0,M10.5.0/3`. */
  readonly rule: string
}

/** `offsetSeconds` east of UTC tells standard time and daylight saving time apart in the rule. */
export function abbreviationAt(
  file: Buffer | undefined,
  time: Date,
  offsetSeconds: number,
): string | undefined {
  const zone = file && parseZone(file)
  if (zone === undefined) return undefined
  const seconds = Math.floor(time.getTime() / 1000)
  const next = zone.periods.findIndex(({ from }) => from > seconds)
  const isAfterAll = next < 0
  const found = isAfterAll
    ? (fromRule(zone.rule, offsetSeconds) ?? zone.periods.at(-1)?.abbreviation)
    : zone.periods[Math.max(0, next - 1)]?.abbreviation
  // Zones without a name of their own carry their offset here.
  return found === undefined || /^[-+]/.test(found) ? undefined : found
}

function fromRule(rule: string, offsetSeconds: number): string | undefined {
  const name = '(<[^>]+>|[A-Za-z]{3,})'
  const match = new RegExp(`^${name}([-+]?\\d+)(?::(\\d+))?(?::(\\d+))?(?:${name})?`).exec(rule)
  if (match === null) return undefined
  const [, standard, hours = '0', minutes = '0', seconds = '0', saving] = match
  // POSIX counts west of Greenwich.
  const west = Math.abs(Number(hours)) * 3600 + Number(minutes) * 60 + Number(seconds)
  const standardOffset = hours.startsWith('-') ? west : -west
  const chosen = saving !== undefined && standardOffset !== offsetSeconds ? saving : standard
  return chosen?.replace(/^<|>$/g, '')
}

/** The second block, with 64-bit times; files without one are older than anybody's login node. */
function parseZone(file: Buffer): Zone | undefined {
  if (file.toString('latin1', 0, 4) !== 'TZif' || file.readUInt8(4) < 0x32) return undefined
  const first = countsAt(file, 0)
  const start = 44 + blockBytes(first, 4)
  const counts = countsAt(file, start)
  const times = start + 44
  const indexes = times + counts.times * 8
  const types = indexes + counts.times
  const names = types + counts.types * 6
  const periods = Array.from({ length: counts.times }, (_, i) => ({
    from: Number(file.readBigInt64BE(times + i * 8)),
    abbreviation: nameOf(file, types + file.readUInt8(indexes + i) * 6, names),
  }))
  const rule = file.toString('latin1', start + 44 + blockBytes(counts, 8)).trim()
  return { periods, rule }
}

interface Counts {
  readonly isUt: number
  readonly isStandard: number
  readonly leap: number
  readonly times: number
  readonly types: number
  readonly characters: number
}

function countsAt(file: Buffer, start: number): Counts {
  const [isUt = 0, isStandard = 0, leap = 0, times = 0, types = 0, characters = 0] = [
    20, 24, 28, 32, 36, 40,
  ].map((offset) => file.readUInt32BE(start + offset))
  return { isUt, isStandard, leap, times, types, characters }
}

function blockBytes(counts: Counts, timeBytes: number): number {
  const { isUt, isStandard, leap, times, types, characters } = counts
  return (
    times * (timeBytes + 1) + types * 6 + characters + leap * (timeBytes + 4) + isStandard + isUt
  )
}

function nameOf(file: Buffer, type: number, names: number): string {
  const begin = names + file.readUInt8(type + 5)
  return file.toString('latin1', begin, file.indexOf(0, begin))
}

function zoneFile(): Buffer | undefined {
  const zone = (process.env['TZ'] ?? '').replace(/^:/, '')
  const path =
    zone === '' ? '/etc/localtime' : zone.startsWith('/') ? zone : `/usr/share/zoneinfo/${zone}`
  try {
    return readFileSync(path)
  } catch {
    return undefined
  }
}

function two(value: number): string {
  return String(value).padStart(2, '0')
}
