/** Manifests and indexes: what is taken, under which names it is found, and what is refused. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { digestOf, dockerTypes, makeImage, makeIndex, types } from '../support/oci-image.ts'
import type { OciImage } from '../support/oci-image.ts'
import { emptyConfig, indexManifest, pushBlob, putManifest } from '../support/oci-push.ts'
import type { Manifest } from '../support/oci-push.ts'
import { assertRefused, describe, makeManifest, sendStream } from '../support/registry-client.ts'
import { startServer } from '../support/server.ts'

const server = await startServer({ after })
const user = await server.user('maker')
const name = 'maker/demo/tool'
await pushBlob(user, name, emptyConfig)

async function pushContent(image: OciImage): Promise<void> {
  for (const blob of image.content.values()) await pushBlob(user, name, blob)
}

/** GET and HEAD give the bytes as they came. */
async function assertThere(manifest: Manifest, reference: string): Promise<void> {
  const path = `/v2/${name}/manifests/${reference}`
  const got = await user.get(path, { accept: manifest.mediaType })
  assert.equal(got.status, 200, got.body.toString())
  assert.ok(got.body.equals(manifest.bytes))
  const head = await user.send('HEAD', path)
  for (const reply of [got, head]) {
    assert.equal(reply.status, 200)
    assert.equal(reply.headers['content-type'], manifest.mediaType)
    assert.equal(reply.headers['content-length'], String(manifest.bytes.length))
    assert.equal(reply.headers['docker-content-digest'], manifest.digest)
  }
  assert.equal(head.body.length, 0)
}

for (const docker of [false, true]) {
  test(`an image and an index of ${docker ? 'Docker' : 'OCI'} by tag and by digest`, async () => {
    const tag = docker ? 'docker' : 'oci'
    const images = ['amd64', 'arm64'].map((arch) => makeImage({ arch, docker }))
    for (const image of images) {
      await pushContent(image)
      const put = await putManifest(user, name, image.digest, image)
      assert.equal(put.status, 201, put.body.toString())
      assert.equal(put.headers['location'], `${server.url}/v2/${name}/manifests/${image.digest}`)
      assert.equal(put.headers['docker-content-digest'], image.digest)
      await assertThere(image, image.digest)
    }
    const [first] = images
    assert.ok(first)
    assert.equal((await putManifest(user, name, `${tag}-one`, first)).status, 201)
    await assertThere(first, `${tag}-one`)
    const index = makeIndex(images)
    assert.equal(index.mediaType, docker ? dockerTypes.index : types.index)
    assert.equal((await putManifest(user, name, tag, index)).status, 201)
    await assertThere(index, tag)
    await assertThere(index, index.digest)
  })
}

test('an index of indexes, and one of nothing', async () => {
  const image = makeImage({ layers: [{ deep: 'in the index' }] })
  await pushContent(image)
  await putManifest(user, name, image.digest, image)
  const inner = makeIndex([image])
  await putManifest(user, name, inner.digest, inner)
  const outer = indexManifest([{ manifest: inner, arch: 'amd64' }])
  assert.equal((await putManifest(user, name, 'nested', outer)).status, 201)
  await assertThere(outer, 'nested')
  const empty = makeIndex([])
  assert.equal((await putManifest(user, name, 'nothing', empty)).status, 201)
  await assertThere(empty, 'nothing')
})

test('bytes are kept as they came: blanks, unknown members, parameters of the type', async () => {
  const document = JSON.parse(makeManifest().bytes.toString())
  const bytes = Buffer.from(`${JSON.stringify({ ...document, 'x-own': [1, 2] }, null, 3)}\n\n`)
  const manifest = { bytes, mediaType: types.manifest, digest: digestOf(bytes) }
  const headers = { 'content-type': `${types.manifest}; charset=utf-8` }
  const path = `/v2/${name}/manifests/spaced`
  assert.equal((await user.send('PUT', path, { headers, body: bytes })).status, 201)
  await assertThere(manifest, 'spaced')
})

