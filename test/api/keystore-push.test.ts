/** Whose key it is, and what is stored of one that is pushed. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { revokeKey } from 'openpgp'

import { sql } from '../../server/database.ts'
import { armor } from '../../server/keystore/armor.ts'
import {
  block,
  boundUserId,
  fiveOf,
  makeKey,
  packetsOf,
  publicBytes,
  sign,
  tagsOf,
} from '../support/certificates.ts'
import { assertProblem, rawPut } from '../support/client.ts'
import type { Client } from '../support/client.ts'
import { add, added, fingerprintOf, found, got, index, keyOf } from '../support/hkp.ts'
import { startServer } from '../support/server.ts'

const server = await startServer({ after })
const { anonymous } = server
let people = 0

/** Each has ten keys a minute. */
async function person(email = ''): Promise<Client> {
  people += 1
  const client = await server.user(`person${people}`)
  await server.db.query(sql`update accounts set email = ${email} where name = ${client.name}`)
  return client
}

async function storedCount(): Promise<number> {
  const [row] = await server.db.query<{ count: number }>(sql`select count(*) from certificates`)
  return row?.count ?? 0
}

const bytesOf = async (fingerprint: string): Promise<Buffer> => {
  const [row] = await server.db.query<{ bytes: Buffer }>(
    sql`select bytes from certificates where fingerprint = ${fingerprint}`,
  )
  assert.ok(row, 'the key is not stored')
  return row.bytes
}

test('a key is added, unchanged the second time, and its owner is known', async () => {
  const alice = await person()
  const key = await keyOf(alice.name)
  const reply = await add(alice, key)
  assert.equal(reply.status, 200)
  assert.match(String(reply.headers['content-type']), /^text\/plain/)
  assert.equal(reply.body.toString(), `Key ${fingerprintOf(key)} added.\n`)
  assert.match((await add(alice, key)).body.toString(), /unchanged/)
  const [row] = await server.db.query(sql`
    select owner_id as "ownerId", owner_name as "ownerName" from certificates
    where fingerprint = ${fingerprintOf(key)}`)
  assert.deepEqual(row, { ownerId: alice.credentials?.accountId, ownerName: alice.name })
  const audits = await server.db.query(sql`
    select account_name as "name", details from audit
    where action = 'key.push' and target = ${fingerprintOf(key)}`)
  assert.deepEqual(audits, [{ name: alice.name, details: { outcome: 'added' } }])
})

test('without a token, with one that is over, and with one for pulling nothing is stored', async () => {
  const alice = await person()
  const key = await keyOf(alice.name)
  const before = await storedCount()
  assertProblem(await add(anonymous, key), 401, /singularity key push after remote login/)
  const empty = await anonymous.send('POST', '/pks/add', {
    headers: {
      authorization: 'Bearer ',
      'content-type': 'application/x-www-form-urlencoded',
    },
    body: `keytext=${encodeURIComponent(armor(publicBytes(key)))}`,
  })
  assertProblem(empty, 401)
  const who = alice.credentials
  assert.ok(who)
  const over = await server.signIn(alice.name)
  assert.equal((await over.delete(`/api/v1/tokens/${over.credentials?.tokenId}`)).status, 200)
  assertProblem(await add(over, key), 401, /not valid any more/)
  await server.db.query(sql`update tokens set scope = 'pull' where id = ${who.tokenId}`)
  assertProblem(await add(alice, key), 403, /only for pulling/)
  assert.equal(await storedCount(), before)
})

const form = 'application/x-www-form-urlencoded'
const howTo = /^"keytext": send one armored public key block in this form field/
const malformed: readonly (readonly [string, string, string, RegExp])[] = [
  ['no form', '', form, howTo],
  ['an empty keytext', 'keytext=', form, howTo],
  ['two of them', 'keytext=a&keytext=b', form, howTo],
  ['no key', 'keytext=hello', form, /not an OpenPGP public key/],
  ['a form that does not say so', 'keytext=a', 'text/plain', howTo],
  ['JSON', '{"keytext":"a"}', 'application/json', howTo],
]
for (const [name, body, type, why] of malformed) {
  test(`${name} is refused`, async () => {
    const alice = await person()
    const headers = { 'content-type': type }
    assertProblem(await alice.send('POST', '/pks/add', { headers, body }), 400, why)
  })
}

test('what is too large, secret, weak or flooded is refused with a text, and not stored', async () => {
  const alice = await person()
  const key = await keyOf(alice.name)
  const before = await storedCount()
  assertProblem(await add(alice, key.armor()), 400, /secret key; nothing was stored/)
  const weak = await makeKey({
    type: 'rsa',
    rsaBits: 1024,
    userIDs: [{ name: alice.name }],
    config: { minRSABits: 1024 },
  })
  assertProblem(await add(alice, weak), 400, /1024 bits is too weak/)
  const [primary, userId, own] = fiveOf(key)
  const flood = block([primary, userId, ...Array.from({ length: 10_000 }, () => own)])
  assertProblem(await add(alice, flood), 413)
  assertProblem(await add(alice, 'x'.repeat(600_000)), 413)
  assertProblem(await add(alice, 'x'.repeat(131_073)), 413, /128 KiB/)
  assert.equal(await storedCount(), before)
  assert.doesNotMatch(server.log(), /BEGIN PGP/)
})

