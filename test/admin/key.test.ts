/** berthctl key on the database of a running server. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { revokeKey } from 'openpgp'

import { sql } from '../../server/database.ts'
import { publishKey } from '../support/published-key.ts'
import { eventually, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { makeKey, signSif } from '../support/signed-sif.ts'
import { assertDone, assertRefused, run } from './command.ts'
import type { Outcome } from './command.ts'

const server = await startServer({ after })
const directory = mkdtempSync(join(tmpdir(), 'berth-key-'))
after(() => rmSync(directory, { recursive: true, force: true }))

async function berthctl(...words: readonly string[]): Promise<Outcome> {
  const file = join(directory, 'berth.toml')
  const url = server.appliance.config.database?.url
  writeFileSync(file, `data_dir = "${server.dataDir}"\n[database]\nurl = "${url}"\n`)
  return await run('berthctl', words, { env: { BERTH_CONFIG: file } })
}

interface KeyJson {
  readonly fingerprint: string
  readonly owner: string
  readonly state: string
  readonly algorithm: string
  readonly bits: number
  readonly expiresAt: string | null
  readonly userIds: readonly { readonly text: string; readonly revoked: boolean }[]
  readonly images: number
  readonly signedImages?: readonly {
    readonly image: string
    readonly tags: readonly string[]
    readonly state: string
  }[]
}

async function listed(name: string): Promise<KeyJson[]> {
  const outcome = await berthctl('key', 'list', name, '--json')
  assertDone(outcome)
  return JSON.parse(outcome.stdout) as KeyJson[]
}

const unknown = 'F'.repeat(40)

test('the list has the keys of an account, and what became of them', async () => {
  const carol = await server.user('carol')
  const createdAt = new Date(Date.now() - 7_200_000)
  const [live, rsa, expired, revoked] = await Promise.all([
    makeKey('carol'),
    makeKey('carol', { type: 'rsa' }),
    makeKey('carol', { createdAt, lifetimeSeconds: 3600 }),
    makeKey('carol'),
  ])
  for (const key of [live, rsa, expired, revoked]) await publishKey(carol, key.publicKey)
  const gone = await revokeKey({ key: revoked.privateKey, format: 'object' })
  await publishKey(carol, gone.publicKey)

  const keys = await listed('carol')
  const facts = (fingerprint: string): unknown[] => {
    const key = keys.find((one) => one.fingerprint === fingerprint) ?? assert.fail()
    return [key.owner, key.algorithm, key.bits, key.state, key.images]
  }
  assert.equal(keys.length, 4)
  assert.deepEqual(facts(live.fingerprint), ['carol', 'EdDSA', 256, 'live', 0])
  assert.deepEqual(facts(rsa.fingerprint), ['carol', 'RSA', 2048, 'live', 0])
  assert.deepEqual(facts(expired.fingerprint), ['carol', 'EdDSA', 256, 'expired', 0])
  assert.deepEqual(facts(revoked.fingerprint), ['carol', 'EdDSA', 256, 'revoked', 0])
  assert.deepEqual(keys[0]?.userIds, [{ text: 'carol <carol@example.org>', revoked: false }])

  const text = await berthctl('key', 'list', 'carol')
  assertDone(text)
  assert.match(
    text.stdout,
    /^Owner Fingerprint +Algorithm Bits Created +Expires +State +Images User/,
  )
  const day = String.raw`\d{4}-\d\d-\d\d`
  assert.match(
    text.stdout,
    new RegExp(`^carol ${rsa.fingerprint} RSA +2048 ${day} never +live +0 +carol <carol@`, 'm'),
  )
  assert.match(text.stdout, new RegExp(`${expired.fingerprint} EdDSA +256 +${day} ${day} expired `))
})

test('all keys are listed without a name, and an account may have none', async () => {
  const dave = await server.user('dave')
  await server.user('erin')
  const key = await makeKey('dave')
  await publishKey(dave, key.publicKey)
  const all = await berthctl('key', 'list', '--json')
  const keys = JSON.parse(all.stdout) as KeyJson[]
  assert.ok(keys.some(({ fingerprint }) => fingerprint === key.fingerprint))
  assert.deepEqual(await listed('erin'), [])
})

test('a key is shown with the images that it has signed', async () => {
  const frank = await server.user('frank')
  const key = await makeKey('frank')
  await publishKey(frank, key.publicKey)
  await frank.push('frank/demo/one', 'v1', await signSif(makeSif({ seed: 'frank' }), key))

  const spaced = key.fingerprint.toLowerCase().match(/.{4}/g) ?? []
  const json = await berthctl('key', 'show', ...spaced, '--json')
  assertDone(json)
  const shown = JSON.parse(json.stdout) as KeyJson
  assert.deepEqual([shown.owner, shown.state, shown.images], ['frank', 'live', 1])
  assert.deepEqual(
    shown.signedImages?.map(({ image, tags, state }) => [image.split(':')[0], tags, state]),
    [['frank/demo/one', ['v1'], 'verified']],
  )
  assert.equal((await listed('frank'))[0]?.images, 1)

  const text = await berthctl('key', 'show', `0x${key.fingerprint}`)
  assertDone(text)
  assert.match(text.stdout, /^State +live$/m)
  assert.match(text.stdout, /^User ID +frank <frank@example.org>$/m)
  assert.match(text.stdout, /^frank\/demo\/one:sha256\.[0-9a-f]{64} v1 +\d{4}-\d\d-\d\d verified$/m)
})

test('a key is retired, shown as such, and restored, in the name of the host', async () => {
  const grace = await server.user('grace')
  const key = await makeKey('grace')
  await publishKey(grace, key.publicKey)

  const retired = await berthctl('key', 'retire', key.fingerprint)
  assertDone(retired)
  assert.equal(
    retired.stdout,
    `The key ${key.fingerprint} of grace is retired: it is for old signatures only.\n`,
  )
  assert.equal((await listed('grace'))[0]?.state, 'retired')
  const restored = await berthctl('key', 'restore', key.fingerprint)
  assert.equal(restored.stdout, `The key ${key.fingerprint} of grace is not retired any more.\n`)
  assert.equal((await listed('grace'))[0]?.state, 'live')
  assert.deepEqual(await auditOf(key.fingerprint), [
    ['grace', 'key.push', null],
    ['root@host', 'key.retire', null],
    ['root@host', 'key.restore', null],
  ])
})

test('a key is taken out only where that was meant, and then for good', async () => {
  const heidi = await server.user('heidi')
  const key = await makeKey('heidi')
  await publishKey(heidi, key.publicKey)
  await heidi.push('heidi/demo/one', 'v1', await signSif(makeSif({ seed: 'heidi' }), key))
  const words = ['key', 'tombstone', key.fingerprint, '--reason', 'not a key of ours'] as const

  assertRefused(
    await berthctl(...words),
    1,
    /of heidi goes for good and is never taken again; one image signed with it will show an unknown key\. Add --yes/,
  )
  assert.equal((await listed('heidi'))[0]?.state, 'live')

  const taken = await berthctl(...words, '--yes')
  assertDone(taken)
  assert.match(
    taken.stdout,
    /^The key [0-9A-F]{40} of heidi was taken out; one image signed with it/,
  )
  const [left] = await listed('heidi')
  assert.deepEqual([left?.state, left?.userIds], ['tombstoned', []])
  const found = await server.anonymous.get(`/pks/lookup?op=get&search=0x${key.fingerprint}`)
  assert.equal(found.status, 404)
  // Another process: the server notices by its own clock.
  await server.appliance.imageChecks.workOff()
  await eventually(async () => {
    const json = await berthctl('key', 'show', key.fingerprint, '--json')
    return (JSON.parse(json.stdout) as KeyJson).signedImages?.[0]?.state === 'unknown-key'
  }, 'the image shows an unknown key')
  assert.deepEqual((await auditOf(key.fingerprint)).at(-1), [
    'root@host',
    'key.tombstone',
    'not a key of ours',
  ])

  for (const verb of ['retire', 'restore']) {
    assertRefused(await berthctl('key', verb, key.fingerprint), 1, /There is no such key here/)
  }
  assertRefused(await berthctl(...words, '--yes'), 1, /This key has been taken out already/)
})

for (const words of ['show', 'retire', 'restore', 'tombstone --reason x --yes']) {
  test(`"key ${words}" does not know a fingerprint`, async () => {
    const [verb = '', ...options] = words.split(' ')
    const outcome = await berthctl('key', verb, unknown, ...options)
    assertRefused(outcome, 1, /There is no such key here/)
  })
}

test('the list does not know an account', async () => {
  assertRefused(await berthctl('key', 'list', 'nobody'), 1, /There is no account "nobody"/)
})

const misuses: readonly (readonly [string, RegExp])[] = [
  ['key', /Say what to do: list, show, retire, restore, tombstone/],
  ['key remove', /Say what to do: list, show/],
  ['key list alice bob', /Say "berthctl key list \[NAME\]/],
  ['key list --all', /Unknown option '--all'/],
  ['key show', /Say "berthctl key show FINGERPRINT \.\.\./],
  ['key show 36AAAF45', /Give the whole fingerprint of one key/],
  [`key retire ${unknown} ${unknown} --json`, /Unknown option '--json'/],
  [`key restore ${unknown} ${unknown}`, /Give the whole fingerprint of one key/],
  [`key tombstone ${unknown} --yes`, /Say why for the audit log: --reason TEXT/],
  ['key tombstone --reason x', /Say "berthctl key tombstone FINGERPRINT/],
]
for (const [words, why] of misuses) {
  test(`"${words}" is refused before anything is opened`, async () => {
    assertRefused(await berthctl(...words.split(' ')), 2, why)
  })
}

async function auditOf(fingerprint: string): Promise<unknown[][]> {
  const rows = await server.db.query<{ name: string; action: string; reason: string | null }>(sql`
    select account_name as "name", action, details->>'reason' as "reason"
    from audit where target = ${fingerprint} order by at, id`)
  return rows.map(({ name, action, reason }) => [name, action, reason])
}
