/** What is found by which search, and in which form (protocol.md 7.2 to 7.6). */
import assert from 'node:assert/strict'
import test, { after, describe } from 'node:test'

import { sql } from '../../server/database.ts'
import {
  block,
  boundUserId,
  makeKey,
  packetsOf,
  sign,
  userIdPacket,
} from '../support/certificates.ts'
import { assertProblem } from '../support/client.ts'
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
await server.db.query(sql`update accounts set email = 'alice+ci@example.org' where name = 'alice'`)

const secondsOf = (date: Date): string => String(Number(date) / 1000)
const alices = await makeKey({
  userIDs: [{ name: 'Alice Liddell +x', comment: 'a:b 100%', email: 'alice+ci@example.org' }],
  subkeys: [{ sign: true }],
})
const bobs = await keyOf('bob', { type: 'rsa', rsaBits: 2048, keyExpirationTime: 86_400 })
const v6 = await keyOf('bob', { config: { v6Keys: true } })
await added(alice, alices)
await added(bob, bobs)
await added(bob, v6)
const [fingerprint, bobsFingerprint, v6Fingerprint] = [alices, bobs, v6].map(fingerprintOf) as [
  string,
  string,
  string,
]
const [signing] = alices.subkeys
assert.ok(signing)
const subkeyFingerprint = signing.getFingerprint().toUpperCase()

describe('one key is found', () => {
  const searches: readonly (readonly [string, string, string])[] = [
    ['its fingerprint', `0x${fingerprint}`, fingerprint],
    ['its fingerprint in lower case', `0x${fingerprint.toLowerCase()}`, fingerprint],
    ['0X', `0X${fingerprint}`, fingerprint],
    ['its 64-bit ID', `0x${keyIdOf(alices)}`, fingerprint],
    ['its 64-bit ID in lower case', `0x${keyIdOf(alices).toLowerCase()}`, fingerprint],
    ['its 32-bit ID', `0x${fingerprint.slice(-8)}`, fingerprint],
    ['its bare fingerprint', fingerprint.toLowerCase(), fingerprint],
    ['its bare 64-bit ID', keyIdOf(alices).toLowerCase(), fingerprint],
    ['its bare 32-bit ID', fingerprint.slice(-8).toLowerCase(), fingerprint],
    ["its subkey's fingerprint", `0x${subkeyFingerprint}`, fingerprint],
    ["its subkey's ID", `0x${subkeyFingerprint.slice(-16)}`, fingerprint],
    ["its subkey's 32-bit ID", `0x${subkeyFingerprint.slice(-8)}`, fingerprint],
    ['its mail address', 'alice+ci@example.org', fingerprint],
    ['its mail address in capitals', 'ALICE+CI@Example.org', fingerprint],
    ['its mail address with a blank for the plus', 'alice ci@example.org', fingerprint],
    ['its user ID', 'Alice Liddell +x (a:b 100%) <alice+ci@example.org>', fingerprint],
    ['a fingerprint of version 6', `0x${v6Fingerprint}`, v6Fingerprint],
    ['a bare fingerprint of version 6', v6Fingerprint, v6Fingerprint],
    [
      'an ID of version 6, which is the beginning',
      `0x${v6Fingerprint.slice(0, 16)}`,
      v6Fingerprint,
    ],
    ['what clients show of version 6, the end', `0x${v6Fingerprint.slice(-8)}`, v6Fingerprint],
  ]
  for (const [name, search, want] of searches) {
    test(`by ${name}`, async () => {
      assert.equal(fingerprintOf(await got(anonymous, search)), want)
      assert.deepEqual(await found(anonymous, search, { exact: 'on' }), [want])
    })
  }

  for (const words of ['Liddell', 'liddell +x', 'LIDDELL', 'a:b 100%', 'ci@exam', '100%']) {
    test(`by the words "${words}" in its index`, async () => {
      assert.deepEqual(await found(anonymous, words), [fingerprint])
      // A get wants a whole name.
      assertProblem(await lookup(anonymous, words), 404, /no such key/)
      assert.deepEqual(await found(anonymous, words, { exact: 'on' }), [])
    })
  }
})

