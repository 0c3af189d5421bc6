/** What rules keep and let go: by number, by pulls, with and without tags; shown before it happens. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { sql } from '../../server/database.ts'
import { assertProblem, libraryHash, sha256 } from '../support/client.ts'
import type { Client, Reply } from '../support/client.ts'
import {
  emptyConfig,
  ensureBlob,
  imageManifest,
  indexManifest,
  putManifest,
  sifManifest,
} from '../support/oci-push.ts'
import { assertLedger, eventually, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after })
const { anonymous, db } = server
const { retention } = server.appliance

const put = async (who: Client, place: string, body: object): Promise<Reply> =>
  await who.send('PUT', `/api/v1/retention/rules/${place}`, {
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })

/** Sets the rule and makes it active. */
async function rule(who: Client, place: string, measures: object): Promise<void> {
  for (const active of [false, true]) {
    const reply = await put(who, place, { ...measures, active })
    assert.equal(reply.status, 200, reply.body.toString())
    assert.equal(reply.json.data.active, active)
  }
}

interface Seen {
  readonly path: string
  readonly digest: string
  readonly tags: readonly string[]
}

async function preview(who: Client, place: string): Promise<Seen[]> {
  const reply = await who.get(`/api/v1/retention/preview/${place}`)
  assert.equal(reply.status, 200, reply.body.toString())
  return reply.json.data.images
}

/** Pushes images in this order, days apart: the first is the oldest. Returns them. */
async function pushed(who: Client, path: string, count: number, seed = path): Promise<Buffer[]> {
  const sifs = Array.from({ length: count }, (_, number) => makeSif({ seed: `${seed} ${number}` }))
  for (const [number, sif] of sifs.entries()) {
    assert.equal((await who.push(path, undefined, sif)).status, 200)
    await db.query(sql`
      update images set uploaded_at = now() - make_interval(days => ${100 - number})
      where digest = ${digestOf(sif)}`)
  }
  return sifs
}

const digestOf = (bytes: Buffer): string => `sha256:${sha256(bytes)}`

async function stored(who: Client, path: string, sifs: readonly Buffer[]): Promise<boolean[]> {
  return await Promise.all(
    sifs.map(async (sif) => {
      const reply = await who.get(`/v1/images/${path}:${libraryHash(sif)}`)
      return reply.status === 200
    }),
  )
}

test('a rule does nothing before it is active, and then exactly what its preview showed', async () => {
  const user = await server.user('alice')
  const path = 'alice/demo/tool'
  const sifs = await pushed(user, path, 5)
  const set = await put(user, 'alice', { keepLast: 2 })
  assert.equal(set.status, 200, set.body.toString())
  assert.equal(set.json.data.active, false)
  await retention.act()
  assert.deepEqual(await stored(user, path, sifs), [true, true, true, true, true])
  const seen = await preview(user, 'alice')
  assert.deepEqual(
    seen.map(({ digest }) => digest),
    sifs.slice(0, 3).map(digestOf),
  )
  const active = await put(user, 'alice', { keepLast: 2, active: true })
  assert.equal(active.status, 200, active.body.toString())
  assert.equal((await retention.act()).imagesDeleted, 3)
  assert.deepEqual(await stored(user, path, sifs), [false, false, false, true, true])
  assert.equal((await retention.act()).imagesDeleted, 0)
  const audited = await db.query<{ name: string; details: { reason: string } }>(sql`
    select account_name as "name", details from audit
    where action = 'image.delete' and target like ${`${path}@%`}`)
  assert.deepEqual(
    audited.map(({ name, details }) => [name, details.reason]),
    Array.from({ length: 3 }, () => ['housekeeping', 'retention']),
  )
  await assertLedger(db)
})

test('what a rule deleted can be restored, and counts as new then', async () => {
  const user = await server.user('anton')
  const sifs = await pushed(user, 'anton/demo/tool', 3)
  await rule(user, 'anton', { keepLast: 2 })
  await retention.act()
  const [image] = (await user.get('/api/v1/trash')).json.data
  assert.equal(image.reason, 'retention')
  const back = await user.send('POST', `/api/v1/trash/anton/${image.id}/restore`)
  assert.equal(back.status, 200, back.body.toString())
  assert.deepEqual(
    (await preview(user, 'anton')).map(({ digest }) => digest),
    sifs.slice(1, 2).map(digestOf),
  )
})

