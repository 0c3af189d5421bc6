import assert from 'node:assert/strict'
import test from 'node:test'

import { disableAccount, enableAccount, hostOperator } from '../../server/accounts/accounts.ts'
import { sql } from '../../server/database.ts'
import { assertProblem, Client } from '../support/client.ts'
import type { Reply } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import type { TestServer } from '../support/server.ts'

async function signIn(server: TestServer, name: string, password: string): Promise<Reply> {
  const basic = Buffer.from(`${name}:${password}`).toString('base64')
  return await new Client(server.url, undefined).send('POST', '/api/v1/tokens', {
    headers: { authorization: `Basic ${basic}`, 'content-type': 'application/json' },
    body: '{"label":"test"}',
  })
}

const limited = (limits: Readonly<Record<string, number>>) => ({ settings: { sign_in: limits } })

async function reasons(server: TestServer): Promise<string[]> {
  const rows = await server.db.query<{ reason: string }>(sql`
    select details->>'reason' || ' ' || count(*) as "reason" from audit
    where action = 'account.sign-in' and outcome = 'refused'
    group by details->>'reason' order by 1`)
  return rows.map(({ reason }) => reason)
}

test('whoever is refused hears the same words, and the reason is in the audit log', async (t) => {
  const server = await startServer(t)
  await server.account('somebody')
  await server.account('gone')
  await disableAccount(server.appliance.database, hostOperator, 'gone')
  const wrong: readonly (readonly [string, string])[] = [
    ['somebody', 'not-the-password'],
    ['nobody', 'somebody-password'],
    ['*', 'somebody-password'],
    ['gone', 'gone-password'],
    ['somebody', ''],
    ['', 'somebody-password'],
    ['somebody\0', 'somebody-password'],
    ['somebody', 'somebody-password\0'],
    ['n'.repeat(6000), 'x'],
  ]
  const replies = await Promise.all(
    wrong.map(async ([name, password]) => await signIn(server, name, password)),
  )
  for (const reply of replies) assertProblem(reply, 401, /^The name or the password is wrong\.$/)
  assert.equal(new Set(replies.map((reply) => reply.body.toString())).size, 1)
  assert.deepEqual(await reasons(server), ['disabled 1', 'malformed 5', 'password 1', 'unknown 2'])
})

test('a right password is written down, and blanks and capitals around a name do not matter', async (t) => {
  const server = await startServer(t)
  await server.account('carol')
  for (const spelling of ['carol', 'CAROL', ' carol ']) {
    assert.equal((await signIn(server, spelling, 'carol-password')).status, 201, spelling)
  }
  const rows = await server.db.query<{ target: string }>(sql`
    select target from audit where action = 'account.sign-in' and outcome = 'done'`)
  assert.deepEqual(
    rows.map(({ target }) => target),
    ['carol', 'carol', 'carol'],
  )
})

test('an account takes five wrong passwords; then the right one waits as well', async (t) => {
  const server = await startServer(t)
  await server.account('guessed')
  await server.account('neighbour')
  // At once, so that nobody gets more guesses by asking in parallel.
  const spellings = ['guessed', 'GUESSED', ' guessed', 'guessed']
  const guesses = await Promise.all(
    Array.from(
      { length: 12 },
      async (_, i) => await signIn(server, spellings[i % spellings.length] ?? '', `guess ${i}`),
    ),
  )
  const refused = (status: number) => guesses.filter((reply) => reply.status === status).length
  assert.deepEqual([refused(401), refused(429)], [5, 7])
  const late = await signIn(server, 'guessed', 'guessed-password')
  assertProblem(late, 429, /Too many wrong passwords: try again in 15 minutes/)
  const wait = Number(late.headers['retry-after'])
  assert.ok(wait > 800 && wait <= 900, `${wait} seconds`)
  assert.equal((await signIn(server, 'neighbour', 'neighbour-password')).status, 201)
  // The flood itself does not fill the log.
  assert.deepEqual(await reasons(server), ['password 5', 'throttled 1'])

  const again = await server.restart()
  assertProblem(await signIn(again, 'guessed', 'guessed-password'), 429)
  // Fifteen minutes later.
  await again.db.query(sql`update sign_in_attempts set at = at - interval '15 minutes'`)
  assert.equal((await signIn(again, 'guessed', 'guessed-password')).status, 201)
})

