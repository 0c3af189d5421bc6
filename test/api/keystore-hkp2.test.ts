/** HKP, version 2 requests: binary certificates by fingerprint, key ID and identity. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { readKeys } from 'openpgp'

import { sql } from '../../server/database.ts'
import { block, boundUserId, makeKey, packetsOf, publicBytes } from '../support/certificates.ts'
import { assertProblem, rawPut } from '../support/client.ts'
import type { Client, Reply } from '../support/client.ts'
import { fingerprintOf, keyIdOf, keyOf } from '../support/hkp.ts'
import { startServer } from '../support/server.ts'

const server = await startServer({ after })
const { anonymous } = server
const alice = await server.user('alice')
const bob = await server.user('bob')
await server.db.query(sql`update accounts set email = name || '@example.org'`)

async function post(client: Client, body: Buffer): Promise<Reply> {
  const headers = { 'content-type': 'application/pgp-keys;armor=no' }
  return await client.send('POST', '/pks/v2/certs', { headers, body })
}

async function published(client: Client, key: Awaited<ReturnType<typeof makeKey>>) {
  const reply = await post(client, publicBytes(key))
  assert.equal(reply.status, 200, reply.body.toString())
  return { key, bytes: publicBytes(key), fingerprint: fingerprintOf(key) }
}

const mail = (name: string) => ({ userIDs: [{ name, email: `${name}@example.org` }] })
const v4 = await published(alice, await makeKey({ ...mail('alice'), keyExpirationTime: 86_400 }))
const v6 = await published(bob, await makeKey({ ...mail('bob'), config: { v6Keys: true } }))

function assertBundle(reply: Reply, fingerprints: readonly string[]): Promise<void> {
  assert.equal(reply.status, 200, reply.body.toString())
  assert.equal(
    String(reply.headers['content-type']).replaceAll(' ', ''),
    'application/pgp-keys;armor=no',
  )
  assert.equal(reply.headers['access-control-allow-origin'], '*')
  return readKeys({ binaryKeys: reply.body }).then((keys) => {
    assert.deepEqual(keys.map(fingerprintOf).sort(), [...fingerprints].sort())
  })
}

const subkeyOf = ({ key }: typeof v4): string =>
  key.subkeys[0]?.getFingerprint().toUpperCase() ?? ''

const lookups: readonly (readonly [string, string])[] = [
  [`certs/by-vfingerprint/04${v4.fingerprint}`, v4.fingerprint],
  [`certs/by-vfingerprint/04${v4.fingerprint.toLowerCase()}`, v4.fingerprint],
  [`certs/by-vfingerprint/04${subkeyOf(v4)}`, v4.fingerprint],
  [`certs/by-vfingerprint/06${v6.fingerprint}`, v6.fingerprint],
  [`certs/by-keyid/${keyIdOf(v4.key)}`, v4.fingerprint],
  [`certs/by-keyid/${keyIdOf(v4.key).toLowerCase()}`, v4.fingerprint],
  [`certs/by-keyid/${subkeyOf(v4).slice(-16)}`, v4.fingerprint],
  ['certs/by-identity/alice@example.org', v4.fingerprint],
  ['certs/by-identity/ALICE%40example.org', v4.fingerprint],
  ['certs/by-identity/alice%20%3Calice@example.org%3E', v4.fingerprint],
  ['canonical/alice@example.org', v4.fingerprint],
  ['canonical/bob@example.org', v6.fingerprint],
]
for (const [path, fingerprint] of lookups) {
  test(`GET and HEAD ${path.slice(0, 50)}`, async () => {
    const reply = await anonymous.get(`/pks/v2/${path}`)
    await assertBundle(reply, [fingerprint])
    const head = await anonymous.send('HEAD', `/pks/v2/${path}`)
    assert.equal(head.status, 200)
    for (const name of ['content-type', 'content-length', 'access-control-allow-origin']) {
      assert.equal(head.headers[name], reply.headers[name], name)
    }
  })
}

const misses: readonly (readonly [string, number])[] = [
  // Without its version, with that of another, with 0x, too short.
  [`certs/by-vfingerprint/${v4.fingerprint}`, 404],
  [`certs/by-vfingerprint/06${v4.fingerprint}`, 404],
  [`certs/by-vfingerprint/04${v6.fingerprint}`, 404],
  [`certs/by-vfingerprint/0x04${v4.fingerprint}`, 404],
  [`certs/by-vfingerprint/04${'0'.repeat(40)}`, 404],
  // Not by the ID of a version 6 key, from either end, nor by anything but 16 digits.
  [`certs/by-keyid/${v6.fingerprint.slice(0, 16)}`, 404],
  [`certs/by-keyid/${v6.fingerprint.slice(-16)}`, 404],
  [`certs/by-keyid/0x${keyIdOf(v4.key)}`, 404],
  [`certs/by-keyid/${v4.fingerprint}`, 404],
  [`certs/by-keyid/${v4.fingerprint.slice(-8)}`, 404],
  // A part of an identity is none.
  ['certs/by-identity/alic', 404],
  ['certs/by-identity/alice@example', 404],
  ['certs/by-identity/%25', 404],
  ['certs/by-identity/%00', 400],
  ['canonical/nobody@example.org', 404],
  ['index/nobody@example.org', 404],
  ['index/example.org', 404],
  ['certs/by-vfingerprint', 403],
  ['certs/by-keyid', 403],
  ['certs/by-identity', 403],
  ['canonical', 403],
  ['index', 403],
  ['prefixlog/2026-01-01', 501],
  ['certs/by-fingerprint/04', 501],
]
for (const [path, status] of misses) {
  test(`${path.slice(0, 50)} is answered ${status}`, async () => {
    const reply = await anonymous.get(`/pks/v2/${path}`)
    assert.equal(reply.status, status, reply.body.toString())
    assert.equal(reply.headers['access-control-allow-origin'], '*')
  })
}

test('the index of an identity', async () => {
  const reply = await anonymous.get('/pks/v2/index/alice@example.org')
  assert.equal(reply.status, 200)
  assert.match(String(reply.headers['content-type']), /^application\/json/)
  const made = v4.key.getCreationTime()
  const utc = (date: Date): string => date.toISOString().replace('.000Z', 'Z')
  assert.deepEqual(reply.json, [
    {
      version: 4,
      fingerprint: v4.fingerprint.toLowerCase(),
      algorithm: { code: 27, bitLength: 256, name: 'Ed25519' },
      creation: utc(made),
      expiration: utc(new Date(Number(made) + 86_400_000)),
      isRevoked: false,
      userIDs: [{ uidString: 'alice <alice@example.org>', isRevoked: false }],
    },
  ])
})

test('what can be asked for is said', async () => {
  for (const category of ['by-vfingerprint', 'by-keyid', 'by-identity'].map(
    (by) => `certs/${by}`,
  )) {
    const { status, headers } = await anonymous.send('OPTIONS', `/pks/v2/${category}`)
    assert.equal(status, 200)
    assert.match(String(headers['allow']), /\bGET\b/)
  }
  const { status, headers } = await anonymous.send('OPTIONS', '/pks/v2/certs')
  assert.equal(status, 200)
  assert.match(String(headers['allow']), /\bPOST\b/)
  assert.equal(headers['accept'], 'application/pgp-keys')
  assert.equal((await anonymous.send('OPTIONS', '/pks/v2/prefixlog')).status, 501)
})

test('a bundle has all that are offered of an identity, the canonical one those of its owner', async () => {
  const early = await server.user('early')
  const taken = await keyOf('early')
  const more = await boundUserId(taken, 'Carol <carol@example.org>')
  const bytes = block([...packetsOf(taken), ...more])
  assert.equal((await post(early, bytes)).status, 200)
  await assertBundle(await anonymous.get('/pks/v2/certs/by-identity/carol@example.org'), [
    fingerprintOf(taken),
  ])
  assertProblem(await anonymous.get('/pks/v2/canonical/carol@example.org'), 404)
  const carol = await server.user('carol')
  await server.db.query(sql`update accounts set email = 'Carol@Example.org' where name = 'carol'`)
  const own = await published(carol, await makeKey(mail('carol')))
  await assertBundle(await anonymous.get('/pks/v2/certs/by-identity/carol@example.org'), [
    fingerprintOf(taken),
    own.fingerprint,
  ])
  await assertBundle(await anonymous.get('/pks/v2/canonical/carol@example.org'), [own.fingerprint])
})

test('a binary certificate is pushed, and the reply says what became of it', async () => {
  const key = await makeKey(mail('alice'))
  const entry = [{ version: 4, fingerprint: key.getFingerprint() }]
  const [none, first] = [[], await post(alice, publicBytes(key))]
  assert.equal(first.headers['access-control-allow-origin'], '*')
  assert.deepEqual(first.json, { inserted: entry, updated: none, ignored: none })
  const second = await post(alice, publicBytes(key))
  assert.deepEqual(second.json, { inserted: none, updated: none, ignored: entry })
  const news = block([...packetsOf(key), ...(await boundUserId(key, 'alice (ci)'))])
  const third = await post(alice, news)
  assert.deepEqual(third.json, { inserted: none, updated: entry, ignored: none })
})

test('a push is refused as over the form', async () => {
  const key = await makeKey(mail('bob'))
  assertProblem(await post(anonymous, publicBytes(key)), 401)
  assertProblem(await post(alice, publicBytes(key)), 400, /names you/)
  assertProblem(await post(bob, Buffer.from(key.write())), 400, /secret key/)
  assertProblem(await post(bob, Buffer.alloc(0)), 400, /one binary certificate/)
  assertProblem(await post(bob, Buffer.alloc(131_073, 0xc6)), 413)
  assertProblem(await post(bob, Buffer.concat([publicBytes(key), v4.bytes])), 400, /several keys/)
  assertProblem(await anonymous.get(`/pks/v2/certs/by-vfingerprint/04${fingerprintOf(key)}`), 404)
  const body = publicBytes(key)
  const headers = {
    authorization: `Bearer ${bob.credentials?.token}`,
    'content-type': 'application/pgp-keys;armor=no',
    'content-length': String(body.length),
    expect: '100-continue',
  }
  const text = await rawPut(`${server.url}/pks/v2/certs`, headers, [], body, 'POST')
  assert.match(text, /100 Continue\r\n\r\nHTTP\/1\.1 200 /)
})
