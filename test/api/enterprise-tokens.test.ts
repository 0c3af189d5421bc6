/** The token service as the enterprise plugin and administrators' tools call it. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { decodeJwt } from 'jose'

import { sql } from '../../server/database.ts'
import { assertProblem, Client } from '../support/client.ts'
import type { Reply } from '../support/client.ts'
import { startServer } from '../support/server.ts'

const server = await startServer({ after })
const { anonymous } = server
const alice = await server.user('alice')
const bob = await server.user('bob')
const admin = await server.user('root', { isAdmin: true })
const nobody = 'f'.repeat(24)

const idOf = (client: Client): string => client.credentials?.accountId ?? ''
const tokenOf = (client: Client): string => client.credentials?.tokenId ?? ''

test('a list is a bare array of the live tokens, in the order of their issue', async () => {
  const user = await server.user('lister')
  const second = await server.signIn('lister')
  await issuedHoursAgo(second, 1)
  await issuedHoursAgo(user, 2)
  const reply = await user.get(`/v1/tokens?sub=${idOf(user)}`)
  assert.equal(reply.status, 200)
  assert.match(String(reply.headers['content-type']), /^application\/json\b/)
  assert.equal(reply.headers['cache-control'], 'no-store')
  assert.deepEqual(ids(reply), [tokenOf(user), tokenOf(second)])
  const [first] = reply.json
  assert.deepEqual(Object.keys(first).toSorted(), [
    'expiration',
    'id',
    'isRevoked',
    'issuedAt',
    'label',
    'subject',
  ])
  assert.equal(first.subject, idOf(user))
  assert.equal(first.label, 'test')
  assert.equal(first.isRevoked, false)
  assert.match(first.issuedAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  assert.equal(Date.parse(first.expiration) - Date.parse(first.issuedAt), 365 * 86_400_000)
})

test('without a subject the caller is meant: tokens that are not read as JWTs have none', async () => {
  assert.deepEqual(ids(await alice.get('/v1/tokens')), [tokenOf(alice)])
  assert.deepEqual(ids(await alice.get('/v1/tokens?sub=')), [tokenOf(alice)])
})

test('revoked and expired tokens are in the list only with all=true', async () => {
  const user = await server.user('history')
  const revoked = await server.signIn('history')
  const expired = await server.signIn('history')
  await issuedHoursAgo(user, 3)
  await issuedHoursAgo(revoked, 2)
  await issuedHoursAgo(expired, 1)
  assert.equal((await user.delete(`/v1/token/${tokenOf(revoked)}`)).status, 200)
  await server.db.query(sql`update tokens set expires_at = now() where id = ${tokenOf(expired)}`)
  for (const query of ['', '?all=false']) {
    assert.deepEqual(ids(await user.get(`/v1/tokens${query}`)), [tokenOf(user)], query)
  }
  const all = await user.get(`/v1/tokens?all=true&sub=${idOf(user)}`)
  const shown = all.json.map((one: { isRevoked: boolean }) => one.isRevoked)
  assert.deepEqual(ids(all), [tokenOf(user), tokenOf(revoked), tokenOf(expired)])
  assert.deepEqual(shown, [false, true, false])
  assert.match(all.json[1].revokedAt, /Z$/)
  assertProblem(await user.get('/v1/tokens?all=maybe'), 400)
})

test('nothing to list is an empty array and not 404', async () => {
  const user = await server.user('empty')
  await user.delete(`/v1/token/${tokenOf(user)}`)
  const reply = await admin.get(`/v1/tokens?sub=${idOf(user)}`)
  assert.equal(reply.status, 200)
  assert.deepEqual(reply.json, [])
})

test("somebody else's tokens are listed for administrators", async () => {
  assert.deepEqual(ids(await admin.get(`/v1/tokens?sub=${idOf(alice)}`)), [tokenOf(alice)])
  assertProblem(await bob.get(`/v1/tokens?sub=${idOf(alice)}`), 403, /administrators/)
  assertProblem(await bob.get(`/v1/tokens?sub=${nobody}`), 403, /administrators/)
  assertProblem(await admin.get(`/v1/tokens?sub=${nobody}`), 404)
  assertProblem(await anonymous.get('/v1/tokens'), 401)
  assertProblem(await anonymous.get(`/v1/tokens?sub=${idOf(alice)}`), 401)
  for (const sub of ['alice', 'F'.repeat(24), `${idOf(alice)}0`, '%00', "'"]) {
    assertProblem(await admin.get(`/v1/tokens?sub=${sub}`), 400)
  }
  assertProblem(await admin.get(`/v1/tokens?sub=${idOf(alice)}&sub=${idOf(bob)}`), 400)
})

test('one token is a bare object for its owner and for administrators', async () => {
  for (const client of [alice, admin]) {
    const reply = await client.get(`/v1/token/${tokenOf(alice)}`)
    assert.equal(reply.status, 200)
    assert.equal(reply.json.id, tokenOf(alice))
    assert.equal(reply.json.subject, idOf(alice))
    assert.equal(reply.json.revokedAt, undefined)
  }
})

test('others hear 403 whether there is the token or not; nobody signed in hears it too', async () => {
  for (const id of [tokenOf(alice), nobody]) {
    assertProblem(await bob.get(`/v1/token/${id}`), 403, new RegExp(id))
    assertProblem(await anonymous.get(`/v1/token/${id}`), 403, /[Ss]ign in/)
  }
  assertProblem(await admin.get(`/v1/token/${nobody}`), 404)
  for (const id of ['x', 'all', '%2e%2e', 'F'.repeat(24)]) {
    assertProblem(await alice.get(`/v1/token/${id}`), 400)
  }
})

test('revoking answers 200 with nothing, acts at once, and succeeds again', async () => {
  const user = await server.user('revoker')
  const other = await server.signIn('revoker')
  for (const _ of ['first', 'again']) {
    const reply = await user.delete(`/v1/token/${tokenOf(other)}`)
    assert.equal(reply.status, 200)
    assert.equal(reply.body.length, 0)
  }
  assertProblem(await other.get('/v1/token-status'), 404)
  assertProblem(await other.get('/v1/tokens'), 401, /expired or revoked/)
  assert.equal((await user.get(`/v1/token/${tokenOf(other)}`)).json.isRevoked, true)
  const told = await audited('token.revoke', tokenOf(other))
  assert.deepEqual(told, [{ accountName: 'revoker' }])
  // The token that is used can be the one that ends.
  assert.equal((await user.delete(`/v1/token/${tokenOf(user)}`)).status, 200)
  assertProblem(await user.delete(`/v1/token/${tokenOf(user)}`), 401)
})

test("somebody else's token is not found, and stays", async () => {
  assertProblem(await bob.delete(`/v1/token/${tokenOf(alice)}`), 404)
  assertProblem(await bob.delete(`/v1/token/${tokenOf(alice)}?sub=${idOf(alice)}`), 404)
  assertProblem(await bob.delete(`/v1/token/${nobody}`), 404)
  assertProblem(await admin.delete(`/v1/token/${nobody}`), 404)
  assertProblem(await admin.delete(`/v1/token/${tokenOf(alice)}?sub=${idOf(bob)}`), 404)
  assertProblem(await alice.delete('/v1/token/x'), 400)
  assertProblem(await alice.delete(`/v1/token/${tokenOf(alice)}?sub=x`), 400)
  assertProblem(await anonymous.delete(`/v1/token/${tokenOf(alice)}`), 401)
  assert.equal((await alice.get('/v1/token-status')).status, 200)
})

test('an administrator revokes one token of a user, and all of them', async () => {
  const user = await server.user('leaver')
  const second = await server.signIn('leaver')
  const third = await server.signIn('leaver')
  assert.equal((await admin.delete(`/v1/token/${tokenOf(user)}`)).status, 200)
  assertProblem(await user.get('/v1/token-status'), 404)
  assert.equal((await second.get('/v1/token-status')).status, 200)
  assert.equal((await admin.delete(`/v1/token/all?sub=${idOf(user)}`)).status, 200)
  for (const one of [second, third]) assertProblem(await one.get('/v1/token-status'), 404)
  assert.deepEqual(await audited('token.revoke', tokenOf(third)), [{ accountName: 'root' }])
  // There is nothing left, which is what was asked for.
  assert.equal((await admin.delete(`/v1/token/all?sub=${idOf(user)}`)).status, 200)
  assertProblem(await admin.delete(`/v1/token/all?sub=${nobody}`), 404)
})

test('all tokens of oneself can be revoked, of others not, and whose must be said', async () => {
  const user = await server.user('cleaner')
  const second = await server.signIn('cleaner')
  assertProblem(await user.delete('/v1/token/all'), 400, /"sub"/)
  assertProblem(await admin.delete('/v1/token/all'), 400, /"sub"/)
  assertProblem(await user.delete(`/v1/token/all?sub=${idOf(alice)}`), 404)
  assertProblem(await user.delete('/v1/token/all?sub=alice'), 400)
  assertProblem(await anonymous.delete(`/v1/token/all?sub=${idOf(user)}`), 401)
  assert.equal((await alice.get('/v1/token-status')).status, 200)
  assert.equal((await user.delete(`/v1/token/all?sub=${idOf(user)}`)).status, 200)
  for (const one of [user, second]) assertProblem(await one.get('/v1/token-status'), 404)
})

test('a token that is only for pulling does nothing with tokens', async () => {
  const { token, id } = await server.appliance.tokens.issue(await actorOf(alice), 'module', 'pull')
  const puller = as(token)
  assertProblem(await puller.get('/v1/tokens'), 403, /only for pulling/)
  assertProblem(await puller.get(`/v1/token/${id}`), 403, /only for pulling/)
  assertProblem(await puller.delete(`/v1/token/${id}`), 404, /only for pulling/)
  assertProblem(await puller.delete(`/v1/token/all?sub=${idOf(alice)}`), 404, /only for pulling/)
  await alice.delete(`/v1/token/${id}`)
})

test('an administrator issues a token for a user, with a lifetime and a label', async () => {
  const robot = await server.user('robot')
  const reply = await issue(admin, { sub: idOf(robot), dur: '30d', lab: 'nightly pull' })
  assert.equal(reply.status, 200)
  assert.match(String(reply.headers['content-type']), /^application\/jwt\b/)
  assert.equal(reply.headers['cache-control'], 'no-store')
  const token = reply.body.toString()
  const { sub, jti = '', iat = 0, exp = 0, username } = decodeJwt(token)
  assert.deepEqual({ sub, username }, { sub: idOf(robot), username: 'robot' })
  assert.equal(exp - iat, 30 * 86_400)
  assert.equal((await as(token).get('/v1/token-status')).status, 200)
  assert.equal((await robot.get(`/v1/token/${jti}`)).json.label, 'nightly pull')
  assert.deepEqual(await audited('token.issue', jti), [{ accountName: 'root' }])
})

test('a lifetime is capped by what any token may have, and so is one that is not said', async () => {
  const robot = await server.user('longrobot')
  for (const body of [{ dur: '9999d' }, {}]) {
    const reply = await issue(admin, { sub: idOf(robot), ...body })
    const { iat = 0, exp = 0 } = decodeJwt(reply.body.toString())
    assert.equal(exp - iat, 365 * 86_400)
  }
})

test('tokens are issued for others than administrators, by administrators, as the form says', async () => {
  const sub = idOf(alice)
  assertProblem(await issue(alice, { sub }), 403, /administrators/)
  assertProblem(await issue(anonymous, { sub }), 401)
  const second = await server.user('second-root', { isAdmin: true })
  assertProblem(await issue(admin, { sub: idOf(second) }), 403, /password only/)
  assertProblem(await issue(admin, { sub: idOf(admin) }), 403, /password only/)
  for (const form of [
    {},
    { sub: 'alice' },
    { sub: nobody },
    { sub, dur: '1y' },
    { sub, dur: '' },
    { sub, lab: 'a\nb' },
    { sub, lab: 'x'.repeat(201) },
    { sub, scope: 'all' },
  ]) {
    assertProblem(await issue(admin, form), 400)
  }
  const gone = await server.user('gone')
  await admin.post(`/v1/admin/users/${idOf(gone)}/deactivate`, {})
  assertProblem(await issue(admin, { sub: idOf(gone) }), 400, /not active/)
  const json = await admin.post('/v1/token/new', { sub })
  assertProblem(json, 400)
  assert.deepEqual(ids(await alice.get('/v1/tokens')), [tokenOf(alice)])
})

test('the limit of live tokens holds for issued ones too', async () => {
  const robot = await server.user('many')
  await server.db.query(sql`
    insert into tokens (id, account_id, hash, expires_at)
    select lpad(to_hex(n), 24, '0'), ${idOf(robot)}, sha256(n::text::bytea), now() + interval '1 day'
    from generate_series(1, 19) n`)
  assertProblem(await issue(admin, { sub: idOf(robot) }), 400, /many has 20 live tokens/)
})

test('an old token breaks nothing that is open', async () => {
  const stale = as(`${alice.credentials?.token.slice(0, -3)}xxx`)
  for (const path of ['/version', '/v1/health', '/v1/entities', '/v1/stats/library']) {
    assert.equal((await stale.get(path)).status, 200, path)
  }
  assert.equal((await stale.get('/v1/health')).json.user, undefined)
  assert.equal((await alice.get('/v1/health')).json.user, idOf(alice))
})

/** Tokens of the same second have no order. */
async function issuedHoursAgo({ credentials }: Client, hours: number): Promise<void> {
  const ms = hours * 3_600_000
  await server.db.query(sql`
    update tokens set issued_at = issued_at - ${ms} * interval '1 ms',
      expires_at = expires_at - ${ms} * interval '1 ms'
    where id = ${credentials?.tokenId}`)
}

function ids(reply: Reply): string[] {
  assert.equal(reply.status, 200, reply.body.toString())
  return reply.json.map((one: { id: string }) => one.id)
}

async function issue(client: Client, form: Readonly<Record<string, string>>): Promise<Reply> {
  return await client.send('POST', '/v1/token/new', {
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams(form).toString(),
  })
}

function as(token: string): Client {
  return new Client(server.url, { name: '', accountId: '', tokenId: '', token })
}

async function actorOf(client: Client) {
  const actor = await server.appliance.tokens.authenticate(client.credentials?.token ?? '', 'test')
  assert.ok(actor)
  return actor
}

async function audited(action: string, target: string): Promise<object[]> {
  return await server.db.query(sql`
    select account_name as "accountName" from audit where action = ${action} and target = ${target}`)
}
