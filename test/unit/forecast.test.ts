import assert from 'node:assert/strict'
import test from 'node:test'

import { forecast } from '../../server/content/forecast.ts'

const gib = 2 ** 30
const now = new Date('2026-11-21T12:00:00Z')
const dayBefore = (days: number): string =>
  new Date(now.getTime() - days * 86_400_000).toISOString().slice(0, 10)
/** The last so many days, with what was stored on each. */
const days = (count: number, stored: (daysAgo: number) => number) =>
  Array.from({ length: count }, (_, index) => count - 1 - index).map((daysAgo) => ({
    day: dayBefore(daysAgo),
    storedBytes: stored(daysAgo),
  }))
const room = { freeBytes: 51 * gib, keepFreeBytes: gib }

test('steady growth fills the room that is there beyond the reserve', () => {
  const found = forecast(
    days(28, (ago) => (100 - ago) * gib),
    room,
    now,
  )
  assert.deepEqual(found, { kind: 'full', bytesPerDay: gib, day: '2027-01-10' })
})

test('one large push among quiet days bends the line little', () => {
  const found = forecast(
    days(28, (ago) => (ago === 14 ? 30 : 10) * gib),
    room,
    now,
  )
  assert.ok(found.kind !== 'unknown' && Math.abs(found.bytesPerDay) < 0.1 * gib)
})

for (const [name, totals] of [
  ['shrinks', days(28, (ago) => (10 + ago) * gib)],
  ['stays', days(28, () => 10 * gib)],
  ['grows by nothing that anybody would notice', days(28, (ago) => 10 * gib - ago * 1000)],
] as const) {
  test(`what ${name} never fills the disk`, () => {
    assert.equal(forecast(totals, room, now).kind, 'never')
  })
}

for (const [name, totals, counted] of [
  ['no day', [], 0],
  ['one day', days(1, () => gib), 1],
  ['thirteen days', days(13, (ago) => (100 - ago) * gib), 13],
] as const) {
  test(`${name} says nothing yet`, () => {
    assert.deepEqual(forecast(totals, room, now), { kind: 'unknown', days: counted, needed: 14 })
  })
}

test('days on which nothing ran are gaps, and two days far apart are no trend', () => {
  const gaps = days(28, (ago) => (100 - ago) * gib).filter((_, index) => index % 3 === 0)
  const found = forecast(gaps, room, now)
  assert.ok(found.kind === 'full' && Math.round(found.bytesPerDay) === gib)
  const two = days(28, (ago) => (100 - ago) * gib).filter((_, index) => index % 27 === 0)
  assert.equal(forecast(two, room, now).kind, 'unknown')
})

test('a disk that is full already is full today', () => {
  const full = { freeBytes: gib / 2, keepFreeBytes: gib }
  const found = forecast(
    days(28, (ago) => (100 - ago) * gib),
    full,
    now,
  )
  assert.ok(found.kind === 'full' && found.day === '2026-11-21')
})
