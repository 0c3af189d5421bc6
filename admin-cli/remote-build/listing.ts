/** Builds as a person reads them: `build list` and `build status`. */
import { printable } from '../printable.ts'
import { table } from '../table.ts'
import { localTime } from '../time-zone.ts'
import type { Build } from './builder.ts'

export function buildTable(builds: readonly Build[]): string {
  const rows = builds.map((build) => [
    build.id,
    build.state,
    build.arch,
    when(build.submitTime),
    build.libraryRef,
  ])
  return table([['ID', 'STATE', 'ARCH', 'SUBMITTED', 'IMAGE'], ...rows])
}

export function buildText(build: Build): string {
  const { queue } = build
  const lines: readonly (readonly [string, string])[] = [
    ['Build', build.id],
    ['State', build.state],
    ['Reason', build.reason ?? ''],
    [
      'Queue',
      queue === undefined ? '' : `place ${queue.position} of ${queue.waiting}, ${queue.reason}`,
    ],
    ['Architecture', build.arch],
    ['Submitted', when(build.submitTime)],
    ['Started', when(build.startTime)],
    ['Ended', when(build.completeTime)],
    ['Image', build.libraryRef],
    ['Size', build.imageSize > 0 ? `${build.imageSize} bytes` : ''],
    ['Hash', build.imageChecksum],
  ]
  return lines
    .filter(([, value]) => value !== '')
    .map(([name, value]) => `${`${name}:`.padEnd(14)}${printable(value)}\n`)
    .join('')
}

/** Go's zero time, which stands for "not yet", is empty. */
function when(iso: string): string {
  const time = new Date(iso)
  if (Number.isNaN(time.getTime()) || time.getFullYear() < 1970) return ''
  const { year, month, day, hour, minute, zone } = localTime(time)
  const two = (value: number): string => String(value).padStart(2, '0')
  return `${year}-${two(month)}-${two(day)} ${two(hour)}:${two(minute)} ${zone}`
}
