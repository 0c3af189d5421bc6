/**
 * Private collections at the registry, and that the one store of blobs gives nobody what he may not
 * read: to know a digest opens nothing (CVE-2024-39897).
 */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { sql } from '../../server/database.ts'
import type { Client, Reply } from '../support/client.ts'
import { digestOf } from '../support/oci-image.ts'
import {
  emptyConfig,
  pushBlob,
  pushManifest,
  putManifest,
  sessionPath,
  sifManifest,
} from '../support/oci-push.ts'
import { assertRefused, makeManifest, withRegistryToken } from '../support/registry-client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after })
const owner = await server.user('owner')
const stranger = await server.user('stranger')
const admin = await server.user('overseer', { isAdmin: true })
const name = 'owner/hidden/tool'
await owner.post('/v1/collections', { entity: 'owner', name: 'hidden', private: true })
const sif = makeSif({ seed: 'private' })
const manifest = sifManifest(sif)
await pushManifest(owner, name, 'latest', manifest, [emptyConfig, sif])
await pushBlob(stranger, 'stranger/demo/tool', Buffer.from('makes the repository'))

const paths = [
  `/v2/${name}/manifests/latest`,
  `/v2/${name}/manifests/${manifest.digest}`,
  `/v2/${name}/blobs/${digestOf(sif)}`,
  `/v2/${name}/tags/list`,
]

test('the owner and an administrator read it', async () => {
  const registry = await withRegistryToken(owner, [`repository:${name}:pull`])
  for (const client of [owner, admin, registry]) {
    for (const path of paths) {
      assert.equal((await client.get(path)).status, 200, path)
      assert.equal((await client.send('HEAD', path)).status, 200, path)
    }
  }
})

test('to a stranger it is as unknown as what is not there, and nobody is asked to sign in', async () => {
  const registry = await withRegistryToken(stranger, [`repository:${name}:pull,push`])
  const absent = paths.map((path) => path.replace('/hidden/', '/nothing/'))
  for (const [number, path] of paths.entries()) {
    for (const client of [stranger, registry]) {
      assertRefused(await client.get(path), 404, 'NAME_UNKNOWN')
      assert.equal((await client.send('HEAD', path)).status, 404)
    }
    assertRefused(await server.anonymous.get(path), 401, 'UNAUTHORIZED')
    const [hidden, none] = [await stranger.get(path), await stranger.get(absent[number] ?? '')]
    const told = (reply: Reply): string =>
      reply.body.toString().replace(/owner\/(hidden|nothing)/, 'it')
    assert.equal(told(hidden), told(none), 'the same words for both')
    const [asked, other] = [
      await server.anonymous.get(path),
      await server.anonymous.get(absent[number] ?? ''),
    ]
    assert.equal(told(asked), told(other))
  }
})

test('a stranger changes nothing in it', async () => {
  const tries = [
    await putManifest(stranger, name, 'latest', makeManifest()),
    await stranger.delete(`/v2/${name}/manifests/latest`),
    await stranger.delete(`/v2/${name}/manifests/${manifest.digest}`),
    await stranger.delete(`/v2/${name}/blobs/${digestOf(sif)}`),
    await stranger.send('POST', `/v2/${name}/blobs/uploads/`),
  ]
  for (const reply of tries) assert.ok([403, 404].includes(reply.status), `${reply.status}`)
  assert.equal((await owner.get(`/v2/${name}/manifests/latest`)).status, 200)
})

/** That the stranger neither has the SIF nor learns that the store does. */
async function assertNotHis(client: Client, path: string): Promise<void> {
  const blob = `/v2/${path}/blobs/${digestOf(sif)}`
  assert.equal((await client.get(blob)).status, 404)
  assert.equal((await client.send('HEAD', blob)).status, 404)
  const links = await server.db.query(sql`
    select 1 from repository_blobs l join repositories r on r.id = l.repository_id
    where r.path = ${path} and l.digest = ${digestOf(sif)}`)
  assert.deepEqual(links, [])
}

test('HEAD and GET of a private digest in another repository', async () => {
  await assertNotHis(stranger, 'stranger/demo/tool')
  await assertNotHis(stranger, 'stranger/demo/tool')
})

test('a mount of a private blob begins an upload, and links nothing', async () => {
  const registry = await withRegistryToken(stranger, [
    'repository:stranger/demo/tool:pull,push',
    `repository:${name}:pull`,
  ])
  for (const client of [stranger, registry]) {
    for (const from of [`&from=${name}`, '', '&from=stranger/demo/tool', '&from=no/such/one']) {
      const query = `mount=${digestOf(sif)}${from}`
      const path = `/v2/stranger/demo/tool/blobs/uploads/?${query}`
      const reply = await client.send('POST', path)
      assert.equal(reply.status, 202, reply.body.toString())
      assert.equal((await client.delete(sessionPath(reply))).status, 204)
      await assertNotHis(stranger, 'stranger/demo/tool')
    }
  }
})

test('a POST with a private digest wants the bytes', async () => {
  const path = `/v2/stranger/demo/tool/blobs/uploads/?digest=${digestOf(sif)}`
  assertRefused(await stranger.send('POST', path), 400, 'DIGEST_INVALID')
  await assertNotHis(stranger, 'stranger/demo/tool')
})

test('a manifest that names a private blob, or an index that names a private manifest', async () => {
  await pushBlob(stranger, 'stranger/demo/tool', emptyConfig)
  const refused = await putManifest(stranger, 'stranger/demo/tool', 'mine', manifest)
  assertRefused(refused, 400, 'MANIFEST_BLOB_UNKNOWN')
  const index = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      manifests: [
        { mediaType: manifest.mediaType, digest: manifest.digest, size: manifest.bytes.length },
      ],
    }),
  )
  const mediaType = 'application/vnd.oci.image.index.v1+json'
  const put = await putManifest(stranger, 'stranger/demo/tool', 'mine', {
    bytes: index,
    mediaType,
    digest: digestOf(index),
  })
  assertRefused(put, 400, 'MANIFEST_BLOB_UNKNOWN')
  await assertNotHis(stranger, 'stranger/demo/tool')
})

test('the library does not say either that the bytes are known', async () => {
  const id = await stranger.announce('stranger/demo/library', sif)
  const reply = await stranger.get(`/v1/images/${id}`)
  assert.notEqual(reply.json?.data?.uploaded, true)
  await assertNotHis(stranger, 'stranger/demo/library')
  // Who has the bytes may push them: then they are his as well.
  assert.equal((await stranger.push('stranger/demo/library', 'v1', sif)).status, 200)
  const blob = await stranger.get(`/v2/stranger/demo/library/blobs/${digestOf(sif)}`)
  assert.ok(blob.body.equals(sif))
})

test('what becomes private is closed at once, for tokens that were issued before as well', async () => {
  const path = 'owner/closing/tool'
  await pushManifest(owner, path, 'latest', makeManifest(), [emptyConfig])
  const registry = await withRegistryToken(stranger, [`repository:${path}:pull`])
  const read = async (): Promise<number> =>
    (await registry.get(`/v2/${path}/manifests/latest`)).status
  assert.equal(await read(), 200)
  await server.db.query(sql`
    update collections set private = true where name = 'closing'`)
  assert.equal(await read(), 404)
  assert.equal((await server.anonymous.get(`/v2/${path}/manifests/latest`)).status, 401)
})
