import assert from 'node:assert/strict'
import test from 'node:test'

import { lastDue, nextDue } from '../../server/cron-times.ts'

const cases: readonly (readonly [string, string, string, string])[] = [
  ['*/15 * * * *', '2026-03-01T10:07:30Z', '2026-03-01T10:00:00Z', '2026-03-01T10:15:00Z'],
  ['*/15 * * * *', '2026-03-01T10:15:00Z', '2026-03-01T10:15:00Z', '2026-03-01T10:30:00Z'],
  ['23 * * * *', '2026-01-01T00:00:00Z', '2025-12-31T23:23:00Z', '2026-01-01T00:23:00Z'],
  ['41 2 * * *', '2026-03-29T02:40:59Z', '2026-03-28T02:41:00Z', '2026-03-29T02:41:00Z'],
  ['0 4 * * 0', '2026-11-21T12:00:00Z', '2026-11-15T04:00:00Z', '2026-11-22T04:00:00Z'],
  ['0 4 1 * *', '2026-02-15T12:00:00Z', '2026-02-01T04:00:00Z', '2026-03-01T04:00:00Z'],
]
for (const [cron, moment, last, next] of cases) {
  test(`"${cron}" around ${moment}`, () => {
    assert.equal(lastDue(cron, new Date(moment)).toISOString(), new Date(last).toISOString())
    assert.equal(nextDue(cron, new Date(moment)).toISOString(), new Date(next).toISOString())
  })
}

test('a schedule that is due less than once a month is a mistake', () => {
  assert.throws(() => nextDue('0 0 29 2 *', new Date('2026-05-01')), RangeError)
})
