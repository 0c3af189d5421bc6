/** What the library pushed, seen and changed by clients of the registry. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { libraryHash, sha256 } from '../support/client.ts'
import type { Client } from '../support/client.ts'
import { digestOf, types } from '../support/oci-image.ts'
import { emptyConfig, pushManifest, putManifest, sifManifest } from '../support/oci-push.ts'
import { assertRefused, makeManifest } from '../support/registry-client.ts'
import { assertLedger, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after })
const user = await server.user('libby')
const sifConfigType = 'application/vnd.sylabs.sif.config.v1+json'
const sifLayerType = 'application/vnd.sylabs.sif.layer.v1.sif'

interface Image {
  readonly digest: string
  readonly architecture: string | undefined
}

/** Pulls as oras and skopeo do, checking each digest on the way; returns the SIF. */
async function pullSif(client: Client, name: string, reference: string): Promise<Buffer> {
  const found = await client.get(`/v2/${name}/manifests/${reference}`)
  assert.equal(found.status, 200, found.body.toString())
  assert.equal(found.headers['docker-content-digest'], digestOf(found.body))
  const { layers } = found.json
  assert.equal(layers.length, 1)
  const blob = await client.get(`/v2/${name}/blobs/${layers[0].digest}`)
  assert.equal(blob.status, 200)
  assert.equal(blob.body.length, layers[0].size)
  assert.equal(digestOf(blob.body), layers[0].digest)
  return blob.body
}

async function imagesOf(name: string, tag: string): Promise<readonly Image[]> {
  const found = await user.get(`/v2/${name}/manifests/${tag}`)
  assert.equal(found.headers['content-type'], types.index)
  return found.json.manifests.map(
    (one: { digest: string; platform?: { architecture: string } }) => ({
      digest: one.digest,
      architecture: one.platform?.architecture,
    }),
  )
}

async function statusOf(path: string): Promise<number> {
  return (await user.get(path)).status
}

test('a SIF of the library is one artifact: manifest, configuration and layer', async () => {
  const name = 'libby/demo/one'
  const sif = makeSif({
    seed: 'one',
    arch: 'arm64',
    signatures: [{ fingerprint: 'ab'.repeat(20) }],
  })
  assert.equal((await user.push(name, undefined, sif)).status, 200)
  await user.tag(name, 'v1', sif, 'arm64')
  const found = await user.get(`/v2/${name}/manifests/v1`)
  assert.equal(found.headers['content-type'], types.manifest)
  const { config, layers, mediaType, schemaVersion } = found.json
  assert.deepEqual([schemaVersion, mediaType], [2, types.manifest])
  assert.equal(config.mediaType, sifConfigType)
  assert.deepEqual(layers, [{ mediaType: sifLayerType, digest: digestOf(sif), size: sif.length }])
  for (const method of ['GET', 'HEAD']) {
    const blob = await user.send(method, `/v2/${name}/blobs/${config.digest}`)
    assert.equal(blob.status, 200)
    assert.equal(blob.headers['content-length'], String(config.size))
    if (method === 'GET') assert.equal(digestOf(blob.body), config.digest)
  }
  const facts = (await user.get(`/v2/${name}/blobs/${config.digest}`)).json
  assert.equal(facts.architecture, 'arm64')
  assert.deepEqual([facts.signed, facts.encrypted], [true, false])
  assert.ok((await pullSif(user, name, 'v1')).equals(sif))
  assert.ok((await pullSif(server.anonymous, name, digestOf(found.body))).equals(sif))
  assert.deepEqual((await user.get(`/v2/${name}/tags/list`)).json.tags, ['v1'])
})