test('a rule that was changed is inactive, and none is active before it was set', async () => {
  const user = await server.user('bella')
  const sifs = await pushed(user, 'bella/demo/tool', 2)
  assertProblem(await put(user, 'bella', { keepLast: 1, active: true }), 409, /Set this rule/)
  await rule(user, 'bella', { keepLast: 2 })
  assertProblem(await put(user, 'bella', { keepLast: 1, active: true }), 409)
  assert.equal((await put(user, 'bella', { keepLast: 1 })).json.data.active, false)
  await retention.act()
  assert.deepEqual(await stored(user, 'bella/demo/tool', sifs), [true, true])
})

test('images with tags stay, unless the rule is for them too', async () => {
  const user = await server.user('carl')
  const path = 'carl/demo/tool'
  const sifs = await pushed(user, path, 4)
  await user.tag(path, 'keep', sifs[0] ?? Buffer.alloc(0))
  await rule(user, path, { keepLast: 1 })
  await retention.act()
  assert.deepEqual(await stored(user, path, sifs), [true, false, false, true])
  await rule(user, path, { keepLast: 1, keepTagged: false })
  const [seen] = await preview(user, path)
  assert.deepEqual(seen?.tags, ['keep'])
  await retention.act()
  assert.deepEqual(await stored(user, path, sifs), [false, false, false, true])
  assertProblem(await user.get(`/v1/imagefile/${path}:keep`), 404)
})

test('what was pulled lately stays, through either door, and so does what came lately', async () => {
  const user = await server.user('dora')
  const path = 'dora/demo/tool'
  const sifs = await pushed(user, path, 4)
  const [first, second, , last] = sifs
  assert.ok(first && second && last)
  await db.query(sql`update images set uploaded_at = now() where digest = ${digestOf(last)}`)
  await rule(user, path, { pulledWithinDays: 30 })
  await user.get(`/v1/imagefile/${path}:${libraryHash(first)}`)
  const { json } = await user.get(`/v1/images/${path}:${libraryHash(second)}`)
  assert.ok(json.data)
  const [row] = await db.query<{ digest: string }>(sql`
    select manifest_digest as "digest" from images where digest = ${digestOf(second)}`)
  assert.equal((await user.get(`/v2/${path}/manifests/${row?.digest}`)).status, 200)
  await eventually(async () => (await preview(user, path)).length === 1, 'both pulls are counted')
  await retention.act()
  assert.deepEqual(await stored(user, path, sifs), [true, true, false, true])
  await db.query(sql`update manifests set pulled_at = now() - interval '31 days'`)
  await retention.act()
  assert.deepEqual(await stored(user, path, sifs), [false, false, false, true])
})

test('either measure keeps an image', async () => {
  const user = await server.user('emil')
  const path = 'emil/demo/tool'
  const sifs = await pushed(user, path, 3)
  await db.query(sql`
    update manifests set pulled_at = now() where sif_digest = ${digestOf(sifs[0] ?? Buffer.alloc(0))}`)
  await rule(user, path, { keepLast: 1, pulledWithinDays: 10 })
  await retention.act()
  assert.deepEqual(await stored(user, path, sifs), [true, false, true])
})

test('the narrowest rule holds, and a number counts in the place of its rule or in each container', async () => {
  const user = await server.user('frida')
  const one = await pushed(user, 'frida/demo/one', 2)
  const two = await pushed(user, 'frida/demo/two', 2)
  const own = await pushed(user, 'frida/own/three', 2)
  await rule(user, 'frida/own/three', { keepLast: 2 })
  await put(user, 'frida', { keepLast: 1 })
  // One of all in the space, where the container with its own rule does not count.
  assert.equal((await preview(user, 'frida')).length, 3)
  await rule(user, 'frida', { keepLast: 1, eachContainer: true })
  await retention.act()
  assert.deepEqual(await stored(user, 'frida/demo/one', one), [false, true])
  assert.deepEqual(await stored(user, 'frida/demo/two', two), [false, true])
  assert.deepEqual(await stored(user, 'frida/own/three', own), [true, true])
})