test('a key ID without its leading zeros is found', async () => {
  const [row] = await server.db.query<{ bytes: Buffer }>(
    sql`select bytes from certificates where fingerprint = ${fingerprint}`,
  )
  assert.ok(row)
  // Nobody makes a key whose ID begins with zeros in a second: this one says so of itself.
  await server.db.query(sql`
    insert into certificates (fingerprint, version, algorithm, bits, created_at, revoked, bytes,
      owner_name)
    values (${'A'.repeat(24) + '0003F4F4F14B03B2'}, 4, 27, 256, now(), false, ${row.bytes}, 'zero')`)
  await server.db.query(sql`
    insert into certificate_keys (certificate, fingerprint, key_id)
    values (${'A'.repeat(24) + '0003F4F4F14B03B2'}, ${'A'.repeat(24) + '0003F4F4F14B03B2'},
      '0003F4F4F14B03B2')`)
  for (const search of ['0x3f4f4f14b03b2', '0x3F4F4F14B03B2', '0x0003f4f4f14b03b2', '0xf14b03b2']) {
    assert.deepEqual(await found(anonymous, search), ['A'.repeat(24) + '0003F4F4F14B03B2'], search)
  }
  // The end of a longer number is no ID.
  assert.deepEqual(await found(anonymous, '0x4f4f14b03b2'), [])
})

test('32 bits that two keys share, or 64, find neither', async () => {
  for (const [n, id] of [
    [1, '11111111DEADBEEF'],
    [2, '22222222DEADBEEF'],
    [3, '33333333CAFECAFE'],
    [4, '33333333CAFECAFE'],
  ] as const) {
    const made = `${n}`.repeat(24) + id
    await server.db.query(sql`
      insert into certificates (fingerprint, version, algorithm, bits, created_at, revoked, bytes,
        owner_name)
      values (${made}, 4, 27, 256, now(), false, '', 'twin')`)
    await server.db.query(sql`
      insert into certificate_keys (certificate, fingerprint, key_id) values (${made}, ${made}, ${id})`)
  }
  for (const search of ['0xdeadbeef', 'deadbeef', '0x33333333CAFECAFE']) {
    assertProblem(await lookup(anonymous, search), 404)
  }
  assert.deepEqual(await found(anonymous, '0xdeadbeef'), [])
  assert.equal((await found(anonymous, '0x11111111deadbeef')).length, 1)
})

const notThere = [
  `0x${'0'.repeat(40)}`,
  `0x${'0'.repeat(64)}`,
  '0x1',
  '0x0000000000000001',
  'nobody@example.org',
  "'; drop table certificates; --",
  '%%%',
  '___',
  '\\\\\\',
]
for (const search of notThere) {
  test(`"${search.slice(0, 30)}" is not found`, async () => {
    assertProblem(await lookup(anonymous, search), 404)
    assertProblem(await lookup(anonymous, search, { op: 'index', options: 'mr' }), 404)
  })
}

const wrong: readonly (readonly [string, number])[] = [
  ['op=get', 400],
  ['op=get&search=', 400],
  ['op=index&search=ab', 400],
  ['op=get&search=ab', 400],
  ['op=get&search=one&search=two', 400],
  ['op=index&search=alice&x-pagesize=0', 400],
  ['op=index&search=alice&x-pagesize=many', 400],
  ['op=index&search=alice&x-pagetoken=../..', 400],
  ['op=get&search=a%00bc', 400],
  ['op=stats&search=alice', 501],
]
for (const [query, status] of wrong) {
  test(`${query} is answered ${status}`, async () => {
    assert.equal((await anonymous.get(`/pks/lookup?${query}`)).status, status)
  })
}

test('a mail address is found whole, and a part of one where nobody has it', async () => {
  const carl = await server.user('carl')
  await server.db.query(sql`update accounts set email = 'ci@example.org' where name = 'carl'`)
  const key = await makeKey({ userIDs: [{ name: 'Carl', email: 'ci@example.org' }] })
  await added(carl, key)
  assert.deepEqual(await found(anonymous, 'ci@example.org'), [fingerprintOf(key)])
  assert.deepEqual(
    (await found(anonymous, 'i@example.org')).sort(),
    [fingerprint, fingerprintOf(key)].sort(),
  )
})

test('the machine-readable index is what Singularity reads', async () => {
  const options = { op: 'index', options: 'mr', fingerprint: 'on', 'x-pagesize': '256' }
  const reply = await lookup(anonymous, 'alice+ci@example.org', options)
  assert.match(String(reply.headers['content-type']), /^text\/plain/)
  const created = secondsOf(alices.getCreationTime())
  assert.equal(
    reply.body.toString(),
    `info:1:1\npub:${fingerprint}:27:256:${created}::\nuid:Alice Liddell %2Bx (a%3Ab 100%25) <alice%2Bci@example.org>:${created}::\n`,
  )
  for (const operation of ['vindex', 'INDEX']) {
    const same = await lookup(anonymous, 'alice+ci@example.org', { ...options, op: operation })
    assert.equal(same.body.toString(), reply.body.toString())
  }
  const [, pub] = await index(anonymous, `0x${bobsFingerprint}`)
  const made = Number(secondsOf(bobs.getCreationTime()))
  assert.deepEqual(pub, ['pub', bobsFingerprint, '1', '2048', `${made}`, `${made + 86_400}`, ''])
})