test('two architectures are an index with the digests of both, which changes with each', async () => {
  const name = 'libby/demo/two'
  const [amd, arm, newer] = [
    makeSif({ seed: 'amd' }),
    makeSif({ seed: 'arm', arch: 'arm64' }),
    makeSif({ seed: 'newer' }),
  ]
  await user.push(name, 'latest', amd)
  const alone = await user.get(`/v2/${name}/manifests/latest`)
  assert.equal(alone.headers['content-type'], types.manifest)
  await user.push(name, undefined, arm)
  await user.tag(name, 'latest', arm, 'arm64')

  const images = await imagesOf(name, 'latest')
  assert.deepEqual(
    images.map((image) => image.architecture),
    ['amd64', 'arm64'],
  )
  assert.equal(images[0]?.digest, digestOf(alone.body))
  for (const [number, sif] of [amd, arm].entries()) {
    assert.ok((await pullSif(user, name, images[number]?.digest ?? '')).equals(sif))
  }
  const index = await user.get(`/v2/${name}/manifests/latest`)
  const digest = String(index.headers['docker-content-digest'])
  assert.equal(digest, digestOf(index.body))
  assert.ok((await user.get(`/v2/${name}/manifests/${digest}`)).body.equals(index.body))

  await user.push(name, 'latest', newer)
  const moved = await imagesOf(name, 'latest')
  assert.notEqual(moved[0]?.digest, images[0]?.digest)
  assert.equal(moved[1]?.digest, images[1]?.digest)
  assert.equal(await statusOf(`/v2/${name}/manifests/${digest}`), 404, 'the index of before')
  assert.equal(await statusOf(`/v2/${name}/manifests/${images[0]?.digest}`), 200)

  await user.delete(`/v1/images/${name}:latest?arch=arm64`)
  const left = await user.get(`/v2/${name}/manifests/latest`)
  assert.equal(digestOf(left.body), moved[0]?.digest, 'one is no index')
})

test('the same image under the same name has the same digest wherever it is pushed', async () => {
  const sif = makeSif({ seed: 'same' })
  const digests: string[] = []
  for (const name of ['libby/demo/here', 'libby/demo/there']) {
    await user.push(name, 'v1', sif)
    const head = await user.send('HEAD', `/v2/${name}/manifests/v1`)
    digests.push(String(head.headers['docker-content-digest']))
  }
  assert.equal(digests[0], digests[1])
})

test('a tag of the library moves when the registry sets it, and the other way round', async () => {
  const name = 'libby/demo/moved'
  const [first, second] = [makeSif({ seed: 'm1' }), makeSif({ seed: 'm2' })]
  for (const sif of [first, second]) await user.push(name, 'v1', sif)
  const hashOf = async (tag: string): Promise<string> =>
    (await user.get(`/v1/images/${name}:${tag}?arch=amd64`)).json.data.hash
  assert.equal(await hashOf('v1'), libraryHash(second))
  await user.push(name, 'v2', first)
  const found = await user.get(`/v2/${name}/manifests/v2`)
  const manifest = {
    bytes: found.body,
    mediaType: types.manifest,
    digest: digestOf(found.body),
  }
  for (const tag of ['v1', 'third']) {
    assert.equal((await putManifest(user, name, tag, manifest)).status, 201)
    assert.equal(await hashOf(tag), libraryHash(first))
  }
  await user.tag(name, 'third', second)
  assert.ok((await pullSif(user, name, 'third')).equals(second))
  const tags = (await user.get(`/v1/tags/${name}`)).json.data
  assert.deepEqual(Object.keys(tags).sort(), ['third', 'v1', 'v2'])
})

