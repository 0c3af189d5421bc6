import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'

import { sql } from '../../server/database.ts'
import { assertProblem, Client } from '../support/client.ts'
import type { Reply } from '../support/client.ts'
import { startServer } from '../support/server.ts'

const server = await startServer({ after })
const { anonymous } = server
const alice = await server.account('alice')
const yearMs = 365 * 86_400_000

test('a name and a password get a token for one year, shown once', async () => {
  const reply = await issue('alice', 'alice-password', { label: 'login node' })
  assert.equal(reply.status, 201)
  assert.equal(reply.headers['cache-control'], 'no-store')
  const { token, id, expiration } = reply.json.data
  assert.deepEqual(Object.keys(reply.json.data).toSorted(), ['expiration', 'id', 'token'])
  assert.match(id, /^[0-9a-f]{24}$/)
  assert.ok(Math.abs(Date.parse(expiration) - Date.now() - yearMs) < 60_000, expiration)
  assert.match(token, /^[\x21-\x7e]{200,4096}$/)
  const keys = await anonymous.get('/v1/keys/public')
  const { payload } = await jwtVerify(token, createLocalJWKSet(keys.json), {
    algorithms: ['RS256'],
    issuer: server.url,
  })
  assert.equal(payload.jti, id)
  assert.equal(payload.sub, alice.credentials?.accountId)
  assert.equal(payload['username'], 'alice')
  assert.equal((payload.exp ?? 0) * 1000, Date.parse(expiration))
  assert.ok(Math.abs((payload.iat ?? 0) * 1000 - Date.now()) < 60_000)
  assert.equal(decodeProtectedHeader(token).kid, keys.json.keys[0].kid)
  assert.ok(!keys.body.includes('"d"'), 'the private key is out')
  const listed = (await alice.get('/api/v1/tokens')).json.data
  const entry = listed.find((one: { id: string }) => one.id === id)
  assert.equal(entry.label, 'login node')
  assert.ok(!JSON.stringify(listed).includes(token))
  assert.equal((await as(token).get('/v1/token-status')).status, 200)
  await alice.delete(`/api/v1/tokens/${id}`)
})

test('the token is nowhere in the database', async () => {
  const { token } = (await issue('alice', 'alice-password')).json.data
  const columns = await server.db.query<{ table: string; name: string }>(sql`
    select table_name as "table", column_name as "name" from information_schema.columns
    where table_schema = 'public'`)
  assert.ok(columns.length > 30)
  const signature = token.split('.')[2]
  const hex = Buffer.from(token).toString('hex')
  for (const { table, name } of columns) {
    // The names come from the database's own catalogue.
    const text = `select 1 from "${table}" where "${name}"::text like any ($1)`
    const patterns = [`%${token}%`, `%${signature}%`, `%${hex}%`]
    const rows = await server.db.query({ text, values: [patterns] })
    assert.deepEqual(rows, [], `${table}.${name}`)
  }
  await revokeAllBut(alice)
})

test('a wrong password and an unknown name get the same answer', async () => {
  const wrong = await issue('alice', 'not-the-password')
  const unknown = await issue('nobody', 'not-the-password')
  assertProblem(wrong, 401, /wrong/)
  assert.equal(unknown.body.toString(), wrong.body.toString())
  assert.equal(unknown.status, wrong.status)
})

test('an account without a password and a disabled one cannot sign in', async () => {
  await server.user('passwordless')
  const disabled = await server.account('disabled')
  await server.db.query(sql`update accounts set disabled_at = now() where name = 'disabled'`)
  const wrong = await issue('alice', 'not-the-password')
  for (const [name, password] of [
    ['passwordless', ''],
    ['passwordless', 'null'],
    ['disabled', 'disabled-password'],
  ] as const) {
    assert.equal((await issue(name, password)).body.toString(), wrong.body.toString())
  }
  assertProblem(await disabled.get('/v1/token-status'), 404)
})

