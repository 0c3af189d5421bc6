/**
 * What the registry pushed, seen and changed by clients of the library. `apptainer push oras://`
 * sends a configuration that says nothing, and anybody may send one that lies: what the library
 * shows is read from the file.
 */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { libraryHash, sha256 } from '../support/client.ts'
import { digestOf } from '../support/oci-image.ts'
import {
  emptyConfig,
  indexManifest,
  pushBlob,
  pushManifest,
  putManifest,
  sifManifest,
} from '../support/oci-push.ts'
import type { Manifest } from '../support/oci-push.ts'
import { assertRefused, describe, makeManifest } from '../support/registry-client.ts'
import { assertLedger, eventually, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after })
const user = await server.user('orry')
const sifConfigType = 'application/vnd.sylabs.sif.config.v1+json'
const sifLayerType = 'application/vnd.sylabs.sif.layer.v1.sif'

async function imageOf(reference: string, arch = 'amd64') {
  const reply = await user.get(`/v1/images/${reference}?arch=${arch}`)
  assert.equal(reply.status, 200, reply.body.toString())
  return reply.json.data
}

async function statusOf(path: string): Promise<number> {
  return (await user.get(path)).status
}

/** A manifest as oras makes it, with the name of the file at the layer. */
function orasManifest(sif: Buffer, config = emptyConfig): Manifest {
  const annotations = { 'org.opencontainers.image.title': 'tool.sif' }
  return makeManifest({
    config: { mediaType: sifConfigType, bytes: config },
    extra: { layers: [{ ...describe(sifLayerType, sif), annotations }] },
  })
}

test('a SIF of oras is an image of the library: listed, searched, tagged, counted, pulled', async () => {
  const name = 'orry/demo/searchable'
  const sif = makeSif({ seed: 'oras' })
  await pushManifest(user, name, 'v1', orasManifest(sif), [emptyConfig, sif])
  const image = await imageOf(`${name}:v1`)
  assert.equal(image.hash, libraryHash(sif))
  assert.equal(image.size, sif.length)
  assert.deepEqual(image.tags, ['v1'])
  assert.equal(image.uploaded, true)
  const listed = await user.get(`/v1/containers/${name}/_images`)
  assert.deepEqual(
    listed.json.data.map((one: { hash: string }) => one.hash),
    [libraryHash(sif)],
  )
  const { data: container } = (await user.get(`/v1/containers/${name}`)).json
  assert.equal(container.name, 'searchable')
  const search = await user.get('/v1/search?value=searchable')
  assert.match(search.body.toString(), /searchable/)
  assert.ok(search.body.includes(libraryHash(sif)))
  assert.deepEqual(Object.keys((await user.get(`/v1/tags/${name}`)).json.data), ['v1'])

  const counted = async (): Promise<number> =>
    (await user.get(`/v1/containers/${name}`)).json.data.downloadCount
  const before = await counted()
  const pulled = await user.get(`/v1/imagefile/${name}:v1?arch=amd64`)
  assert.equal(sha256(pulled.body), sha256(sif))
  await user.get(`/v2/${name}/manifests/v1`)
  await user.send('HEAD', `/v2/${name}/manifests/v1`)
  // One through each door, and none for a HEAD; pulls do not wait for it.
  await eventually(async () => (await counted()) === before + 2, 'two downloads counted')

  await user.tag(name, 'stable', sif)
  const head = await user.send('HEAD', `/v2/${name}/manifests/stable`)
  assert.equal(head.status, 200)
  assert.equal((await user.delete(`/v1/images/${name}:${libraryHash(sif)}`)).status, 200)
  for (const path of [
    `/v2/${name}/manifests/v1`,
    `/v2/${name}/manifests/stable`,
    `/v2/${name}/manifests/${orasManifest(sif).digest}`,
    `/v2/${name}/blobs/${digestOf(sif)}`,
    `/v1/images/${name}:v1`,
  ]) {
    assert.equal(await statusOf(path), 404, path)
  }
  await assertLedger(server.db)
})

