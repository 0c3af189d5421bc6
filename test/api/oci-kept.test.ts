/** What stays in a repository and what goes with what, where several pushes share content. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { libraryHash } from '../support/client.ts'
import {
  digestOf,
  emptyConfig,
  imageManifest,
  indexManifest,
  pushBlob,
  pushManifest,
  putManifest,
  sifManifest,
} from '../support/oci-push.ts'
import { assertLedger, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after })

test('an index that was pushed stays when its tag moves on, and goes with its tag when it is deleted', async () => {
  const user = await server.user('index')
  const name = 'index/kept/tool'
  const [amd, arm] = [makeSif({ seed: 'i1' }), makeSif({ seed: 'i2', arch: 'arm64' })]
  await user.push(name, 'latest', amd)
  await user.push(name, undefined, arm)
  await user.tag(name, 'latest', arm, 'arm64')
  // What Berth composed for the tag comes back from a client, who means to keep it.
  const composed = await user.get(`/v2/${name}/manifests/latest`)
  const mediaType = String(composed.headers['content-type'])
  const index = { bytes: composed.body, mediaType, digest: digestOf(composed.body) }
  assert.equal((await putManifest(user, name, index.digest, index)).status, 201)
  await user.delete(`/v1/images/${name}:latest?arch=amd64`)
  assert.equal((await user.get(`/v2/${name}/manifests/${index.digest}`)).status, 200)
  await pushManifest(user, name, 'one', sifManifest(amd), [emptyConfig, amd])
  const own = indexManifest([
    { manifest: sifManifest(amd), arch: 'amd64' },
    { manifest: sifManifest(arm), arch: 'arm64' },
  ])
  await pushManifest(user, name, 'two', sifManifest(arm), [emptyConfig, arm])
  assert.equal((await putManifest(user, name, 'both', own)).status, 201)
  assert.equal((await user.delete(`/v2/${name}/manifests/${own.digest}`)).status, 202)
  assert.equal((await user.get(`/v2/${name}/manifests/both`)).status, 404)
  assert.equal((await user.get(`/v1/images/${name}:one?arch=amd64`)).status, 200)
  assert.equal((await user.get(`/v1/images/${name}:both?arch=amd64`)).status, 404)
  await assertLedger(server.db)
})

test('two pushes of one account: the deletion of the first leaves the second its blobs', async () => {
  const user = await server.user('twice')
  const name = 'twice/kept/tool'
  const layer = Buffer.alloc(1000, 'shared layer')
  const [first, second] = [emptyConfig, Buffer.from('{"config":2}')].map((config) => ({
    manifest: imageManifest(config, [layer]),
    blobs: [config, layer],
  }))
  assert.ok(first && second)
  for (const blob of second.blobs) await pushBlob(user, name, blob)
  await pushManifest(user, name, 'first', first.manifest, first.blobs)
  const gone = await user.delete(`/v2/${name}/manifests/${first.manifest.digest}`)
  assert.equal(gone.status, 202)
  const put = await putManifest(user, name, 'second', second.manifest)
  assert.equal(put.status, 201, put.body.toString())
})

test('a SIF that is known from elsewhere becomes an image of the library as well', async () => {
  const user = await server.user('known')
  const sif = makeSif({ seed: 'known' })
  for (const name of ['known/kept/one', 'known/kept/two']) {
    await pushManifest(user, name, 'v1', sifManifest(sif), [emptyConfig, sif])
    const image = await user.get(`/v1/images/${name}:v1?arch=amd64`)
    assert.equal(image.status, 200, name)
    assert.equal(image.json.data.hash, libraryHash(sif))
  }
})

test('a manifest that Berth composed can be pushed again after it was deleted in the middle', async () => {
  const user = await server.user('composed')
  const name = 'composed/kept/tool'
  const sif = makeSif({ seed: 'composed' })
  await user.push(name, 'latest', sif)
  const found = await user.get(`/v2/${name}/manifests/latest`)
  const manifest = {
    bytes: found.body,
    mediaType: String(found.headers['content-type']),
    digest: digestOf(found.body),
  }
  // A client that copies hears that both blobs are there, and the image goes before its manifest.
  for (const { digest } of [found.json.config, ...found.json.layers]) {
    const head = await user.send('HEAD', `/v2/${name}/blobs/${digest}`)
    assert.equal(head.status, 200)
  }
  assert.equal((await user.delete(`/v2/${name}/manifests/${manifest.digest}`)).status, 202)
  const put = await putManifest(user, name, 'copy', manifest)
  assert.equal(put.status, 201, put.body.toString())
  const image = await user.get(`/v1/images/${name}:copy?arch=amd64`)
  assert.equal(image.json.data.hash, libraryHash(sif))
  assert.equal((await user.get(`/v2/${name}/blobs/${found.json.config.digest}`)).status, 200)
})

test('the bytes of a manifest that was pushed once are given back with its deletion', async () => {
  const user = await server.user('given')
  const name = 'given/kept/tool'
  const layer = Buffer.alloc(5000, 'given back')
  const manifest = imageManifest(emptyConfig, [layer])
  for (let turn = 0; turn < 2; turn += 1) {
    await pushManifest(user, name, 'latest', manifest, [emptyConfig, layer])
  }
  assert.equal((await user.delete(`/v2/${name}/manifests/${manifest.digest}`)).status, 202)
  assert.equal((await user.get('/v1/entities/given')).json.data.size, 0)
})
