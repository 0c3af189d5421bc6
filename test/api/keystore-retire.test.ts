/** Keys that are not to be used any more: retired by their owner, or taken out by an administrator. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { revokeKey } from 'openpgp'

import { sql } from '../../server/database.ts'
import { armor } from '../../server/keystore/armor.ts'
import { assertProblem } from '../support/client.ts'
import type { Client } from '../support/client.ts'
import {
  add,
  added,
  fingerprintOf,
  found,
  got,
  index,
  keyIdOf,
  keyOf,
  lookup,
} from '../support/hkp.ts'
import { startServer } from '../support/server.ts'

const server = await startServer({ after })
const { anonymous } = server
const alice = await server.user('alice')
const bob = await server.user('bob')
const admin = await server.user('root', { isAdmin: true })
const nobodys = '0'.repeat(40)

const audited = async (action: string, fingerprint: string): Promise<object[]> =>
  await server.db.query(sql`
    select account_name as "by", details from audit
    where action = ${action} and target = ${fingerprint} order by id`)

async function overOf(client: Client): Promise<Client> {
  const over = await server.signIn(client.name)
  assert.equal((await over.delete(`/api/v1/tokens/${over.credentials?.tokenId}`)).status, 200)
  return over
}

async function pullingOf(client: Client): Promise<Client> {
  const pulling = await server.signIn(client.name)
  const id = pulling.credentials?.tokenId ?? ''
  await server.db.query(sql`update tokens set scope = 'pull' where id = ${id}`)
  return pulling
}

test("one's own keys are listed, and nobody else's", async () => {
  const key = await keyOf('alice', { keyExpirationTime: 86_400 })
  await added(alice, key)
  const reply = await alice.get('/api/v1/keys')
  assert.equal(reply.status, 200)
  const created = key.getCreationTime()
  assert.deepEqual(reply.json.data, [
    {
      fingerprint: fingerprintOf(key),
      owner: 'alice',
      algorithm: 27,
      bits: 256,
      createdAt: created.toISOString(),
      expiresAt: new Date(Number(created) + 86_400_000).toISOString(),
      revoked: false,
      retiredAt: null,
      userIds: ['alice (work)'],
    },
  ])
  assert.deepEqual((await bob.get('/api/v1/keys')).json.data, [])
  assertProblem(await anonymous.get('/api/v1/keys'), 401)
  assertProblem(await (await overOf(alice)).get('/api/v1/keys'), 401, /not valid any more/)
})

test('a retired key verifies what is signed, and is not offered by a name; and it comes back', async () => {
  const key = await keyOf('alice', { userIDs: [{ name: 'alice', comment: 'retired' }] })
  const fingerprint = fingerprintOf(key)
  await added(alice, key)
  const path = `/api/v1/keys/${fingerprint.toLowerCase()}`
  const retired = await alice.put(path, { retired: true })
  assert.equal(retired.status, 200)
  assert.match(retired.json.data.retiredAt, /^\d{4}-/)
  assert.equal(fingerprintOf(await got(anonymous, `0x${keyIdOf(key)}`)), fingerprint)
  assertProblem(await lookup(anonymous, 'alice (retired)'), 404)
  assertProblem(await anonymous.get('/pks/v2/certs/by-identity/alice%20(retired)'), 404)
  const [, pub] = await index(anonymous, 'alice (retired)')
  assert.equal(pub?.[6], 'd')
  const page = await lookup(anonymous, 'alice (retired)', { op: 'index' })
  assert.match(page.body.toString(), new RegExp(`^${fingerprint} {2}retired\n`))
  // A second time says when it was the first.
  const again = await alice.put(path, { retired: true })
  assert.equal(again.json.data.retiredAt, retired.json.data.retiredAt)
  // News of it leave it retired.
  const { publicKey } = await revokeKey({ key, format: 'object' })
  assert.match((await add(alice, armor(publicKey.write()))).body.toString(), /updated/)
  assert.equal((await index(anonymous, `0x${fingerprint}`))[1]?.[6], 'r')
  const back = await alice.put(path, { retired: false })
  assert.deepEqual([back.json.data.retiredAt, back.json.data.revoked], [null, true])
  const entries = [
    ...(await audited('key.retire', fingerprint)),
    ...(await audited('key.restore', fingerprint)),
  ]
  assert.deepEqual(
    entries,
    Array.from({ length: 3 }, () => ({ by: 'alice', details: {} })),
  )
})

test('who may retire a key: its owner and an administrator', async () => {
  const key = await keyOf('alice')
  await added(alice, key)
  const path = `/api/v1/keys/${fingerprintOf(key)}`
  const body = { retired: true }
  assertProblem(await anonymous.put(path, body), 401)
  assertProblem(await (await overOf(alice)).put(path, body), 401)
  assertProblem(await (await pullingOf(alice)).put(path, body), 403, /only for pulling/)
  assertProblem(await bob.put(path, body), 403, /belongs to alice/)
  assert.deepEqual(await audited('key.retire', fingerprintOf(key)), [])
  assert.equal((await admin.put(path, body)).status, 200)
  assert.deepEqual(await audited('key.retire', fingerprintOf(key)), [{ by: 'root', details: {} }])
})

test('what is no key, and what is no change', async () => {
  const key = await keyOf('alice')
  await added(alice, key)
  assertProblem(await alice.put(`/api/v1/keys/${nobodys}`, { retired: true }), 404)
  assertProblem(await alice.put('/api/v1/keys/1234', { retired: true }), 400, /40 or 64 hex/)
  const path = `/api/v1/keys/${fingerprintOf(key)}`
  for (const body of [{}, { retired: 'yes' }, { retired: true, owner: 'bob' }, []]) {
    assertProblem(await alice.put(path, body), 400)
  }
  assertProblem(await alice.send('PUT', path, { body: '{' }), 400)
})

async function remove(
  client: Client,
  fingerprint: string,
  body: unknown,
): ReturnType<Client['get']> {
  const options = { body: JSON.stringify(body) }
  return await client.send('DELETE', `/api/v1/keys/${fingerprint}`, options)
}

test('an administrator takes a key out: it is found nowhere, and not accepted again', async () => {
  const key = await keyOf('bob')
  const fingerprint = fingerprintOf(key)
  await added(bob, key)
  const reply = await remove(admin, fingerprint, { reason: 'not his own' })
  assert.equal(reply.status, 200)
  assert.deepEqual(reply.json.data, { fingerprint })
  assert.deepEqual(await audited('key.tombstone', fingerprint), [
    { by: 'root', details: { reason: 'not his own' } },
  ])
  for (const search of [`0x${fingerprint}`, `0x${keyIdOf(key)}`, `0x${fingerprint.slice(-8)}`]) {
    assertProblem(await lookup(anonymous, search), 404)
    assert.deepEqual(await found(anonymous, search), [])
  }
  assertProblem(await anonymous.get(`/pks/v2/certs/by-vfingerprint/04${fingerprint}`), 404)
  assert.deepEqual(await found(anonymous, 'bob (work)'), [])
  assert.deepEqual((await bob.get('/api/v1/keys')).json.data, [])
  assertProblem(await bob.put(`/api/v1/keys/${fingerprint}`, { retired: true }), 404)
  assertProblem(await remove(admin, fingerprint, { reason: 'again' }), 404)
  assertProblem(await add(bob, key), 403, /have taken this key out/)
  const rows = await server.db.query(sql`
    select octet_length(bytes) as "size",
      (select count(*) from certificate_user_ids where certificate = fingerprint) as "userIds"
    from certificates where fingerprint = ${fingerprint}`)
  assert.deepEqual(rows, [{ size: 0, userIds: 0 }])
})

test('only an administrator does that, and says why', async () => {
  const key = await keyOf('bob')
  const fingerprint = fingerprintOf(key)
  await added(bob, key)
  const reason = { reason: 'why not' }
  assertProblem(await remove(anonymous, fingerprint, reason), 401)
  assertProblem(await remove(bob, fingerprint, reason), 403, /administrators/)
  assertProblem(await remove(alice, fingerprint, reason), 403, /administrators/)
  assertProblem(await remove(await pullingOf(admin), fingerprint, reason), 403, /only for pulling/)
  assertProblem(await remove(admin, fingerprint, {}), 400)
  assertProblem(await remove(admin, fingerprint, { reason: 'x'.repeat(201) }), 400)
  assertProblem(await remove(admin, '1234', reason), 400)
  assertProblem(await remove(admin, nobodys, reason), 404)
  assert.equal(fingerprintOf(await got(anonymous, `0x${fingerprint}`)), fingerprint)
})

test('the key service of the enterprise interface lists keys by who pushed them', async () => {
  const carol = await server.user('carol')
  const key = await keyOf('carol', { type: 'rsa', rsaBits: 2048, keyExpirationTime: 86_400 })
  const v6 = await keyOf('carol', { config: { v6Keys: true } })
  for (const each of [key, v6]) await added(carol, each)
  const path = `/v1/keys?createdby=${carol.credentials?.accountId}`
  const reply = await carol.get(path)
  assert.equal(reply.status, 200)
  const created = Number(key.getCreationTime())
  const shown = {
    fingerprint: fingerprintOf(key),
    keyIDShort: fingerprintOf(key).slice(-8),
    algorithm: 'RSA',
    bitLength: 2048,
    creationTime: new Date(created).toISOString(),
    expirationTime: new Date(created + 86_400_000).toISOString(),
    names: ['carol (work)'],
  }
  const { data, page } = reply.json
  assert.deepEqual(page, { next: '', totalSize: 2 })
  assert.deepEqual(
    data.find((each: { algorithm: string }) => each.algorithm === 'RSA'),
    shown,
  )
  assert.deepEqual((await admin.get(path)).json.data, data)
  const all = (await admin.get('/v1/keys')).json.data
  assert.ok(
    all.length > 2 && all.some((each: object) => JSON.stringify(each) === JSON.stringify(shown)),
  )
  // Its client does not know 403.
  assertProblem(await bob.get(path), 401, /administrators/)
  assertProblem(await carol.get('/v1/keys'), 401, /administrators/)
  assertProblem(await anonymous.get(path), 401)
  assertProblem(await carol.get('/v1/keys?createdby=carol'), 400)
  assert.deepEqual((await admin.get(`/v1/keys?createdby=${'f'.repeat(24)}`)).json.data, [])
})

test('the key service takes one out for administrators', async () => {
  const key = await keyOf('alice')
  const fingerprint = fingerprintOf(key)
  await added(alice, key)
  const path = `/v1/key/${fingerprint}`
  assertProblem(await anonymous.delete(path), 401)
  assertProblem(await alice.delete(path), 403)
  assertProblem(await admin.delete('/v1/key/all'), 400)
  assertProblem(await admin.delete(`/v1/key/${nobodys}`), 404)
  assert.equal((await admin.delete(path)).status, 200)
  assertProblem(await lookup(anonymous, `0x${fingerprint}`), 404)
  assertProblem(await admin.delete(path), 404)
  assert.equal((await audited('key.tombstone', fingerprint)).length, 1)
})

test('a key outlives the account of its owner, with his name', async () => {
  const dave = await server.user('dave')
  const key = await keyOf('dave')
  await added(dave, key)
  await server.db.query(sql`delete from accounts where name = 'dave'`)
  assert.equal(fingerprintOf(await got(anonymous, `0x${keyIdOf(key)}`)), fingerprintOf(key))
  const page = await lookup(anonymous, 'dave (work)', { op: 'index' })
  assert.match(page.body.toString(), /of dave,/)
  // Its revocation is published by whoever brings it.
  const { publicKey } = await revokeKey({ key, format: 'object' })
  assert.match((await add(bob, armor(publicKey.write()))).body.toString(), /updated/)
})