test('a client that waits to be asked for the body is asked', async () => {
  const alice = await person()
  const key = await keyOf(alice.name)
  const body = Buffer.from(new URLSearchParams({ keytext: armor(publicBytes(key)) }).toString())
  const headers = {
    authorization: `Bearer ${alice.credentials?.token}`,
    'content-type': 'application/x-www-form-urlencoded',
    'content-length': String(body.length),
    expect: '100-continue',
  }
  const text = await rawPut(`${server.url}/pks/add`, headers, [], body, 'POST')
  assert.match(text, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 /)
})

test('the account is named in the name, in the address, or by its mail address', async () => {
  const alice = await person('Alice.L@Example.org')
  for (const text of [
    `${alice.name} (ci) <someone@example.net>`,
    `A. Liddell <${alice.name}>`,
    'A. Liddell <alice.l@example.org>',
    `<${alice.name}>`,
  ]) {
    const key = await makeKey()
    const [primary] = fiveOf(key)
    await added(alice, block([primary, ...(await boundUserId(key, text))]))
    assert.deepEqual((await index(anonymous, `0x${fingerprintOf(key)}`))[2]?.[1], text)
  }
  const nobody = await makeKey({ userIDs: [{ name: 'A. Liddell', email: 'alice@example.net' }] })
  assertProblem(await add(alice, nobody), 400, new RegExp(`account name "${alice.name}"`))
  assertProblem(await add(alice, nobody), 400, /<Alice\.L@Example\.org>/)
})

test("somebody else's name or address in a key is refused, however it is written", async () => {
  const mallory = await person()
  const bob = await person('bob@example.org')
  const texts = [
    `${bob.name} <x@example.net>`,
    `${bob.name.toUpperCase()} (work)`,
    `X <${bob.name}>`,
    'Bob <bob@example.org>',
    'BOB@example.org',
    `${mallory.name} <bob@example.org>`,
    `${mallory.name} (one) (two) <bob@example.org>`,
  ]
  for (const text of texts) {
    const key = await keyOf(mallory.name)
    const more = await boundUserId(key, text)
    assertProblem(await add(mallory, block([...packetsOf(key), ...more])), 403, /names person/)
  }
  assert.deepEqual(await found(anonymous, 'bob@example.org', { exact: 'on' }), [])
  const own = await keyOf(bob.name)
  assertProblem(await add(mallory, own), 400, /names you/)
  assert.deepEqual(await found(anonymous, `0x${fingerprintOf(own)}`), [])
})

test("a revoked user ID does not bring a key under somebody's address", async () => {
  const mallory = await person()
  const key = await keyOf(mallory.name)
  const [userId, signature] = await boundUserId(key, 'Carol <carol@example.org>')
  const revocation = await sign(key, { type: 0x30, userId: userId.body })
  await added(mallory, block([...packetsOf(key), userId, signature, revocation]))
  const carol = await person('carol@example.org')
  assert.deepEqual(await found(anonymous, 'carol@example.org', { exact: 'on' }), [])
  // And it is not brought to life again, now that the address is somebody's.
  const later = new Date(Date.now() + 60_000)
  const [, again] = await boundUserId(key, 'Carol <carol@example.org>', { date: later })
  const back = block([...packetsOf(key), userId, again])
  assertProblem(await add(mallory, back), 403, new RegExp(`names ${carol.name}`))
})

test('a key of the person who has the address comes before one that was there earlier', async () => {
  const early = await person()
  const taken = await keyOf(early.name)
  const more = await boundUserId(taken, 'Dave <dave@example.org>')
  await added(early, block([...packetsOf(taken), ...more]))
  assert.equal(fingerprintOf(await got(anonymous, 'dave@example.org')), fingerprintOf(taken))
  const dave = await person('dave@example.org')
  const date = new Date(Date.now() - 86_400_000)
  const own = await makeKey({ userIDs: [{ name: 'Dave', email: 'dave@example.org' }], date })
  await added(dave, own)
  assert.equal(fingerprintOf(await got(anonymous, 'dave@example.org')), fingerprintOf(own))
})

