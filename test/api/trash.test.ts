/** Deleted images: gone for everybody at once, restorable for a week, and purged after it. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { hostOperator } from '../../server/accounts/accounts.ts'
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
import { assertLedger, startServer } from '../support/server.ts'
import type { TestServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after }, { settings: { quota: { default: 1_000_000 } } })
const { anonymous } = server
const admin = await server.user('root', { isAdmin: true })

interface Deleted {
  readonly id: number
  readonly path: string
  readonly tags: readonly string[]
  readonly sizeBytes: number
  readonly reason: string
  readonly deletedBy: string
}

const deleted = async (who: Client, space = ''): Promise<Deleted[]> => {
  const reply = await who.get(`/api/v1/trash${space === '' ? '' : `/${space}`}`)
  assert.equal(reply.status, 200, reply.body.toString())
  return reply.json.data
}
const restore = async (who: Client, space: string, id: number): Promise<Reply> =>
  await who.send('POST', `/api/v1/trash/${space}/${id}/restore`)
const used = async (who: Client): Promise<number> =>
  (await who.get('/api/v1/usage')).json.data[0].usedBytes
const remove = async (who: Client, reference: string): Promise<void> => {
  const reply = await who.delete(`/v1/images/${reference}`)
  assert.equal(reply.status, 200, reply.body.toString())
}

test('a deleted image is gone at once, off the quota, and comes back with its tags', async () => {
  const user = await server.user('alice')
  const sif = makeSif({ seed: 'back' })
  await user.push('alice/demo/tool', 'v1', sif)
  await user.tag('alice/demo/tool', 'latest', sif)
  await remove(user, `alice/demo/tool:${libraryHash(sif)}`)
  assert.equal(await used(user), 0)
  assertProblem(await anonymous.get('/v1/imagefile/alice/demo/tool:v1'), 404)
  for (const path of ['manifests/v1', `blobs/sha256:${sha256(sif)}`]) {
    assert.equal((await user.get(`/v2/alice/demo/tool/${path}`)).status, 404, path)
  }
  const [image, ...others] = await deleted(user)
  assert.ok(image)
  assert.deepEqual(others, [])
  assert.equal(image.path, 'alice/demo/tool')
  assert.deepEqual(image.tags, ['latest', 'v1'])
  assert.equal(image.sizeBytes, sif.length)
  assert.equal(image.deletedBy, 'alice')

  const back = await restore(user, 'alice', image.id)
  assert.equal(back.status, 200, back.body.toString())
  assert.deepEqual(back.json.data.tags, ['latest', 'v1'])
  assert.equal(await used(user), sif.length)
  for (const tag of ['v1', 'latest']) {
    const pulled = await anonymous.get(`/v1/imagefile/alice/demo/tool:${tag}`)
    assert.deepEqual(pulled.body, sif)
  }
  assert.deepEqual(await deleted(user), [])
  assertProblem(await restore(user, 'alice', image.id), 404)
  await assertLedger(server.db)
})

test('the last tag takes the image along, and restoring brings both; with others it stays', async () => {
  const user = await server.user('bella')
  const sif = makeSif({ seed: 'by tag' })
  await user.push('bella/demo/tool', 'v1', sif)
  await user.tag('bella/demo/tool', 'v2', sif)
  await remove(user, 'bella/demo/tool:v1?arch=amd64')
  assert.deepEqual(await deleted(user), [])
  await remove(user, 'bella/demo/tool:v2?arch=amd64')
  const [image] = await deleted(user)
  assert.deepEqual(image?.tags, ['v2'])
  assert.equal((await restore(user, 'bella', image?.id ?? 0)).status, 200)
  assert.deepEqual((await user.get('/v1/imagefile/bella/demo/tool:v2')).body, sif)
  assertProblem(await user.get('/v1/imagefile/bella/demo/tool:v1'), 404)
})

test('a tag that names another image meanwhile stays there, and the answer says so', async () => {
  const user = await server.user('carl')
  const [old, young] = [makeSif({ seed: 'old' }), makeSif({ seed: 'young' })]
  await user.push('carl/demo/tool', 'latest', old)
  await user.tag('carl/demo/tool', 'v1', old)
  await remove(user, `carl/demo/tool:${libraryHash(old)}`)
  await user.push('carl/demo/tool', 'latest', young)
  const [image] = await deleted(user)
  const { tags, tagsTaken } = (await restore(user, 'carl', image?.id ?? 0)).json.data
  assert.deepEqual([tags, tagsTaken], [['v1'], ['latest']])
  assert.deepEqual((await user.get('/v1/imagefile/carl/demo/tool:latest')).body, young)
  assert.deepEqual((await user.get('/v1/imagefile/carl/demo/tool:v1')).body, old)
})

test('pushing a deleted image again works, and what was deleted can still be restored', async () => {
  const user = await server.user('dora')
  const sif = makeSif({ seed: 'again' })
  await user.push('dora/demo/tool', 'v1', sif)
  await remove(user, `dora/demo/tool:${libraryHash(sif)}`)
  assert.equal((await user.push('dora/demo/tool', 'v2', sif)).status, 200)
  assert.equal(await used(user), sif.length)
  const [image] = await deleted(user)
  assert.equal((await restore(user, 'dora', image?.id ?? 0)).status, 200)
  assert.equal(await used(user), sif.length)
  for (const tag of ['v1', 'v2']) {
    assert.deepEqual((await user.get(`/v1/imagefile/dora/demo/tool:${tag}`)).body, sif)
  }
  await assertLedger(server.db)
})

test('restoring asks the quota again, with nothing half restored', async () => {
  const user = await server.user('emil')
  const big = makeSif({ seed: 'big', payload: 600_000 })
  await user.push('emil/demo/tool', 'v1', big)
  await remove(user, `emil/demo/tool:${libraryHash(big)}`)
  const other = makeSif({ seed: 'other', payload: 600_000 })
  await user.push('emil/demo/other', 'v1', other)
  const [image] = await deleted(user)
  assertProblem(await restore(user, 'emil', image?.id ?? 0), 403, /quota of "emil" has no room/)
  assert.equal(await used(user), other.length)
  assert.equal((await deleted(user)).length, 1)
  const id = user.credentials?.accountId ?? ''
  await server.appliance.quotas.set(hostOperator, { id, name: 'emil' }, 2_000_000)
  assert.equal((await restore(user, 'emil', image?.id ?? 0)).status, 200)
  await assertLedger(server.db)
})

test('images and indexes of the registry come back as they were', async () => {
  const user = await server.user('frida')
  const name = 'frida/demo/oci'
  const [config, layer, sif] = [
    Buffer.from('{"a":1}'),
    Buffer.from('layer'),
    makeSif({ seed: 'oci' }),
  ]
  for (const blob of [config, layer, sif, emptyConfig]) await ensureBlob(user, name, blob)
  const image = imageManifest(config, [layer])
  const tool = sifManifest(sif)
  const index = indexManifest([
    { manifest: image, arch: 'arm64' },
    { manifest: tool, arch: 'amd64' },
  ])
  await putManifest(user, name, 'plain', image)
  await putManifest(user, name, 'tool', tool)
  await putManifest(user, name, 'all', index)
  const before = await used(user)
  for (const manifest of [index, tool, image]) {
    const gone = await user.delete(`/v2/${name}/manifests/${manifest.digest}`)
    assert.equal(gone.status, 202, gone.body.toString())
    assert.equal((await user.get(`/v2/${name}/manifests/${manifest.digest}`)).status, 404)
  }
  // The sweep has nothing to take: neither the blobs nor the container.
  await server.db.query(sql`
    update repositories set updated_at = now() - interval '3 days' where path = ${name}`)
  await server.appliance.sweep()
  for (const { id } of (await deleted(user)).toSorted((one, other) => other.id - one.id)) {
    const back = await restore(user, 'frida', id)
    assert.equal(back.status, 200, back.body.toString())
  }
  for (const [tag, manifest] of [
    ['plain', image],
    ['tool', tool],
    ['all', index],
  ] as const) {
    const pulled = await user.get(`/v2/${name}/manifests/${tag}`)
    assert.deepEqual(pulled.body, manifest.bytes, tag)
  }
  for (const blob of [config, layer, sif]) {
    assert.deepEqual((await user.get(`/v2/${name}/blobs/sha256:${sha256(blob)}`)).body, blob)
  }
  assert.equal(await used(user), before)
  await assertLedger(server.db)
})

test('a library tag of two architectures comes back whole', async () => {
  const user = await server.user('gerd')
  const [amd, arm] = [makeSif({ seed: 'amd' }), makeSif({ seed: 'arm', arch: 'arm64' })]
  await user.push('gerd/demo/tool', 'v1', amd)
  await user.push('gerd/demo/tool', undefined, arm)
  await user.tag('gerd/demo/tool', 'v1', arm, 'arm64')
  const face = (await user.get('/v2/gerd/demo/tool/manifests/v1')).body
  const digest = `sha256:${sha256(face)}`
  assert.equal((await user.delete(`/v2/gerd/demo/tool/manifests/${digest}`)).status, 202)
  const images = await deleted(user)
  assert.equal(images.length, 2)
  for (const { id } of images) assert.equal((await restore(user, 'gerd', id)).status, 200)
  assert.deepEqual((await user.get('/v2/gerd/demo/tool/manifests/v1')).body, face)
})

test('only owners and administrators see, restore and give up what was deleted', async () => {
  const owner = await server.user('hanna')
  const other = await server.user('ivan')
  const sif = makeSif({ seed: 'private' })
  await owner.push('hanna/demo/tool', 'v1', sif)
  await remove(owner, `hanna/demo/tool:${libraryHash(sif)}`)
  const [image] = await deleted(owner)
  const id = image?.id ?? 0
  const path = `/api/v1/trash/hanna/${id}`
  for (const [who, status] of [
    [anonymous, 401],
    [other, 404],
  ] as const) {
    assertProblem(await restore(who, 'hanna', id), status)
    assertProblem(await who.delete(path), status)
  }
  assertProblem(await anonymous.get('/api/v1/trash'), 401)
  assertProblem(await anonymous.get('/api/v1/trash/hanna'), 401)
  assertProblem(await other.get('/api/v1/trash/hanna'), 403)
  assertProblem(await owner.get('/api/v1/trash/nobody'), 404)
  assertProblem(await owner.get('/api/v1/trash/Not%20a%20name'), 400)
  assertProblem(await restore(owner, 'hanna', 999_999), 404)
  assertProblem(await owner.send('POST', '/api/v1/trash/hanna/x/restore'), 404)
  assertProblem(await restore(owner, 'ivan', id), 404)
  assert.deepEqual(await deleted(other), [])
  assert.equal((await deleted(admin, 'hanna')).length, 1)
  const given = await owner.delete(path)
  assert.deepEqual(given.json.data, { images: 1, bytes: sif.length })
  assertProblem(await restore(owner, 'hanna', id), 404)
})

test('a space cannot hold more deleted than its quota: of more the oldest go', async () => {
  const user = await server.user('jana')
  const sifs = ['one', 'two', 'three'].map((seed) => makeSif({ seed, payload: 400_000 }))
  for (const sif of sifs) {
    await user.push('jana/demo/tool', 'v1', sif)
    await remove(user, `jana/demo/tool:${libraryHash(sif)}`)
  }
  const kept = (await deleted(user)).map(({ sizeBytes }) => sizeBytes)
  assert.deepEqual(kept, [sifs[2]?.length, sifs[1]?.length])
})

test('restoring follows the rule of the space as a push does', async () => {
  const user = await server.user('karl')
  const sif = makeSif({ seed: 'unsigned' })
  await user.push('karl/demo/tool', 'v1', sif)
  await remove(user, `karl/demo/tool:${libraryHash(sif)}`)
  await server.appliance.policy.set(hostOperator, 'karl', 'verified')
  const [image] = await deleted(user)
  assertProblem(await restore(user, 'karl', image?.id ?? 0), 403, /takes only images/)
  await server.appliance.policy.set(hostOperator, 'karl', null)
  assert.equal((await restore(user, 'karl', image?.id ?? 0)).status, 200)
})

test('after the week the sweep gives up the image, and its bytes leave in the same run', async (t) => {
  const own = await startServer(t)
  const user = await own.user('alice')
  const sif = makeSif({ seed: 'week' })
  await user.push('alice/demo/tool', 'v1', sif)
  await remove(user, `alice/demo/tool:${libraryHash(sif)}`)
  const age = async (days: number): Promise<void> => {
    await own.db.query(sql`
      update deleted_images set deleted_at = now() - make_interval(secs => ${days * 86_400})`)
  }
  await age(6.9)
  const early = await own.appliance.sweep()
  assert.deepEqual([early.imagesGivenUp, early.blobsCondemned, early.blobsRemoved], [0, 0, 0])
  assert.ok(existsSync(fileOf(own, sif)))
  await age(7.1)
  const [image] = await own.appliance.trash.listAll()
  assert.equal(image, undefined)
  const late = await own.appliance.sweep()
  assert.deepEqual([late.imagesGivenUp, late.blobsRemoved, late.bytesFreed], [1, 1, sif.length])
  assert.equal(existsSync(fileOf(own, sif)), false)
  const [audited] = await own.db.query<{ name: string }>(
    sql`select account_name as "name" from audit where action = 'image.purge'`,
  )
  assert.equal(audited?.name, 'housekeeping')
})

test('a purge gives the bytes back, except those that somebody may still download', async (t) => {
  const own = await startServer(t)
  const user = await own.user('alice')
  const [old, fresh] = [makeSif({ seed: 'day old' }), makeSif({ seed: 'fresh' })]
  for (const sif of [old, fresh]) {
    await user.push('alice/demo/tool', 'v1', sif)
    await remove(user, `alice/demo/tool:${libraryHash(sif)}`)
  }
  await own.db.query(sql`
    update deleted_images set deleted_at = now() - interval '25 hours'
    where digest = ${`sha256:${sha256(old)}`}`)
  const purged = await own.appliance.trash.purgeEverything(hostOperator)
  assert.deepEqual(purged, { images: 2, bytes: old.length + fresh.length })
  assert.equal((await own.appliance.sweep()).blobsRemoved, 1)
  assert.deepEqual(
    [old, fresh].map((sif) => existsSync(fileOf(own, sif))),
    [false, true],
  )
})

test('bytes that another space uses survive the purge of a deleted image', async (t) => {
  const own = await startServer(t, { settings: { storage: { keep_free: 0, grace_hours: 0 } } })
  const [alice, bob] = [await own.user('alice'), await own.user('bob')]
  const sif = makeSif({ seed: 'shared' })
  await alice.push('alice/demo/tool', 'v1', sif)
  await bob.push('bob/demo/tool', 'v1', sif)
  await remove(alice, `alice/demo/tool:${libraryHash(sif)}`)
  await own.appliance.trash.purgeEverything(hostOperator)
  for (let turn = 0; turn < 2; turn += 1) await own.appliance.sweep()
  assert.deepEqual((await bob.get('/v1/imagefile/bob/demo/tool:v1')).body, sif)
})

test('pushes, deletions, restorings and sweeps at the same time lose nothing', async (t) => {
  const own = await startServer(t, { settings: { storage: { keep_free: 0, grace_hours: 0 } } })
  const user = await own.user('alice')
  const sifs = Array.from({ length: 3 }, (_, number) => makeSif({ seed: `busy${number}` }))
  const over = new AbortController()
  const sweeping = (async () => {
    while (!over.signal.aborted) await own.appliance.sweep()
  })()
  const workers = sifs.map(async (sif, number) => {
    const path = `alice/demo/tool${number % 2}`
    for (let turn = 0; turn < 6; turn += 1) {
      await user.push(path, `v${number}`, sif)
      await remove(user, `${path}:${libraryHash(sif)}`)
      const mine = (await deleted(user)).find(
        (image) => image.path === path && image.tags.includes(`v${number}`),
      )
      assert.ok(mine)
      const back = await restore(user, 'alice', mine.id)
      assert.equal(back.status, 200, back.body.toString())
      const pulled = await user.get(`/v1/imagefile/${path}:v${number}`)
      assert.deepEqual(pulled.body, sif)
    }
  })
  await Promise.all(workers).finally(() => over.abort())
  await sweeping
})

test('with undelete_days = 0 nothing is kept', async (t) => {
  const own = await startServer(t, { settings: { library: { undelete_days: 0 } } })
  const user = await own.user('alice')
  const sif = makeSif({ seed: 'final' })
  await user.push('alice/demo/tool', 'v1', sif)
  await remove(user, `alice/demo/tool:${libraryHash(sif)}`)
  assert.deepEqual(await own.db.query(sql`select 1 from deleted_images`), [])
  assert.equal((await own.appliance.sweep()).blobsCondemned, 1)
})

function fileOf({ dataDir }: TestServer, sif: Buffer): string {
  return join(dataDir, 'store/blobs/sha256', sha256(sif).slice(0, 2), sha256(sif))
}