test('a right password forgets the wrong ones before it', async (t) => {
  const server = await startServer(t, limited({ failures_per_account: 2 }))
  await server.account('clumsy')
  for (let round = 0; round < 3; round += 1) {
    assertProblem(await signIn(server, 'clumsy', 'wrong'), 401)
    assert.equal((await signIn(server, 'clumsy', 'clumsy-password')).status, 201)
  }
})

test('an address that tries many names is stopped, known or unknown ones', async (t) => {
  const server = await startServer(t, limited({ failures_per_address: 6 }))
  await server.account('known')
  const names = ['known', ...Array.from({ length: 9 }, (_, i) => `unknown-${i}`)]
  const replies = await Promise.all(names.map(async (name) => await signIn(server, name, 'Spring')))
  const refused = replies.filter(({ status }) => status === 429)
  assert.equal(refused.length, 4)
  assertProblem(await signIn(server, 'known', 'known-password'), 429, /seconds/)
})

test('attempts that no window reaches any more are forgotten', async (t) => {
  const server = await startServer(t)
  await signIn(server, 'nobody', 'x')
  await server.db.query(sql`update sign_in_attempts set at = at - interval '16 minutes'
    where subject like 'account:%'`)
  assert.equal(await server.appliance.signIn.forgetOldAttempts(), 1)
  assert.equal(await server.appliance.signIn.forgetOldAttempts(), 0)
})

test('a disabled account has no tokens either, until it is enabled again', async (t) => {
  const server = await startServer(t)
  const { database } = server.appliance
  const client = await server.user('shaky')
  assert.equal((await client.get('/v1/token-status')).status, 200)
  await disableAccount(database, hostOperator, 'shaky')
  await disableAccount(database, hostOperator, 'shaky')
  assert.equal((await client.get('/v1/token-status')).status, 404)
  await enableAccount(database, hostOperator, 'shaky')
  assert.equal((await client.get('/v1/token-status')).status, 200)
  await assert.rejects(disableAccount(database, hostOperator, 'nobody'), /no account "nobody"/)
  const rows = await server.db.query<{ action: string }>(sql`
    select action from audit where target = 'shaky' and action like 'account.%' order by id`)
  assert.deepEqual(
    rows.map(({ action }) => action),
    ['account.disable', 'account.enable'],
  )
})

test('an unknown name and a wrong password take the same time', async (t) => {
  const server = await startServer(
    t,
    limited({ failures_per_account: 1000, failures_per_address: 1000 }),
  )
  await server.account('timed')
  const took: Record<'timed' | 'untimed', number[]> = { timed: [], untimed: [] }
  const names = ['timed', 'untimed'] as const
  const measure = async (name: keyof typeof took): Promise<void> => {
    const startedAt = performance.now()
    assertProblem(await signIn(server, name, 'wrong'), 401)
    took[name].push(performance.now() - startedAt)
  }
  for (let round = 0; round < 40; round += 1) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) await measure(name)
  }
  // Whatever else the machine does only adds: what the work itself takes is in the quick ones.
  const [known, unknown] = [quick(took.timed), quick(took.untimed)]
  const difference = Math.abs(known - unknown)
  assert.equal(took.timed.length + took.untimed.length, 80)
  assert.ok(
    difference < Math.max(10, known / 8),
    `${known.toFixed(1)} ms for a known name, ${unknown.toFixed(1)} ms for an unknown one`,
  )
})

/** The duration that one in five was quicker than. */
function quick(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 5)] ?? 0
}