test('deleted through the registry, gone from the library', async () => {
  const name = 'libby/demo/deleted'
  const sif = makeSif({ seed: 'deleted' })
  await user.push(name, 'v1', sif)
  await user.tag(name, 'v2', sif)
  assert.equal((await user.delete(`/v2/${name}/manifests/v1`)).status, 202)
  assert.equal(await statusOf(`/v1/images/${name}:v1?arch=amd64`), 404)
  assert.equal(await statusOf(`/v1/images/${name}:v2?arch=amd64`), 200)
  const head = await user.send('HEAD', `/v2/${name}/manifests/v2`)
  const digest = String(head.headers['docker-content-digest'])
  assert.equal((await user.delete(`/v2/${name}/manifests/${digest}`)).status, 202)
  assert.equal(await statusOf(`/v1/images/${name}:v2?arch=amd64`), 404)
  assert.equal(await statusOf(`/v1/imagefile/${name}:${libraryHash(sif)}`), 404)
  assert.equal(await statusOf(`/v2/${name}/blobs/${digestOf(sif)}`), 404)
  await assertLedger(server.db)
  assert.equal((await user.push(name, 'v1', sif)).status, 200, 'and comes back')
  assert.ok((await pullSif(user, name, 'v1')).equals(sif))
})

test('the index of a tag takes the tag and its images along, but not those of other tags', async () => {
  const name = 'libby/demo/index'
  const [amd, arm] = [makeSif({ seed: 'x1' }), makeSif({ seed: 'x2', arch: 'arm64' })]
  await user.push(name, 'latest', amd)
  await user.tag(name, 'kept', amd)
  await user.push(name, undefined, arm)
  await user.tag(name, 'latest', arm, 'arm64')
  const head = await user.send('HEAD', `/v2/${name}/manifests/latest`)
  const digest = String(head.headers['docker-content-digest'])
  assert.equal((await user.delete(`/v2/${name}/manifests/${digest}`)).status, 202)
  assert.equal(await statusOf(`/v2/${name}/manifests/latest`), 404)
  assert.equal(await statusOf(`/v1/images/${name}:latest?arch=arm64`), 404)
  assert.equal(await statusOf(`/v1/imagefile/${name}:${libraryHash(arm)}`), 404)
  assert.equal(await statusOf(`/v1/imagefile/${name}:kept?arch=amd64`), 200)
})

test('deleted through the library, gone from the registry', async () => {
  const name = 'libby/demo/other'
  const sif = makeSif({ seed: 'other' })
  await user.push(name, 'v1', sif)
  const head = await user.send('HEAD', `/v2/${name}/manifests/v1`)
  const digest = String(head.headers['docker-content-digest'])
  assert.equal((await user.delete(`/v1/images/${name}:${libraryHash(sif)}`)).status, 200)
  for (const reference of ['v1', digest]) {
    assertRefused(await user.get(`/v2/${name}/manifests/${reference}`), 404, 'MANIFEST_UNKNOWN')
  }
  assertRefused(await user.get(`/v2/${name}/blobs/${digestOf(sif)}`), 404, 'BLOB_UNKNOWN')
})

test('an image goes with all manifests that hold it, and OCI images beside it stay', async () => {
  const name = 'libby/mixed/tool'
  const sif = makeSif({ seed: 'mixed' })
  await user.push(name, 'sif', sif)
  await pushManifest(user, name, 'oci', makeManifest(), [emptyConfig])
  await pushManifest(user, name, 'both', sifManifest(sif), [])
  const refused = await user.get(`/v1/images/${name}:oci`)
  assert.equal(refused.status, 400)
  assert.match(refused.json.error.message, /application\/vnd\.oci\.image/)
  assert.equal(sha256((await user.get(`/v1/imagefile/${name}:both`)).body), sha256(sif))
  const listed = await user.get(`/v1/containers/${name}/_images`)
  assert.equal(listed.json.data.length, 1, 'one image, by whatever manifests')
  assert.equal((await user.delete(`/v1/images/${name}:${libraryHash(sif)}`)).status, 200)
  assert.deepEqual((await user.get(`/v2/${name}/tags/list`)).json.tags, ['oci'])
  assert.equal(await statusOf(`/v2/${name}/manifests/${sifManifest(sif).digest}`), 404)
  assert.equal(await statusOf(`/v2/${name}/blobs/${digestOf(sif)}`), 404)
  assert.equal(await statusOf(`/v2/${name}/blobs/${digestOf(emptyConfig)}`), 200)
  await assertLedger(server.db)
})