test('a manifest without mediaType has the type that it is sent with', async () => {
  const manifest = makeManifest({ extra: { mediaType: undefined, annotations: { own: 'yes' } } })
  assert.equal((await putManifest(user, name, 'typeless', manifest)).status, 201)
  await assertThere(manifest, 'typeless')
  const neither = await user.send('PUT', `/v2/${name}/manifests/neither`, { body: manifest.bytes })
  assertRefused(neither, 400, 'MANIFEST_INVALID', /Content-Type/)
})

test('an artifact of any type with the empty configuration', async () => {
  const emptyType = 'application/vnd.oci.empty.v1+json'
  const manifest = makeManifest({
    config: { mediaType: emptyType },
    layers: [emptyConfig],
    layerType: emptyType,
    extra: { artifactType: 'application/vnd.example.report' },
  })
  assert.equal((await putManifest(user, name, 'artifact', manifest)).status, 201)
  await assertThere(manifest, 'artifact')
})

test('a manifest that is named by SHA-512', async () => {
  const manifest = makeManifest({ extra: { annotations: { digest: 'long' } } })
  const digest = digestOf(manifest.bytes, 'sha512')
  const put = await putManifest(user, name, digest, manifest)
  assert.equal(put.status, 201, put.body.toString())
  assert.equal(put.headers['docker-content-digest'], digest)
  await assertThere({ ...manifest, digest }, digest)
})

test('a layer that is elsewhere on purpose need not be here', async () => {
  const layer = Buffer.from('a base layer of another system')
  const layerType = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip'
  const manifest = makeManifest({ layers: [layer], layerType })
  assert.equal((await putManifest(user, name, 'foreign', manifest)).status, 201)
  const same = makeManifest({ layers: [layer] })
  assertRefused(await putManifest(user, name, 'own', same), 400, 'MANIFEST_BLOB_UNKNOWN')
})

test('what names something that is not here', async () => {
  const absent = Buffer.from('never pushed')
  const cases: readonly Manifest[] = [
    makeManifest({ layers: [absent] }),
    makeManifest({ config: { bytes: absent } }),
    makeIndex([makeImage({ layers: [{ not: 'pushed' }] })]),
  ]
  for (const manifest of cases) {
    const refused = await putManifest(user, name, 'wanting', manifest)
    assertRefused(refused, 400, 'MANIFEST_BLOB_UNKNOWN', /push it first/)
  }
  assertRefused(await user.get(`/v2/${name}/manifests/wanting`), 404, 'MANIFEST_UNKNOWN')
})

test('blobs of another repository of the same account are not here', async () => {
  const blob = Buffer.from('next door')
  await pushBlob(user, 'maker/demo/door', blob)
  const manifest = makeManifest({ layers: [blob] })
  assertRefused(await putManifest(user, name, 'door', manifest), 400, 'MANIFEST_BLOB_UNKNOWN')
})

test('bytes of another digest than the reference says', async () => {
  const manifest = makeManifest({ extra: { annotations: { other: 'bytes' } } })
  for (const algorithm of ['sha256', 'sha512'] as const) {
    const wrong = digestOf(Buffer.from('other'), algorithm)
    assertRefused(await putManifest(user, name, wrong, manifest), 400, 'DIGEST_INVALID')
    const gone = await user.get(`/v2/${name}/manifests/${wrong}`)
    assertRefused(gone, 404, 'MANIFEST_UNKNOWN')
  }
})

