/** What the library says of the signatures of an image, from the push on and as keys come and go. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { rmSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { revokeKey } from 'openpgp'
import type { PublicKey } from 'openpgp'

import { hostOperator } from '../../server/accounts/accounts.ts'
import { digestOfHex } from '../../server/content/names.ts'
import type { Digest } from '../../server/content/names.ts'
import { sql } from '../../server/database.ts'
import { armor } from '../../server/keystore/armor.ts'
import { Tag, writePackets } from '../../server/keystore/packets.ts'
import { packetsOf, sign as signPacket } from '../support/certificates.ts'
import { assertProblem, libraryHash } from '../support/client.ts'
import type { Client, Reply } from '../support/client.ts'
import { emptyConfig, pushManifest, sifManifest } from '../support/oci-push.ts'
import { eventually, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { makeKey, signSif } from '../support/signed-sif.ts'

const server = await startServer({ after })
const { imageChecks } = server.appliance

test('a signature by a key of the keystore is verified when the push is answered', async () => {
  const alice = await server.user('alice')
  const key = await makeKey('alice')
  await publish(alice, key.publicKey)
  const at = new Date(Math.floor(Date.now() / 1000) * 1000 - 60_000)
  const sif = await signSif(makeSif({ seed: 'before' }), key, { at })
  assert.equal((await alice.push('alice/demo/before', 'v1', sif)).status, 200)

  const image = await read('alice/demo/before:v1')
  assert.deepEqual(
    [image.signed, image.verified, image.signatureState, image.signatureReason],
    [true, true, 'verified', ''],
  )
  assert.deepEqual(image.fingerprints, [key.fingerprint])
  const [{ signedAt, ...signer }] = image.signers
  assert.deepEqual(new Date(signedAt), at)
  assert.deepEqual(signer, {
    fingerprint: key.fingerprint,
    keyId: key.fingerprint.slice(-16),
    account: 'alice',
    state: 'verified',
    reason: null,
  })
  const listed = await server.anonymous.get('/v1/containers/alice/demo/before/_images')
  assert.deepEqual(listed.json.data, [image])
})

test('of an unsigned image, and of one that was changed after it was signed', async () => {
  const user = await server.user('changed')
  const key = await makeKey('changed')
  await publish(user, key.publicKey)
  const sif = await signSif(makeSif({ seed: 'changed', definition: 'as it was' }), key)
  sif.write('as it is ', 32_768)
  await user.push('changed/demo/tool', 'signed', sif)
  await user.push('changed/demo/tool', 'plain', makeSif({ seed: 'changed too' }))

  const changed = await read('changed/demo/tool:signed')
  assert.deepEqual(
    [changed.signed, changed.verified, changed.signatureState, changed.fingerprints],
    [false, false, 'invalid', []],
  )
  assert.match(changed.signatureReason, /object 1 of the image was changed/)
  // It is proven that the account signed what was there before.
  assert.deepEqual([changed.signers[0].account, changed.signers[0].state], ['changed', 'invalid'])

  const plain = await read('changed/demo/tool:plain')
  assert.deepEqual(
    [plain.signed, plain.verified, plain.signatureState, plain.signers],
    [false, false, 'unsigned', []],
  )
  assert.deepEqual(await search('changed/demo', 'signed=true'), [])
  assert.equal((await search('changed/demo', 'signed=false')).length, 2)
})

test('an unknown key becomes known, is revoked, and the images that it signed follow', async () => {
  const user = await server.user('late')
  const key = await makeKey('late')
  const path = 'late/demo/tool'
  const sif = await signSif(makeSif({ seed: 'late' }), key)
  await user.push(path, 'v1', sif)

  const unknown = await read(`${path}:v1`)
  assert.deepEqual(
    [unknown.signed, unknown.verified, unknown.signatureState, unknown.fingerprints],
    [true, false, 'unknown-key', [key.fingerprint]],
  )
  // That it is the account's key is a mere claim.
  assert.deepEqual([unknown.signers[0].account, unknown.signers[0].signedAt], [null, null])
  assert.match(unknown.signatureReason, /not in this keystore/)

  await publish(user, key.publicKey)
  await becomes(path, 'verified')
  assert.equal((await read(`${path}:v1`)).signers[0].account, 'late')
  assert.deepEqual(await search(path, 'signed=true'), [`${path}:${libraryHash(sif)}`])

  const { publicKey } = await revokeKey({ key: key.privateKey, format: 'object' })
  await publish(user, publicKey)
  await becomes(path, 'invalid')
  const revoked = await read(`${path}:v1`)
  assert.deepEqual([revoked.signed, revoked.verified], [false, false])
  assert.match(revoked.signatureReason, /revoked/)
  assert.deepEqual(await search(path, 'signed=true'), [])
  const touched = await user.get(`/api/v1/keys/${key.fingerprint.toLowerCase()}/images`)
  assert.equal(touched.status, 200)
  const [{ uploadedAt, ...image }] = touched.json.data
  assert.ok(Date.parse(uploadedAt) <= Date.now())
  assert.deepEqual(
    [image.image, image.tags, image.state],
    [`${path}:${libraryHash(sif)}`, ['v1'], 'invalid'],
  )
})

test('a key that administrators took out is unknown again', async () => {
  const user = await server.user('gone')
  const key = await makeKey('gone')
  await publish(user, key.publicKey)
  await user.push('gone/demo/tool', 'v1', await signSif(makeSif({ seed: 'gone' }), key))
  assert.equal((await read('gone/demo/tool:v1')).signatureState, 'verified')

  await server.appliance.keystore.tombstone(hostOperator, key.fingerprint, 'lost')
  await becomes('gone/demo/tool', 'unknown-key')
  assert.equal((await read('gone/demo/tool:v1')).signers[0].account, null)
})

test('an image that comes through the registry is checked as well', async () => {
  const user = await server.user('oras')
  const key = await makeKey('oras')
  await publish(user, key.publicKey)
  const sif = await signSif(makeSif({ seed: 'oras' }), key)
  await pushManifest(user, 'oras/demo/tool', 'v1', sifManifest(sif), [emptyConfig, sif])
  assert.equal((await read('oras/demo/tool:v1')).signatureState, 'verified')
})

test('images that a key has signed are shown to whom may see them', async () => {
  const [owner, other] = [await server.user('owner'), await server.user('other')]
  const key = await makeKey('owner')
  await owner.post('/v1/entities', { name: 'owner' })
  await owner.post('/v1/collections', { name: 'secret', entity: 'owner', private: true })
  await owner.push('owner/secret/tool', 'v1', await signSif(makeSif({ seed: 'secret' }), key))
  const address = `/api/v1/keys/${key.fingerprint}/images`
  assert.equal((await owner.get(address)).json.data.length, 1)
  assert.deepEqual((await other.get(address)).json.data, [])
  assert.equal((await server.anonymous.get(address)).status, 401)
  assertProblem(await owner.get('/api/v1/keys/1234/images'), 400, /40 or 64/)
  assert.deepEqual((await owner.get(`/api/v1/keys/${'0'.repeat(40)}/images`)).json.data, [])
})

test("somebody else's certificate with the same key in it spoils nothing", async () => {
  const [alan, mallory] = [await server.user('alan'), await server.user('mallory')]
  const key = await makeKey('alan', { type: 'rsa' })
  await publish(alan, key.publicKey)
  await alan.push('alan/demo/tool', 'v1', await signSif(makeSif({ seed: 'alan' }), key))
  // For encryption a subkey does not say itself that it belongs there.
  const thief = await makeKey('mallory', { type: 'rsa' })
  const binding = await signPacket(thief.privateKey, {
    type: 0x18,
    subkey: key.publicKey.keyPacket,
    say: (packet) => {
      packet.keyFlags = Uint8Array.of(12)
    },
  })
  const body = packetsOf(key.privateKey)[0]?.body ?? assert.fail()
  const stolen = [...packetsOf(thief.privateKey), { tag: Tag.publicSubkey, body }, binding]
  const pushed = await send(mallory, writePackets(stolen))
  assert.equal(pushed.status, 200, pushed.body.toString())

  const again = await signSif(makeSif({ seed: 'alan again' }), key)
  await alan.push('alan/demo/tool', 'v2', again)
  for (const tag of ['v1', 'v2']) {
    await imageChecks.workOff()
    assert.equal((await read(`alan/demo/tool:${tag}`)).signatureState, 'verified', tag)
  }
})

test('the clock brings what was missed, and what time itself has changed', async () => {
  const user = await server.user('clock')
  const [key, mayfly] = [await makeKey('clock'), await makeKey('clock', { lifetimeSeconds: 7200 })]
  await publish(user, key.publicKey)
  await publish(user, mayfly.publicKey)
  const missed = await signSif(makeSif({ seed: 'missed' }), key)
  const expiring = await signSif(makeSif({ seed: 'expiring' }), mayfly)
  await user.push('clock/demo/missed', 'v1', missed)
  await user.push('clock/demo/expiring', 'v1', expiring)
  const [foreseen] = await server.db.query<{ at: Date }>(sql`
    select recheck_at as "at" from verdicts where digest = ${digestOf(expiring)}`)
  // Keys that makeKey makes are an hour old.
  assert.ok(Math.abs(Number(foreseen?.at) - Date.now() - 3_600_000) < 60_000)

  // As after a crash in the middle of the check, or after an update from a version without checks.
  await server.db.query(sql`delete from verdicts where digest = ${digestOf(missed)}`)
  const waiting = await read('clock/demo/missed:v1')
  assert.deepEqual(
    [waiting.signed, waiting.verified, waiting.signatureState, waiting.fingerprints],
    [true, false, 'unchecked', [key.fingerprint]],
  )
  // As if the hour were over.
  await server.db.query(sql`
    update verdicts set recheck_at = now(), checked_at = checked_at - interval '1 hour', state = 'unknown-key'
    where digest = ${digestOf(expiring)}`)
  const { failed } = await imageChecks.workOff()
  assert.equal(failed, 0)
  for (const name of ['missed', 'expiring']) {
    assert.equal((await read(`clock/demo/${name}:v1`)).signatureState, 'verified')
  }
})

test('a file that cannot be read holds up no other', async (t) => {
  const own = await startServer(t)
  const user = await own.user('broken')
  const key = await makeKey('broken')
  const images = await Promise.all(['a', 'b', 'c'].map((seed) => signSif(makeSif({ seed }), key)))
  for (const sif of images) await user.push('broken/demo/tool', undefined, sif)
  await own.db.query(sql`delete from verdicts`)
  const [lost, cut] = images.map((sif) => {
    const hex = createHash('sha256').update(sif).digest('hex')
    return join(own.dataDir, 'store/blobs/sha256', hex.slice(0, 2), hex)
  })
  rmSync(lost ?? '')
  truncateSync(cut ?? '', 5000)

  assert.deepEqual(await own.appliance.imageChecks.workOff(), { checked: 1, failed: 2 })
  assert.match(own.log(), /an image could not be checked/)
  await assert.rejects(own.appliance.imageChecks.check(digestOf(makeSif({ seed: 'none' }))), {
    kind: 'not-found',
  })
})

test('the verdict goes with the image', async () => {
  const user = await server.user('leaving')
  const key = await makeKey('leaving')
  const sif = await signSif(makeSif({ seed: 'leaving' }), key)
  await user.push('leaving/demo/tool', 'v1', sif)
  const verdicts = async (): Promise<object[]> =>
    await server.db.query(sql`select 1 from verdict_signers where digest = ${digestOf(sif)}`)
  assert.equal((await verdicts()).length, 1)
  assert.equal((await user.delete(`/v1/images/leaving/demo/tool:v1`)).status, 200)
  // As the trash and the sweep do it when their time has come.
  await server.db.query(sql`delete from deleted_images where digest = ${digestOf(sif)}`)
  await server.db.query(sql`delete from blobs where digest = ${digestOf(sif)}`)
  assert.deepEqual(await verdicts(), [])
})

async function publish(who: Client, key: PublicKey): Promise<void> {
  const reply = await send(who, key.write())
  assert.equal(reply.status, 200, reply.body.toString())
}

async function send(who: Client, certificate: Uint8Array): Promise<Reply> {
  const keytext = armor(certificate)
  return await who.send('POST', '/pks/add', {
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ keytext }).toString(),
  })
}

// oxlint-disable-next-line typescript/no-explicit-any
async function read(reference: string): Promise<any> {
  const reply = await server.anonymous.get(`/v1/images/${reference}`)
  assert.equal(reply.status, 200, reply.body.toString())
  return reply.json.data
}

async function search(value: string, query: string): Promise<string[]> {
  const reply = await server.anonymous.get(`/v1/search?value=${encodeURIComponent(value)}&${query}`)
  assert.equal(reply.status, 200, reply.body.toString())
  return reply.json.data.image.map(({ id }: { id: string }) => id)
}

async function becomes(path: string, state: string): Promise<void> {
  await eventually(
    async () => (await read(`${path}:v1`)).signatureState === state,
    `${path} becomes ${state}`,
  )
}

function digestOf(sif: Buffer): Digest {
  return digestOfHex(createHash('sha256').update(sif).digest('hex'))
}