test('what ends is marked: the key, and a user ID that is revoked', async () => {
  const date = new Date(Math.floor(Date.now() / 1000 - 7200) * 1000)
  const expired = await keyOf('bob', { date, keyExpirationTime: 3600 })
  const userId = userIdPacket('bob (former)')
  const revocation = await sign(expired, { type: 0x30, userId: userId.body })
  const [, certification] = await boundUserId(expired, 'bob (former)', { date })
  await added(bob, block([...packetsOf(expired), userId, certification, revocation]))
  const [, pub, one, other] = await index(anonymous, `0x${fingerprintOf(expired)}`)
  assert.equal(pub?.[6], 'e')
  assert.deepEqual([one?.[1], one?.[4]], ['bob (work)', ''])
  assert.deepEqual([other?.[1], other?.[4]], ['bob (former)', 'r'])
  // It is there for what it has signed, and not offered by the name alone.
  assert.equal(
    fingerprintOf(await got(anonymous, `0x${fingerprintOf(expired)}`)),
    fingerprintOf(expired),
  )
  assert.notEqual(fingerprintOf(await got(anonymous, 'bob (work)')), fingerprintOf(expired))
})

test('without options=mr people get a page in words, with the owner', async () => {
  const reply = await lookup(anonymous, 'Liddell', { op: 'index' })
  assert.match(String(reply.headers['content-type']), /^text\/plain/)
  assert.match(reply.body.toString(), new RegExp(`^${fingerprint} {2}valid\n`))
  assert.match(reply.body.toString(), /\n {2}of alice, made \d{4}-\d\d-\d\d, ends never\n/)
})

test('a long index comes in pages, each key once', async () => {
  const dora = await server.user('dora')
  const made = await Promise.all(Array.from({ length: 5 }, () => keyOf('dora')))
  for (const key of made) await added(dora, key)
  const seen: string[] = []
  let token: string | undefined
  let pages = 0
  do {
    const options = { op: 'index', options: 'mr', 'x-pagesize': '2' }
    const page = token === undefined ? options : { ...options, 'x-pagetoken': token }
    const reply = await lookup(anonymous, 'dora', page)
    const [info, ...lines] = reply.body.toString().split('\n')
    const keys = lines.filter((line) => line.startsWith('pub:'))
    assert.equal(info, `info:1:${keys.length}`)
    seen.push(...keys.map((line) => line.split(':')[1] ?? ''))
    token = reply.headers['x-hkp-next-page-token'] as string | undefined
    pages += 1
  } while (token !== undefined && pages < 9)
  assert.equal(pages, 3)
  assert.deepEqual(seen, made.map(fingerprintOf).sort())
})

test('an ID has pages too, and they end', async () => {
  const options = { op: 'index', options: 'mr', 'x-pagesize': '1' }
  const first = await lookup(anonymous, '0x33333333CAFECAFE', options)
  const token = String(first.headers['x-hkp-next-page-token'])
  assert.match(first.body.toString(), /^info:1:1\npub:3{24}/)
  const second = await lookup(anonymous, '0x33333333CAFECAFE', { ...options, 'x-pagetoken': token })
  assert.match(second.body.toString(), /^info:1:1\npub:4{24}/)
  assert.equal(second.headers['x-hkp-next-page-token'], undefined)
})

test('of several keys by one name the newest good one is given', async () => {
  const erin = await server.user('erin')
  const old = await keyOf('erin', { date: new Date(Date.now() - 9 * 86_400_000) })
  const date = new Date(Date.now() - 2 * 86_400_000)
  const newer = await keyOf('erin', { date })
  const newest = await keyOf('erin', { date: new Date(Number(date) + 1000), keyExpirationTime: 60 })
  for (const key of [newer, newest, old]) await added(erin, key)
  assert.equal(fingerprintOf(await got(anonymous, 'erin (work)')), fingerprintOf(newer))
})

test('what is given has all that the key has signed, and can be pushed again', async () => {
  const reply = await lookup(anonymous, `0x${keyIdOf(alices)}`, { exact: 'on' })
  const text = reply.body.toString()
  assert.match(text, /^-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n/)
  assert.match((await add(alice, text)).body.toString(), /unchanged/)
  const key = await got(anonymous, `0x${keyIdOf(alices)}`)
  await key.verifyPrimaryKey()
  await key.getSigningKey(signing.getKeyID())
})

test('lookups need no token, also where pulling does', async (t) => {
  const closed = await startServer(t, { settings: { access: { anonymous_pull: false } } })
  const carol = await closed.user('carol')
  const key = await keyOf('carol')
  await added(carol, key)
  assert.equal(fingerprintOf(await got(closed.anonymous, `0x${keyIdOf(key)}`)), fingerprintOf(key))
})