test('a configuration that lies changes nothing of what the file says', async () => {
  const name = 'orry/demo/liar'
  const lie = Buffer.from(
    JSON.stringify({ architecture: 'amd64', os: 'linux', signed: true, encrypted: true }),
  )
  const plain = makeSif({ seed: 'lied about', arch: 'ppc64le' })
  await pushManifest(user, name, 'plain', orasManifest(plain, lie), [lie, plain])
  const image = await imageOf(`${name}:plain`, 'ppc64le')
  assert.deepEqual([image.arch, image.signed, image.encrypted], ['ppc64le', false, false])
  assert.equal(await statusOf(`/v1/images/${name}:plain?arch=amd64`), 404)

  const modest = Buffer.from('{"architecture": "arm64", "signed": false, "encrypted": false}')
  const signed = makeSif({
    seed: 'signed',
    encrypted: true,
    signatures: [{ fingerprint: 'cd'.repeat(20) }],
  })
  await pushManifest(user, name, 'signed', orasManifest(signed, modest), [modest, signed])
  const other = await imageOf(`${name}:signed`)
  assert.deepEqual([other.arch, other.signed, other.encrypted], ['amd64', true, true])
})

test('a layer that says it is a SIF and is none is refused, and leaves nothing', async () => {
  const name = 'orry/demo/none'
  const cases = [Buffer.from('no SIF'), makeSif({ seed: 'cut' }).subarray(0, 20_000)]
  for (const bytes of cases) {
    for (const blob of [emptyConfig, bytes]) await pushBlob(user, name, blob)
    const refused = await putManifest(user, name, 'v1', orasManifest(bytes))
    assertRefused(refused, 400, 'MANIFEST_INVALID')
    assert.equal(await statusOf(`/v2/${name}/manifests/v1`), 404)
    assert.equal(await statusOf(`/v1/images/${name}:v1`), 404)
  }
  const listed = await user.get(`/v1/containers/${name}/_images`)
  assert.deepEqual(listed.json.data ?? [], [])
})

test('an index of the registry gives the library its architectures', async () => {
  const name = 'orry/demo/index'
  const [amd, arm] = [makeSif({ seed: 'i-amd' }), makeSif({ seed: 'i-arm', arch: 'arm64' })]
  for (const sif of [amd, arm]) {
    const manifest = sifManifest(sif)
    await pushManifest(user, name, manifest.digest, manifest, [emptyConfig, sif])
  }
  // The platforms in the index are the wrong way round: the files decide.
  const index = indexManifest([
    { manifest: sifManifest(amd), arch: 'arm64' },
    { manifest: sifManifest(arm), arch: 'amd64' },
  ])
  assert.equal((await putManifest(user, name, 'latest', index)).status, 201)
  assert.equal((await imageOf(`${name}:latest`, 'amd64')).hash, libraryHash(amd))
  assert.equal((await imageOf(`${name}:latest`, 'arm64')).hash, libraryHash(arm))
  const pulled = await user.get(`/v1/imagefile/${name}:latest?arch=arm64`)
  assert.ok(pulled.body.equals(arm))
  assert.ok((await user.get(`/v2/${name}/manifests/latest`)).body.equals(index.bytes))

  // An architecture that the library sets makes another index of the tag.
  const newer = makeSif({ seed: 'i-newer' })
  await user.push(name, 'latest', newer)
  const composed = await user.get(`/v2/${name}/manifests/latest`)
  assert.notEqual(digestOf(composed.body), index.digest)
  assert.equal(composed.json.manifests.length, 2)
  assert.equal((await imageOf(`${name}:latest`, 'arm64')).hash, libraryHash(arm))
  assert.equal(await statusOf(`/v2/${name}/manifests/${index.digest}`), 200, 'kept by its digest')

  // And one image that the registry pushes under it replaces all of it.
  assert.equal((await putManifest(user, name, 'latest', sifManifest(amd))).status, 201)
  assert.equal(await statusOf(`/v1/images/${name}:latest?arch=arm64`), 404)
  assert.equal((await imageOf(`${name}:latest`)).hash, libraryHash(amd))
})

