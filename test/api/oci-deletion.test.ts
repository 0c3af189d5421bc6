/** Deletion of tags, manifests and blobs, and that what is deleted is gone at once (end-9, 10). */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { digestOf, makeImage, makeIndex } from '../support/oci-image.ts'
import type { OciImage } from '../support/oci-image.ts'
import { emptyConfig, pushBlob, pushManifest, putManifest } from '../support/oci-push.ts'
import { assertRefused, makeManifest } from '../support/registry-client.ts'
import { assertLedger, startServer } from '../support/server.ts'

const server = await startServer({ after })
const user = await server.user('remover')

/** A repository of its own for each test, with an image under two tags. */
async function makeRepository(name: string): Promise<OciImage> {
  const image = makeImage({ layers: [{ name }] })
  for (const tag of ['v1', 'latest']) {
    await pushManifest(user, name, tag, image, [...image.content.values()])
  }
  return image
}

async function tagsOf(name: string): Promise<string[]> {
  const reply = await user.get(`/v2/${name}/tags/list`)
  return reply.status === 200 ? reply.json.tags : [`status ${reply.status}`]
}

test('a tag goes alone; the manifest and the other tag stay', async () => {
  const name = 'remover/demo/tag'
  const image = await makeRepository(name)
  assert.equal((await user.delete(`/v2/${name}/manifests/latest`)).status, 202)
  assertRefused(await user.get(`/v2/${name}/manifests/latest`), 404, 'MANIFEST_UNKNOWN')
  assertRefused(await user.delete(`/v2/${name}/manifests/latest`), 404, 'MANIFEST_UNKNOWN')
  assert.deepEqual(await tagsOf(name), ['v1'])
  assert.equal((await user.delete(`/v2/${name}/manifests/v1`)).status, 202)
  assert.deepEqual(await tagsOf(name), [])
  assert.equal((await user.get(`/v2/${name}/manifests/${image.digest}`)).status, 200)
})

test('a manifest goes with its tags and the blobs that nothing else needs', async () => {
  const name = 'remover/demo/manifest'
  const image = await makeRepository(name)
  const path = `/v2/${name}/manifests/${image.digest}`
  assert.equal((await user.delete(path)).status, 202)
  for (const reference of [image.digest, 'v1', 'latest']) {
    for (const method of ['GET', 'HEAD']) {
      const reply = await user.send(method, `/v2/${name}/manifests/${reference}`)
      assert.equal(reply.status, 404)
    }
  }
  assertRefused(await user.delete(path), 404, 'MANIFEST_UNKNOWN')
  assert.deepEqual(await tagsOf(name), [])
  await assertLedger(server.db)
})

test('an image of an index can be deleted from under it, and the index pulls on without it', async () => {
  const name = 'remover/demo/index'
  const images = ['amd64', 'arm64'].map((arch) => makeImage({ arch }))
  for (const image of images) {
    await pushManifest(user, name, image.digest, image, [...image.content.values()])
  }
  const index = makeIndex(images)
  assert.equal((await putManifest(user, name, 'both', index)).status, 201)
  const [first, second] = images
  assert.equal((await user.delete(`/v2/${name}/manifests/${first?.digest}`)).status, 202)
  assert.ok((await user.get(`/v2/${name}/manifests/both`)).body.equals(index.bytes))
  assert.equal((await user.get(`/v2/${name}/manifests/${first?.digest}`)).status, 404)
  // The index alone goes alone as well.
  assert.equal((await user.delete(`/v2/${name}/manifests/${index.digest}`)).status, 202)
  assert.deepEqual(await tagsOf(name), [])
  assert.equal((await user.get(`/v2/${name}/manifests/${second?.digest}`)).status, 200)
})

test('a blob that nothing needs goes, and a push can bring it back', async () => {
  const name = 'remover/demo/blob'
  const blob = Buffer.from('comes and goes')
  const path = `/v2/${name}/blobs/${digestOf(blob)}`
  await pushBlob(user, name, Buffer.from('stays'))
  for (let round = 0; round < 2; round += 1) {
    await pushBlob(user, name, blob)
    assert.equal((await user.get(path)).status, 200)
    assert.equal((await user.delete(path)).status, 202)
    for (const method of ['GET', 'HEAD', 'DELETE']) {
      assert.equal((await user.send(method, path)).status, 404, method)
    }
    assertRefused(await user.get(path), 404, 'BLOB_UNKNOWN')
    await assertLedger(server.db)
  }
})

test('what is in another repository stays there', async () => {
  const [here, there] = ['remover/demo/here', 'remover/demo/there']
  const manifest = makeManifest()
  for (const name of [here, there]) {
    await pushManifest(user, name, 'v1', manifest, [emptyConfig])
  }
  assert.equal((await user.delete(`/v2/${here}/manifests/${manifest.digest}`)).status, 202)
  assert.equal((await user.get(`/v2/${here}/manifests/v1`)).status, 404)
  assert.equal((await user.get(`/v2/${there}/manifests/v1`)).status, 200)
  const blob = await user.get(`/v2/${there}/blobs/${digestOf(emptyConfig)}`)
  assert.ok(blob.body.equals(emptyConfig))
})

test('a manifest that comes back after its deletion is whole', async () => {
  const name = 'remover/demo/again'
  for (let round = 0; round < 2; round += 1) {
    const image = await makeRepository(name)
    for (const [digest, bytes] of image.content) {
      assert.ok((await user.get(`/v2/${name}/blobs/${digest}`)).body.equals(bytes))
    }
    assert.equal((await user.delete(`/v2/${name}/manifests/${image.digest}`)).status, 202)
    await server.appliance.sweep()
  }
})

test('who may delete: not a stranger, not nobody, not for references that are none', async () => {
  const name = 'remover/demo/guarded'
  const image = await makeRepository(name)
  const stranger = await server.user('stranger')
  const layer = image.layerDigests[0] ?? ''
  const addresses = [
    `/v2/${name}/manifests/latest`,
    `/v2/${name}/manifests/${image.digest}`,
    `/v2/${name}/blobs/${layer}`,
  ]
  for (const address of addresses) {
    assertRefused(await stranger.delete(address), 403, 'DENIED')
    assertRefused(await server.anonymous.delete(address), 401, 'UNAUTHORIZED')
  }
  assertRefused(await user.delete(`/v2/${name}/manifests/sha256:1`), 400, 'DIGEST_INVALID')
  assertRefused(await user.delete(`/v2/${name}/blobs/latest`), 400, 'DIGEST_INVALID')
  assertRefused(await user.delete(`/v2/remover/demo/none/manifests/v1`), 404, 'NAME_UNKNOWN')
  assert.deepEqual(await tagsOf(name), ['latest', 'v1'])
})
