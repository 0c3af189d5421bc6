import assert from 'node:assert/strict'
import test from 'node:test'

import type { Share, Waiting } from '../../server/builds/build-rows.ts'
import { heldBack, inOrder } from '../../server/builds/fair-share.ts'

const share = (accountId: string, weight: number, active = 0): Share => ({
  accountId,
  active,
  seconds: weight,
  weight,
})
const waiting = (...accounts: readonly string[]): Waiting[] =>
  accounts.map((accountId, index) => ({ id: `${accountId}${index}`, accountId, arch: 'amd64' }))
const order = (builds: readonly Waiting[], shares: readonly Share[] = []): string =>
  inOrder(builds, shares)
    .map(({ id }) => id)
    .join(' ')

test('of those who have had the same, in turn; of one account, in the order of submission', () => {
  assert.equal(order(waiting('a', 'a', 'a', 'b', 'c')), 'a0 b3 c4 a1 a2')
  assert.equal(order([]), '')
})

test('who has had least comes first, until he has had as much', () => {
  assert.equal(order(waiting('a', 'b', 'b', 'b'), [share('a', 130)]), 'b1 b2 b3 a0')
  assert.equal(order(waiting('a', 'b', 'b', 'b'), [share('a', 100)]), 'b1 b2 a0 b3')
})

test('200 builds of 10 users: at any time each has had the same, give or take one', () => {
  // Handed in user by user, which is the worst order.
  const builds = Array.from({ length: 10 }, (_, user) => Array<string>(20).fill(`u${user}`)).flat()
  const started = inOrder(waiting(...builds), [])
  assert.equal(started.length, 200)
  for (let count = 1; count <= 200; count += 1) {
    const perUser = new Map<string, number>()
    for (const { accountId } of started.slice(0, count)) {
      perUser.set(accountId, (perUser.get(accountId) ?? 0) + 1)
    }
    const numbers = Array.from({ length: 10 }, (_, user) => perUser.get(`u${user}`) ?? 0)
    assert.ok(Math.max(...numbers) - Math.min(...numbers) <= 1, `after ${count}: ${numbers.join()}`)
  }
})

test('limits hold back whoever has reached them', () => {
  const limits = { runningPerUser: 2, secondsPerPeriod: 600 }
  assert.equal(heldBack(undefined, limits), undefined)
  assert.equal(heldBack(share('a', 599, 1), limits), undefined)
  assert.match(heldBack(share('a', 10, 2), limits) ?? '', /2 running builds, and 2 is the limit/)
  assert.match(heldBack(share('a', 600), limits) ?? '', /have used the 10 minutes/)
  assert.equal(heldBack(share('a', 600), { ...limits, secondsPerPeriod: 0 }), undefined)
})