test('a tag that shows an index of SIFs follows them as they are deleted', async () => {
  const name = 'orry/demo/shrinking'
  const [amd, arm] = [makeSif({ seed: 's-amd' }), makeSif({ seed: 's-arm', arch: 'arm64' })]
  for (const sif of [amd, arm]) {
    const manifest = sifManifest(sif)
    await pushManifest(user, name, manifest.digest, manifest, [emptyConfig, sif])
  }
  const entries = [
    { manifest: sifManifest(amd), arch: 'amd64' },
    { manifest: sifManifest(arm), arch: 'arm64' },
  ]
  assert.equal((await putManifest(user, name, 'latest', indexManifest(entries))).status, 201)
  assert.equal((await user.delete(`/v1/images/${name}:${libraryHash(amd)}`)).status, 200)
  assert.ok((await user.get(`/v2/${name}/manifests/latest`)).body.equals(sifManifest(arm).bytes))
  const last = `/v2/${name}/manifests/${sifManifest(arm).digest}`
  assert.equal((await user.send('DELETE', last)).status, 202)
  assert.equal(await statusOf(`/v2/${name}/manifests/latest`), 404)
  assert.deepEqual((await user.get(`/v2/${name}/tags/list`)).json.tags, [])
})

test('several manifests of one SIF are one image, which stays until the last of them goes', async () => {
  const name = 'orry/demo/several'
  const sif = makeSif({ seed: 'several' })
  const [first, second] = [orasManifest(sif), sifManifest(sif, { made: 'elsewhere' })]
  await pushManifest(user, name, 'one', first, [emptyConfig, sif])
  assert.equal((await putManifest(user, name, 'two', second)).status, 201)
  // The library's client hears that nothing is to be sent, and sets its tag.
  const announced = await user.post('/v1/images', { hash: libraryHash(sif), container: name })
  assert.equal(announced.json.data.uploaded, true)
  await user.tag(name, 'three', sif)
  assert.deepEqual((await imageOf(`${name}:one`)).tags, ['one', 'three', 'two'])
  const listed = await user.get(`/v1/containers/${name}/_images`)
  assert.equal(listed.json.data.length, 1)
  // It is on the manifest that was there first, and goes with it.
  const shown = await user.get(`/v2/${name}/manifests/three`)
  assert.equal(digestOf(shown.body), first.digest)
  assert.equal((await user.delete(`/v2/${name}/manifests/${first.digest}`)).status, 202)
  assert.deepEqual((await imageOf(`${name}:two`)).tags, ['two'])
  assert.equal((await user.delete(`/v2/${name}/manifests/${second.digest}`)).status, 202)
  for (const tag of ['one', 'two', 'three', libraryHash(sif)]) {
    assert.equal(await statusOf(`/v1/images/${name}:${tag}`), 404, tag)
  }
  await assertLedger(server.db)
})

test('longer names: the container of the library has the slashes', async () => {
  const name = 'orry/deep/er/still/tool'
  const sif = makeSif({ seed: 'deep' })
  await pushManifest(user, name, 'v1', orasManifest(sif), [emptyConfig, sif])
  assert.equal((await imageOf(`${name}:v1`)).hash, libraryHash(sif))
  assert.ok((await user.get(`/v1/imagefile/${name}:v1?arch=amd64`)).body.equals(sif))
  const short = 'orry/short'
  await pushManifest(user, short, 'v1', orasManifest(sif), [emptyConfig, sif])
  assert.equal((await imageOf('orry/default/short:v1')).hash, libraryHash(sif))
})

test('an image of docker beside SIFs: a tag that is one can become the other', async () => {
  const name = 'orry/demo/turns'
  const sif = makeSif({ seed: 'turns' })
  await user.push(name, 'latest', sif)
  await pushManifest(user, name, 'latest', makeManifest(), [emptyConfig])
  const refused = await user.get(`/v1/images/${name}:latest?arch=amd64`)
  assert.equal(refused.status, 400, refused.body.toString())
  const pull = await user.get(`/v1/imagefile/${name}:latest?arch=amd64`)
  assert.equal(pull.status, 400)
  await user.tag(name, 'latest', sif)
  assert.equal((await imageOf(`${name}:latest`)).hash, libraryHash(sif))
  const shown = await user.get(`/v2/${name}/manifests/latest`)
  assert.equal(shown.json.layers?.[0]?.digest, digestOf(sif), 'the registry shows the SIF')
})
