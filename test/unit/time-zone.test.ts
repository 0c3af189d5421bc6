import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import test from 'node:test'

import { abbreviationAt } from '../../admin-cli/time-zone.ts'

const zones = '/usr/share/zoneinfo'
const skip = existsSync(`${zones}/Asia/Tokyo`) ? false : 'there are no time zone files here'

const hour = 3600
const cases: readonly (readonly [string, string, number, string | undefined])[] = [
  ['Asia/Tokyo', '2023-04-05T09:55:00Z', 9 * hour, 'JST'],
  ['Asia/Tokyo', '2096-04-05T09:55:00Z', 9 * hour, 'JST'],
  ['Asia/Tokyo', '1949-07-01T00:00:00Z', 10 * hour, 'JDT'],
  ['UTC', '2026-01-01T00:00:00Z', 0, 'UTC'],
  ['Europe/Berlin', '2026-01-15T12:00:00Z', hour, 'CET'],
  ['Europe/Berlin', '2026-07-15T12:00:00Z', 2 * hour, 'CEST'],
  ['Europe/Berlin', '2090-07-15T12:00:00Z', 2 * hour, 'CEST'],
  ['America/New_York', '2026-07-15T12:00:00Z', -4 * hour, 'EDT'],
  ['America/New_York', '2090-01-15T12:00:00Z', -5 * hour, 'EST'],
  ['Asia/Kolkata', '2026-01-15T12:00:00Z', 5.5 * hour, 'IST'],
  // Zones without a name of their own have their offset in its place.
  ['America/Sao_Paulo', '2026-01-15T12:00:00Z', -3 * hour, undefined],
]
for (const [zone, time, offset, want] of cases) {
  test(`${zone} at ${time} is ${want ?? 'without a name'}`, { skip }, () => {
    const file = readFileSync(`${zones}/${zone}`)
    assert.equal(abbreviationAt(file, new Date(time), offset), want)
  })
}

test('without a file, or with one that is none, there is no name', () => {
  const now = new Date()
  assert.equal(abbreviationAt(undefined, now, 0), undefined)
  assert.equal(abbreviationAt(Buffer.from('no time zone'), now, 0), undefined)
})