test('what others have signed is not stored, and nobody can damage a key', async () => {
  const [alice, mallory] = [await person(), await person()]
  const key = await keyOf(alice.name)
  const other = await makeKey()
  const [primary, userId, own, subkey, binding] = fiveOf(key)
  const foreign = await sign(other, { type: 0x10, userId: userId.body, about: key.keyPacket })
  const revocation = await sign(other, { type: 0x20, about: key.keyPacket })
  const photograph = { tag: 17, body: Buffer.alloc(500) }
  const many = Array.from({ length: 200 }, () => foreign)
  const flooded = block([
    primary,
    revocation,
    userId,
    own,
    ...many,
    photograph,
    foreign,
    subkey,
    binding,
  ])
  await added(alice, flooded)
  const stored = await bytesOf(fingerprintOf(key))
  assert.deepEqual(tagsOf(stored), [6, 13, 2, 14, 2])
  for (const client of [mallory, alice]) {
    assert.match((await add(client, flooded)).body.toString(), /unchanged/)
  }
  assert.ok((await bytesOf(fingerprintOf(key))).equals(stored))
})

test('anybody with a token brings news that the key itself has signed; the owner stays', async () => {
  const [alice, bob] = [await person(), await person()]
  const key = await keyOf(alice.name)
  await added(alice, key)
  const { publicKey } = await revokeKey({ key, format: 'object' })
  const news = armor(publicKey.write())
  assertProblem(await add(anonymous, news), 401)
  assert.match((await add(bob, news)).body.toString(), /updated/)
  const [, pub] = await index(anonymous, `0x${fingerprintOf(key)}`)
  assert.equal(pub?.[6], 'r')
  assert.equal(await (await got(anonymous, `0x${fingerprintOf(key)}`)).isRevoked(), true)
  // The key as it was before does not take the revocation back.
  assert.match((await add(alice, key)).body.toString(), /unchanged/)
  assert.equal((await alice.get('/api/v1/keys')).json.data.length, 1)
  assert.deepEqual((await bob.get('/api/v1/keys')).json.data, [])
})

test('the same key from ten at once is added once', async () => {
  const alice = await person()
  const key = await keyOf(alice.name)
  const replies = await Promise.all(Array.from({ length: 10 }, () => add(alice, key)))
  const texts = replies.map(({ body }) => body.toString()).sort()
  const name = `Key ${fingerprintOf(key)}`
  assert.deepEqual(texts, [
    `${name} added.\n`,
    ...Array.from({ length: 9 }, () => `${name} unchanged.\n`),
  ])
})

test('news that come at once are all kept', async () => {
  const alice = await person()
  const key = await keyOf(alice.name)
  await added(alice, key)
  const [primary, userId, own] = fiveOf(key)
  const texts = ['one', 'two', 'three'].map((word) => `${alice.name} (${word})`)
  const news = await Promise.all(
    texts.map(async (text) => block([primary, userId, own, ...(await boundUserId(key, text))])),
  )
  for (const { status, body } of await Promise.all(news.map((each) => add(alice, each)))) {
    assert.equal(status, 200, body.toString())
  }
  const kept = (await got(anonymous, `0x${fingerprintOf(key)}`)).getUserIDs()
  assert.deepEqual(kept.sort(), [...texts, `${alice.name} (work)`].sort())
})

test('the eleventh attempt in a minute waits, whatever came of the others', async () => {
  const alice = await person()
  for (let i = 0; i < 10; i += 1) assertProblem(await add(alice, 'no key'), 400)
  const reply = await add(alice, await keyOf(alice.name))
  assertProblem(reply, 429, /go on in \d+ seconds/)
  assert.ok(Number(reply.headers['retry-after']) > 0)
  assert.equal((await add(await person(), 'no key')).status, 400)
})

test('an account has 32 keys at most', async () => {
  const alice = await person()
  const id = alice.credentials?.accountId ?? ''
  await server.db.query(sql`
    insert into certificates (fingerprint, version, algorithm, bits, created_at, revoked, bytes,
      owner_id, owner_name)
    select lpad(n::text, 40, '0'), 4, 27, 256, now(), false, '', ${id}, ${alice.name}
    from generate_series(1, 31) as n`)
  const [one, other] = await Promise.all([keyOf(alice.name), keyOf(alice.name)])
  const replies = await Promise.all([add(alice, one), add(alice, other)])
  assert.deepEqual(
    replies.map(({ status }) => status).sort((a, b) => a - b),
    [200, 409],
  )
})

test('with anonymous updates gpg brings news of a key that is known, and no new one', async (t) => {
  const open = await startServer(t, { settings: { keystore: { anonymous_updates: true } } })
  const alice = await open.user('alice')
  const key = await keyOf('alice')
  assertProblem(await add(open.anonymous, key), 401)
  await added(alice, key)
  assert.match((await add(open.anonymous, key)).body.toString(), /unchanged/)
  const { publicKey } = await revokeKey({ key, format: 'object' })
  assert.match((await add(open.anonymous, armor(publicKey.write()))).body.toString(), /updated/)
  const [row] = await open.db.query(sql`
    select account_name as "name", details from audit where action = 'key.push'
    order by id desc limit 1`)
  assert.deepEqual(row, { name: null, details: { outcome: 'updated' } })
})
