/** berthctl account, group and token: what an administrator wants to know and to do. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test, { after } from 'node:test'

import { replaceMemberships } from '../../server/accounts/groups.ts'
import { sql } from '../../server/database.ts'
import { startServer } from '../support/server.ts'
import { assertDone, assertRefused, run } from './command.ts'
import { controlOf } from './control.ts'

const server = await startServer({ after })
const { berthctl, json, file } = controlOf({ after }, server)
const alice = await server.user('alice')
await server.account('root')

test('an account is shown with its groups, space and tokens', async () => {
  await server.appliance.database.transaction(
    async (tx) => await replaceMemberships(tx, alice.credentials?.accountId ?? '', ['users']),
  )
  const shown = await berthctl('account', 'show', 'alice')
  assertDone(shown)
  assert.match(shown.stdout, /^Account +alice\n[^]*\nGroups +users\n[^]*\nTokens +1 live\n/)
  const { groups, liveTokens } = await json<{ groups: string[]; liveTokens: number }>(
    'account',
    'show',
    'alice',
  )
  assert.deepEqual([groups, liveTokens], [['users'], 1])
  assertRefused(await berthctl('account', 'show', 'nobody'), 1, /no account "nobody"/)

  const group = await berthctl('group', 'show', 'users')
  assertDone(group)
  assert.match(
    group.stdout,
    /^Group +users\n[^]*\nAdministrates +no\nSpace +none: .*\nMembers +alice\n/,
  )
  assertRefused(await berthctl('group', 'show', 'none'), 1, /no group "none" here/)
})

test('the role of a local account is given and taken', async () => {
  const isAdmin = async (): Promise<boolean> =>
    (await json<{ isAdmin: boolean }>('account', 'show', 'root')).isAdmin
  assertDone(await berthctl('account', 'promote', 'root'))
  assert.equal(await isAdmin(), true)
  assertDone(await berthctl('account', 'demote', 'root'))
  assert.equal(await isAdmin(), false)
  assertRefused(await berthctl('account', 'promote', 'nobody'), 1, /no account "nobody"/)
})

test('a token for a robot is issued, shown and revoked', async () => {
  const issued = await berthctl('token', 'issue', 'alice', '--label', 'robot', '--days', '7')
  assertDone(issued)
  const token = issued.stdout.trim()
  const id = /^The token ([0-9a-f]{24}) of alice/.exec(issued.stderr)?.[1] ?? ''
  assert.ok(!issued.stderr.includes(token))
  const headers = { authorization: `Bearer ${token}` }
  const status = async (): Promise<number> =>
    (await server.anonymous.send('GET', '/v1/token-status', { headers })).status
  assert.equal(await status(), 200)

  const shown = await berthctl('token', 'show', id)
  assertDone(shown)
  assert.match(shown.stdout, /^Token +\S+\nAccount +alice\nState +live\nScope +all\nLabel +robot\n/)
  assert.match(shown.stdout, /\nLast used +\d{4}/)
  assert.ok(!shown.stdout.includes(token))
  assertDone(await berthctl('token', 'revoke', id, '--yes'))
  assert.equal(await status(), 404)
  assert.match((await berthctl('token', 'show', id)).stdout, /\nState +revoked\n/)
  const past = await berthctl('token', 'issue', 'alice', '--days', '0')
  assertRefused(past, 2, /--days is a number of days/)
  assertRefused(await berthctl('token', 'issue', 'nobody'), 1, /no account "nobody"/)
  assertRefused(await berthctl('token', 'show', '0'.repeat(24)), 1, /no token with the ID/)
})

const loginUid = readFileSync('/proc/self/loginuid', 'utf8')

test(
  'the audit log names whoever typed it, behind sudo too',
  { skip: loginUid !== '4294967295' && 'this process belongs to a session of somebody' },
  async () => {
    const typed = async (env: Readonly<Record<string, string>>): Promise<string | undefined> => {
      const words = ['account', 'disable', 'alice']
      assertDone(await run('berthctl', words, { env: { BERTH_CONFIG: file, ...env } }))
      assertDone(
        await run('berthctl', ['account', 'enable', 'alice'], { env: { BERTH_CONFIG: file } }),
      )
      const [row] = await server.db.query<{ who: string }>(sql`
        select account_name as "who" from audit where action = 'account.disable'
        order by id desc limit 1`)
      return row?.who
    }
    const own = await typed({})
    assert.match(own ?? '', /^[\w.-]+@host$/)
    assert.equal(await typed({ SUDO_USER: 'erika', SUDO_UID: '1234' }), 'erika@host')
    // Nothing that would be read as something else gets in there.
    assert.equal(await typed({ SUDO_USER: 'erika\nadmin', SUDO_UID: '1234' }), own)
  },
)