const config = describe(types.config, emptyConfig)
const image = { schemaVersion: 2, mediaType: types.manifest, config, layers: [] }
const malformed: Readonly<Record<string, string | Buffer | object>> = {
  'no JSON': '{"schemaVersion": 2',
  'not an object': '[1, 2]',
  nothing: '',
  'not UTF-8': Buffer.from('{"schemaVersion": 2, "x": "\xff"}', 'latin1'),
  'both layers and manifests': { ...image, manifests: [] },
  'an index with layers': {
    schemaVersion: 2,
    mediaType: types.index,
    manifests: [],
    layers: [],
  },
  'another mediaType than its Content-Type': { ...image, mediaType: dockerTypes.manifest },
  'the schema of old': { schemaVersion: 1, name: 'x', tag: 'y', fsLayers: [] },
  'no configuration': { ...image, config: undefined },
  'no layers': { ...image, layers: undefined },
  'a layer without a digest': { ...image, layers: [{ mediaType: types.layer, size: 1 }] },
  'a digest that climbs': {
    ...image,
    layers: [{ mediaType: types.layer, size: 1, digest: 'sha256:../../../etc/passwd' }],
  },
  'a negative size': { ...image, config: { ...config, size: -1 } },
  'a subject that is none': { ...image, subject: { mediaType: types.manifest, size: 1 } },
  'annotations that are no texts': { ...image, annotations: { deep: { er: 1 } } },
  'too many layers': { ...image, layers: Array.from({ length: 10_001 }, () => config) },
}

for (const [what, document] of Object.entries(malformed)) {
  test(`a manifest is refused: ${what}`, async () => {
    const isRaw = typeof document === 'string' || Buffer.isBuffer(document)
    const body = isRaw ? document : JSON.stringify(document)
    const headers = {
      'content-type': body.toString().includes(types.index) ? types.index : types.manifest,
    }
    const path = `/v2/${name}/manifests/malformed`
    const reply = await user.send('PUT', path, { headers, body })
    assert.equal(reply.status, 400, reply.body.toString())
    const { code } = reply.json.errors[0]
    const expected = /climbs/.test(what) ? 'DIGEST_INVALID' : 'MANIFEST_INVALID'
    assert.equal(code, expected)
    assert.equal((await user.get(path)).status, 404)
  })
}

test('a media type that is none of a manifest', async () => {
  for (const type of [
    'application/json',
    'text/plain',
    'application/vnd.oci.image.config.v1+json',
  ]) {
    const bytes = Buffer.from(JSON.stringify({ ...image, mediaType: undefined }))
    const headers = { 'content-type': type }
    const path = `/v2/${name}/manifests/odd`
    const reply = await user.send('PUT', path, { headers, body: bytes })
    assertRefused(reply, 400, 'MANIFEST_INVALID')
  }
})

test('a manifest of more than 4 MiB is refused, whether its length is told or not', async () => {
  const bytes = Buffer.alloc((4 << 20) + 1, ' ')
  const path = `/v2/${name}/manifests/huge`
  const headers = { 'content-type': types.manifest }
  const told = await user.send('PUT', path, { headers, body: bytes })
  assertRefused(told, 413, 'SIZE_INVALID', /4 MiB/)
  const pieces = Array.from({ length: 65 }, (_, at) => bytes.subarray(at << 16, (at + 1) << 16))
  const untold = await sendStream(user, 'PUT', path, pieces, headers)
  assert.equal(untold.status, 413, untold.body)
  const largest = Buffer.concat([makeManifest().bytes, Buffer.alloc(4 << 20, ' ')])
  const taken = await user.send('PUT', path, { headers, body: largest.subarray(0, 4 << 20) })
  assert.equal(taken.status, 201, taken.body.toString())
})

test('who may put a manifest', async () => {
  const stranger = await server.user('stranger')
  const admin = await server.user('overseer', { isAdmin: true })
  const manifest = makeManifest()
  assertRefused(await putManifest(stranger, name, 'latest', manifest), 403, 'DENIED')
  assertRefused(await putManifest(server.anonymous, name, 'latest', manifest), 401, 'UNAUTHORIZED')
  assert.equal((await putManifest(admin, name, 'latest', manifest)).status, 201)
  const nowhere = await putManifest(stranger, 'nobody/demo/tool', 'latest', manifest)
  assertRefused(nowhere, 403, 'DENIED')
})
