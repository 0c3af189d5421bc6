/** Spaces that take only images whose signatures the keystore verifies, through both doors. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { armor } from '../../server/keystore/armor.ts'
import { assertProblem, libraryHash } from '../support/client.ts'
import type { Client, Reply } from '../support/client.ts'
import {
  emptyConfig,
  ensureBlob,
  imageManifest,
  putManifest,
  sifManifest,
} from '../support/oci-push.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { makeKey, signSif } from '../support/signed-sif.ts'

const server = await startServer({ after })
const { anonymous } = server
const admin = await server.user('admin', { isAdmin: true })

interface Rule {
  readonly images: string
  readonly own: string | null
  readonly site: string
}

const put = async (who: Client, space: string, images: unknown): Promise<Reply> =>
  await who.send('PUT', `/api/v1/policies/${space}`, {
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ images }),
  })
const ruleOf = (reply: Reply): Rule => {
  assert.equal(reply.status, 200, reply.body.toString())
  const { images, own, site } = reply.json.data
  return { images, own, site }
}
const usedBytes = async (who: Client): Promise<number> =>
  (await who.get('/api/v1/usage')).json.data[0].usedBytes

test('an owner asks for verified images: others are refused, and leave nothing behind', async () => {
  const alice = await server.user('alice')
  const before = makeSif({ seed: 'before' })
  assert.equal((await alice.push('alice/demo/old', 'v1', before)).status, 200)
  const used = await usedBytes(alice)
  assert.deepEqual(ruleOf(await put(alice, 'alice', 'verified')), {
    images: 'verified',
    own: 'verified',
    site: 'any',
  })

  const key = await makeKey('alice')
  const plain = makeSif({ seed: 'plain' })
  const signed = await signSif(makeSif({ seed: 'signed' }), key)
  const unsigned = await alice.push('alice/demo/tool', 'v1', plain)
  assertProblem(unsigned, 403)
  assert.match(
    unsigned.json.error.message,
    /"alice" takes only images that are signed .* not signed/,
  )
  // The key is not in the keystore yet.
  const foreign = await alice.push('alice/demo/tool', 'v1', signed)
  assertProblem(foreign, 403)
  assert.match(foreign.json.error.message, /not in this keystore.*singularity key push/)
  assertProblem(await anonymous.get('/v1/containers/alice/demo/tool'), 404)
  assert.equal(await usedBytes(alice), used)

  await publish(alice, key.publicKey.write())
  assert.equal((await alice.push('alice/demo/tool', 'v1', signed)).status, 200)
  const tampered = Buffer.from(signed)
  tampered.write('changed', 32_768)
  assertProblem(await alice.push('alice/demo/tool', 'v2', tampered), 403)
  // What was there before stays, and can be pulled.
  assert.equal((await anonymous.get('/v1/images/alice/demo/old:v1')).status, 200)
})

test('bytes that are stored already are judged without being sent', async () => {
  const other = await server.user('other')
  const bob = await server.user('bob')
  const plain = makeSif({ seed: 'shared' })
  await other.push('other/demo/tool', 'v1', plain)
  await bob.push('bob/demo/first', 'v1', makeSif({ seed: 'first' }))
  ruleOf(await put(bob, 'bob', 'verified'))
  const image = { hash: libraryHash(plain), container: 'bob/demo/tool' }
  assertProblem(await bob.post('/v1/images', image), 403)
  assertProblem(await anonymous.get(`/v1/images/bob/demo/tool:${libraryHash(plain)}`), 404)
})

test('the registry refuses what the library refuses', async () => {
  const carol = await server.user('carol')
  await carol.push('carol/demo/first', 'v1', makeSif({ seed: 'carol first' }))
  ruleOf(await put(carol, 'carol', 'verified'))
  const key = await makeKey('carol')
  await publish(carol, key.publicKey.write())
  const name = 'carol/demo/tool'
  const plain = makeSif({ seed: 'oras' })
  const signed = await signSif(makeSif({ seed: 'oras signed' }), key)
  const layer = Buffer.from('layer')
  for (const blob of [plain, signed, emptyConfig, layer]) await ensureBlob(carol, name, blob)
  const unsigned = await putManifest(carol, name, 'v1', sifManifest(plain))
  assert.equal(unsigned.status, 403)
  assert.equal(unsigned.json.errors[0].code, 'DENIED')
  assert.match(unsigned.json.errors[0].message, /not signed/)
  const image = await putManifest(carol, name, 'v1', imageManifest(emptyConfig, [layer]))
  assert.equal(image.status, 403)
  assert.match(image.json.errors[0].message, /no SIF/)
  assert.equal((await putManifest(carol, name, 'v1', sifManifest(signed))).status, 201)
})

test('the rule is set by owners and administrators alone', async () => {
  const dave = await server.user('dave')
  const eve = await server.user('eve')
  await dave.push('dave/demo/tool', 'v1', makeSif({ seed: 'dave' }))
  assertProblem(await put(anonymous, 'dave', 'verified'), 401)
  assertProblem(await put(eve, 'dave', 'verified'), 403)
  assertProblem(await eve.get('/api/v1/policies/dave'), 403)
  assertProblem(await put(dave, 'nobody', 'verified'), 404)
  assertProblem(await put(dave, 'dave', 'sometimes'), 400)
  assertProblem(await put(dave, 'Not%20a%20name', 'any'), 400)
  assert.equal(ruleOf(await put(admin, 'dave', 'verified')).own, 'verified')
  assert.equal(ruleOf(await put(dave, 'dave', null)).images, 'any')
  assert.equal(ruleOf(await dave.get('/api/v1/policies/dave')).own, null)
})

test('a site asks for verified images: its owners cannot be laxer, an administrator can', async (t) => {
  const strict = await startServer(t, { settings: { library: { images: 'verified' } } })
  const owner = await strict.user('owner')
  const root = await strict.user('root', { isAdmin: true })
  const plain = makeSif({ seed: 'plain' })
  assertProblem(await owner.push('owner/demo/tool', 'v1', plain), 403)
  const key = await makeKey('owner')
  await publish(owner, key.publicKey.write())
  const signed = await signSif(makeSif({ seed: 'signed' }), key)
  assert.equal((await owner.push('owner/demo/tool', 'v1', signed)).status, 200)
  assertProblem(await put(owner, 'owner', 'any'), 403)
  assert.deepEqual(ruleOf(await put(root, 'owner', 'any')), {
    images: 'any',
    own: 'any',
    site: 'verified',
  })
  assert.equal((await owner.push('owner/demo/tool', 'v2', plain)).status, 200)
})

async function publish(who: Client, certificate: Uint8Array): Promise<void> {
  const reply = await who.send('POST', '/pks/add', {
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ keytext: armor(certificate) }).toString(),
  })
  assert.equal(reply.status, 200, reply.body.toString())
}