test('images of the registry go too; parts of an index stay with it', async () => {
  const user = await server.user('gerd')
  const name = 'gerd/demo/oci'
  const config = Buffer.from('{"b":2}')
  const layers = ['a', 'b', 'c'].map((text) => Buffer.from(`layer ${text}`))
  const sif = makeSif({ seed: 'in an index' })
  for (const blob of [config, emptyConfig, sif, ...layers]) await ensureBlob(user, name, blob)
  const images = layers.map((layer) => imageManifest(config, [layer]))
  const [part, loose, tagged] = images
  assert.ok(part && loose && tagged)
  const tool = sifManifest(sif)
  for (const image of [part, loose, tool]) {
    assert.equal((await putManifest(user, name, image.digest, image)).status, 201)
  }
  await putManifest(user, name, 'kept', tagged)
  const index = indexManifest([
    { manifest: part, arch: 'arm64' },
    { manifest: tool, arch: 'amd64' },
  ])
  await putManifest(user, name, 'all', index)
  await db.query(sql`update manifests set created_at = now() - interval '50 days'`)
  await db.query(sql`
    update images set uploaded_at = now() - interval '50 days' where digest = ${digestOf(sif)}`)
  await rule(user, name, { pulledWithinDays: 10 })
  assert.deepEqual(
    (await preview(user, name)).map(({ digest }) => digest),
    [loose.digest],
  )
  await retention.act()
  for (const [manifest, status] of [
    [part, 200],
    [tool, 200],
    [index, 200],
    [tagged, 200],
    [loose, 404],
  ] as const) {
    assert.equal((await user.get(`/v2/${name}/manifests/${manifest.digest}`)).status, status)
  }
  await assertLedger(db)
})

test('rules are set, seen and removed by owners and administrators alone', async () => {
  const owner = await server.user('hanna')
  const other = await server.user('ivan')
  const admin = await server.user('root', { isAdmin: true })
  await pushed(owner, 'hanna/demo/tool', 1)
  const path = '/api/v1/retention/rules/hanna/demo'
  for (const [who, status] of [
    [anonymous, 401],
    [other, 403],
  ] as const) {
    assertProblem(await put(who, 'hanna/demo', { keepLast: 1 }), status)
    assertProblem(await who.get(path), status)
    assertProblem(await who.get('/api/v1/retention/preview/hanna/demo'), status)
    assertProblem(await who.delete(path), status)
    assertProblem(await put(who, 'hanna/nothing', { keepLast: 1 }), status)
  }
  assertProblem(await anonymous.get('/api/v1/retention/rules'), 401)
  assertProblem(await owner.get(path), 404, /no rule of its own/)
  assertProblem(await owner.get('/api/v1/retention/preview/hanna/demo'), 404)
  for (const body of [
    {},
    { keepLast: 0 },
    { keepLast: 1.5 },
    { keepLast: 1, more: 2 },
    { keepLast: '1' },
  ]) {
    assertProblem(await put(owner, 'hanna/demo', body), 400)
  }
  assertProblem(await put(owner, 'hanna/none', { keepLast: 1 }), 404)
  assertProblem(await put(owner, 'nobody', { keepLast: 1 }), 404)
  assertProblem(await put(owner, 'Not%20a%20name', { keepLast: 1 }), 400)
  assert.equal((await put(owner, 'hanna/demo', { keepLast: 1 })).status, 200)
  assert.equal((await owner.get(path)).json.data.keepLast, 1)
  const mine = (await owner.get('/api/v1/retention/rules')).json.data
  assert.deepEqual(
    mine.map(({ place }: { place: string }) => place),
    ['hanna/demo'],
  )
  assert.deepEqual((await other.get('/api/v1/retention/rules')).json.data, [])
  assert.equal((await admin.delete(path)).status, 200)
  assertProblem(await owner.delete(path), 404)
  const actions = await db.query<{ action: string }>(sql`
    select action from audit where target = 'hanna/demo' and action like 'retention.%' order by id`)
  assert.deepEqual(
    actions.map(({ action }) => action),
    ['retention.set', 'retention.remove'],
  )
})
