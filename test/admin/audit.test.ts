import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { signInAs } from '../support/process.ts'
import { makeSif } from '../support/sif.ts'
import { assertDone, assertRefused, run } from './command.ts'
import { makeHost } from './host.ts'

const host = await makeHost({ after })
const server = await host.start()
const admin = await signInAs(server.url, 'admin', server.password ?? '')
const sif = makeSif({ seed: 'audited' })
await admin.push('admin/demo/tool', 'latest', sif)
const refused = await admin.send('POST', '/api/v1/tokens', {
  headers: { authorization: `Basic ${Buffer.from('admin:wrong').toString('base64')}` },
})
assert.equal(refused.status, 401)

const berthctl = async (...args: string[]) => await run('berthctl', args, { env: host.env })

test('the audit log tells who did what, and who was refused', async () => {
  const all = await berthctl('audit')
  assertDone(all)
  const lines = all.stdout.trimEnd().split('\n')
  const actions = lines.map((line) => line.split('  ').slice(1, 4).join(' '))
  for (const action of [
    'root@host account.add done',
    'admin account.sign-in done',
    'admin token.issue done',
    'admin entity.create done',
    'admin collection.create done',
    'admin repository.create done',
    'admin image.push done',
    'admin tag.set done',
    '- account.sign-in refused',
  ]) {
    assert.ok(actions.includes(action), `${action} is not in:\n${all.stdout}`)
  }
})

test('it is searched by account, action, target, outcome and time', async () => {
  const count = async (...args: string[]): Promise<number> => {
    const found = await berthctl('audit', '--json', ...args)
    assertDone(found)
    return found.stdout.split('\n').filter((line) => line !== '').length
  }
  assert.equal(await count('--action', 'token'), 1)
  assert.equal(await count('--action', 'token.issue'), 1)
  assert.equal(await count('--action', 'tok'), 0)
  assert.equal(await count('--refused'), 1)
  assert.equal(await count('--account', 'nobody'), 0)
  assert.equal(await count('--target', 'admin/demo'), 4)
  assert.equal(await count('--since', '1h', '--refused'), 1)
  assert.equal(await count('--since', '2999-01-01'), 0)
  assert.equal(await count('--limit', '2'), 2)
})

test('times and numbers that are none are refused', async () => {
  assertRefused(await berthctl('audit', '--since', 'tomorrowish'), 2, /is not a time/)
  assertRefused(await berthctl('audit', '--limit', '-3'), 2, /audit|limit|number/)
})

test('an account is disabled, enabled and renamed, with its space', async () => {
  assertDone(
    await run('berthctl', ['account', 'add', 'alice'], {
      env: host.env,
      input: 'alice-password\n',
    }),
  )
  const alice = await signInAs(server.url, 'alice', 'alice-password')
  await alice.push('alice/demo/tool', 'latest', sif)
  assertDone(await berthctl('account', 'disable', 'alice'))
  assert.match((await berthctl('account', 'list')).stdout, /alice +user +disabled +local/)
  assert.equal((await alice.get('/v1/token-status')).status, 404)
  assertDone(await berthctl('account', 'enable', 'alice'))
  assertDone(await berthctl('account', 'rename', 'alice', 'alice.old'))
  assert.equal((await alice.get('/v1/images/alice.old/demo/tool:latest')).status, 200)
  assert.equal((await alice.get('/v1/images/alice/demo/tool:latest')).status, 404)
  assert.equal((await alice.delete('/v1/images/alice.old/demo/tool:latest')).status, 200)
  assertRefused(await berthctl('account', 'rename', 'alice', 'bob'), 1, /no account "alice"/)
  assertRefused(await berthctl('account', 'rename', 'alice.old', 'admin'), 1, /taken already/)
  assertRefused(await berthctl('account', 'rename', 'alice.old', 'A b'), 1, /not an account name/)
  assertRefused(await berthctl('account', 'disable', 'nobody'), 1, /no account "nobody"/)
  assertRefused(await berthctl('account', 'frobnicate'), 2, /Say what to do: add, list/)
})

test('status says that all is well, and groups are listed', async () => {
  const status = await berthctl('status')
  assertDone(status)
  assert.match(
    status.stdout,
    /^database and store: ready\ndisk: .* free, .* stored in \d+ images?\nalarms: none\n\nJob +Last run/,
  )
  const json = await berthctl('status', '--json')
  const { ready, alarms, backup, jobs } = JSON.parse(json.stdout)
  assert.deepEqual([ready, alarms, backup], [true, [], null])
  assert.ok(jobs.length > 5)
  const groups = await berthctl('group', 'list')
  assertDone(groups)
  assert.equal(groups.stdout, 'ID Name Space Members\n')
  assertRefused(await berthctl('group', 'add'), 2, /Say what to do: list, show/)
})

test('tokens are listed and revoked by an administrator of the host', async () => {
  assertDone(
    await run('berthctl', ['account', 'add', 'carol'], {
      env: host.env,
      input: 'carol-password\n',
    }),
  )
  const [first, second] = [
    await signInAs(server.url, 'carol', 'carol-password'),
    await signInAs(server.url, 'carol', 'carol-password'),
  ]
  const id = first.credentials?.tokenId ?? ''
  const listed = await berthctl('token', 'list', 'carol')
  assertDone(listed)
  assert.match(listed.stdout, new RegExp(`^${id} +all +live `, 'm'))
  assertRefused(
    await berthctl('token', 'revoke', id),
    1,
    /1 token will not work any more\. Add --yes/,
  )
  assert.equal((await first.get('/v1/token-status')).status, 200)
  assertDone(await berthctl('token', 'revoke', id, '--yes'))
  assert.equal((await first.get('/v1/token-status')).status, 404)
  assert.equal((await second.get('/v1/token-status')).status, 200)
  const rest = await berthctl('token', 'revoke', '--account', 'carol', '--yes')
  assert.equal(rest.stdout, 'Revoked 1 tokens of carol.\n')
  assert.equal((await second.get('/v1/token-status')).status, 404)
  const json = await berthctl('token', 'list', 'carol', '--all', '--json')
  assert.equal(JSON.parse(json.stdout).length, 2)
  assertRefused(await berthctl('token', 'list', 'nobody'), 1, /no account "nobody"/)
  assertRefused(await berthctl('token', 'revoke', 'f'.repeat(24)), 1, /no token/)
  assertRefused(await berthctl('token', 'revoke'), 2, /IDs of tokens/)
})