test('issuing needs the password: no credential, a token or nonsense are refused', async () => {
  const { token } = alice.credentials ?? {}
  const credentials = [
    undefined,
    `Bearer ${token}`,
    'Basic',
    'Basic !!!',
    `Basic ${Buffer.from('alice').toString('base64')}`,
    `Basic ${Buffer.from(':').toString('base64')}`,
    `Basic ${Buffer.from(`alice:${token}`).toString('base64')}`,
    `Basic ${Buffer.from('al\0ice:alice-password\0').toString('base64')}`,
    `Basic ${Buffer.from("alice' --:x").toString('base64')}`,
  ]
  for (const authorization of credentials) {
    const headers = authorization === undefined ? {} : { authorization }
    const reply = await anonymous.send('POST', '/api/v1/tokens', { headers, body: '{}' })
    assertProblem(reply, 401)
  }
})

test('a label that is none is refused, and an odd one is kept or refused', async () => {
  for (const body of [
    '[]',
    '{"label":1}',
    '{"lable":"x"}',
    '"x"',
    '{',
    `{"label":"${'x'.repeat(201)}"}`,
  ]) {
    assertProblem(await issue('alice', 'alice-password', body), 400)
  }
  for (const label of ['a\0b', '\ud800', '\u{1f4e6}', '<b>']) {
    const reply = await issue('alice', 'alice-password', { label })
    assert.ok([201, 400].includes(reply.status), `${JSON.stringify(label)}: ${reply.status}`)
    await revokeAllBut(alice)
  }
})

test('token-status is 200 for a live token in any spelling of the scheme, else 404', async () => {
  const token = alice.credentials?.token ?? ''
  for (const scheme of ['Bearer', 'BEARER', 'bearer', 'Bearer ']) {
    const reply = await status(`${scheme} ${token}`)
    assert.equal(reply.status, 200, scheme)
  }
  const dead = [
    '',
    'Bearer',
    'Bearer ',
    'Bearer x',
    `Bearer ${token}x`,
    `Bearer ${token.slice(0, -1)}`,
    `Bearer ${'x'.repeat(5000)}`,
    `Basic ${token}`,
    token,
    `Bearer ${token} ${token}`,
  ]
  for (const authorization of dead) {
    assertProblem(await status(authorization), 404)
  }
  assertProblem(await anonymous.get('/v1/token-status'), 404)
})

test('an expired token is dead, and breaks nothing that needs none', async () => {
  const user = await server.user('expired')
  await server.db.query(
    sql`update tokens set expires_at = now() where id = ${user.credentials?.tokenId}`,
  )
  assertProblem(await user.get('/v1/token-status'), 404)
  assertProblem(await user.get('/v1/rbac/users/current'), 401, /expired/)
  assertProblem(await user.post('/v1/entities', { name: 'expired' }), 401, /expired/)
  for (const path of [
    '/version',
    '/v1/entities',
    '/assets/config/config.prod.json',
    '/v1/search?value=abc',
  ]) {
    assert.equal((await user.get(path)).status, 200, path)
  }
})

test('the current user is shown without an envelope', async () => {
  const reply = await alice.get('/v1/rbac/users/current')
  assert.equal(reply.status, 200)
  const { token } = alice.credentials ?? {}
  const secret = { secret: token }
  assert.deepEqual(reply.json, {
    username: 'alice',
    email: '',
    realname: '',
    oidc_user_meta: secret,
  })
  const empty = await anonymous.get('/v1/rbac/users/current', { authorization: 'Bearer ' })
  assertProblem(empty, 401)
  assertProblem(await anonymous.get('/v1/rbac/users/current'), 401)
})

function basic(name: string, password: string): string {
  return `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`
}

async function issue(name: string, password: string, body: unknown = {}): Promise<Reply> {
  const headers = { authorization: basic(name, password) }
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return await anonymous.send('POST', '/api/v1/tokens', { headers, body: text })
}

function as(token: string): Client {
  return new Client(server.url, { name: '', accountId: '', tokenId: '', token })
}

async function status(authorization: string): Promise<Reply> {
  return await anonymous.get('/v1/token-status', { authorization })
}

async function revokeAllBut(user: Client): Promise<void> {
  for (const { id } of (await user.get('/api/v1/tokens')).json.data) {
    if (id !== user.credentials?.tokenId) await user.delete(`/api/v1/tokens/${id}`)
  }
}
