/** Addresses that are no addresses: nothing in them reaches a file, a name or a way past the sign-in. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { digestOf, types } from '../support/oci-image.ts'
import { emptyConfig, pushManifest, putManifest } from '../support/oci-push.ts'
import { assertRefused, makeManifest } from '../support/registry-client.ts'
import { startServer } from '../support/server.ts'

const server = await startServer({ after })
const user = await server.user('target')
const name = 'target/demo/tool'
const manifest = makeManifest()
await pushManifest(user, name, 'latest', manifest, [emptyConfig])

const climbing = [
  'sha256:../../../etc/passwd',
  'sha256:..%2f..%2f..%2fetc%2fpasswd',
  `sha256:${'A'.repeat(64)}`,
  `sha256:${'z'.repeat(64)}`,
  `sha256:${'a'.repeat(63)}`,
  `sha256:${'a'.repeat(65)}`,
  `SHA256:${'a'.repeat(64)}`,
  `sha512:${'a'.repeat(64)}`,
  `md5:${'a'.repeat(32)}`,
  `sha256+b64:${'a'.repeat(43)}`,
  `sha256:${'a'.repeat(64)}%0a`,
  `sha256:${'a'.repeat(64)}%00`,
  'sha256:',
  ':',
]

test('digests that are paths, or none: refused before any file is looked for (CVE-2024-3727)', async () => {
  for (const digest of climbing) {
    for (const kind of ['blobs', 'manifests', 'referrers']) {
      for (const method of ['GET', 'HEAD', 'DELETE']) {
        const reply = await user.send(method, `/v2/${name}/${kind}/${digest}`)
        assert.ok([400, 404].includes(reply.status), `${method} ${kind} ${digest}: ${reply.status}`)
      }
    }
    const upload = `/v2/${name}/blobs/uploads/`
    for (const query of [`?digest=${digest}`, `?mount=${digest}`]) {
      const reply = await user.send('POST', `${upload}${query}`, { body: 'x' })
      assert.equal(reply.status, 400, `${query}: ${reply.body.toString()}`)
    }
    const put = await user.send('PUT', `/v2/${name}/manifests/${digest}`, {
      headers: { 'content-type': types.manifest },
      body: manifest.bytes,
    })
    assert.ok([400, 404].includes(put.status), digest)
    const inside = makeManifest({
      extra: { layers: [{ mediaType: types.layer, size: 1, digest: decodeURIComponent(digest) }] },
    })
    assert.equal((await putManifest(user, name, 'climbs', inside)).status, 400, digest)
    const subject = { mediaType: types.manifest, size: 1, digest: decodeURIComponent(digest) }
    const attached = makeManifest({ extra: { subject } })
    assert.equal((await putManifest(user, name, 'climbs', attached)).status, 400, digest)
  }
})

test('names that are paths, too long, or have what no name has', async () => {
  const names = [
    '..',
    '../target/demo/tool',
    'target/../demo/tool',
    'target/demo/%2e%2e',
    'target/demo/..%2f..%2ftool',
    'target/demo%2ftool%00',
    'Target/demo/tool',
    'target/demo/-tool',
    'target/demo/tool.',
    'target//demo/tool',
    'target/demo/tool/',
    'target/demo/t%20l',
    'target/demo/täl',
    `target/demo/${'x'.repeat(129)}`,
    `target/${'long/'.repeat(60)}tool`,
    'target/demo/tool;x=1',
    'target/demo/tool%3Fx',
  ]
  for (const name of names) {
    const path = `/v2/${encodeURI(decodeURI(name)) === name ? name : encodeURI(name)}`
    for (const [method, rest] of [
      ['GET', 'manifests/latest'],
      ['GET', 'tags/list'],
      ['POST', 'blobs/uploads/'],
      ['PUT', 'manifests/latest'],
      ['DELETE', 'manifests/latest'],
    ] as const) {
      const reply = await user.send(method, `${path}/${rest}`, { body: manifest.bytes })
      assert.ok([400, 404].includes(reply.status), `${method} ${name}: ${reply.status}`)
    }
  }
  const mount = `/v2/${name}/blobs/uploads/?mount=${digestOf(emptyConfig)}&from=../../etc`
  assertRefused(await user.send('POST', mount), 400, 'NAME_INVALID')
})

test('tags that are paths, hashes of the library, or too long are not set', async () => {
  const tags = [
    '..',
    '.hidden',
    '-x',
    'a%2fb',
    'a%00',
    'x'.repeat(129),
    `sha256.${'a'.repeat(64)}`,
    'sif.00000000-0000-0000-0000-000000000000',
    'a%20b',
    'ä',
  ]
  for (const tag of tags) {
    const reference = encodeURI(decodeURI(tag)) === tag ? tag : encodeURI(tag)
    const reply = await putManifest(user, name, reference, manifest)
    assert.ok([400, 404].includes(reply.status), `${tag}: ${reply.status}`)
    assert.equal((await user.get(`/v2/${name}/manifests/${reference}`)).status, 404, tag)
  }
  const listed = (await user.get(`/v2/${name}/tags/list`)).json.tags
  assert.deepEqual(listed, ['latest'])
})

test('path variants open no way around the sign-in (CVE-2020-29662)', async (t) => {
  const settings = { access: { anonymous_pull: false }, storage: { keep_free: 0 } }
  const closed = await startServer(t, { settings })
  const owner = await closed.user('target')
  await pushManifest(owner, name, 'latest', manifest, [emptyConfig])
  const variants = [
    '/v2/_catalog',
    '/v2/_catalog/',
    '//v2/_catalog',
    '/v2//_catalog',
    '/v2/./_catalog',
    '/v2/%5fcatalog',
    '/V2/_catalog',
    '/v2/_CATALOG',
    '/v2/x/../_catalog',
    '/./v2/_catalog',
    '/v2/_catalog?n=1&n=2',
    '/v2/_catalog;x',
    '/v2/_catalog%3f',
    `/v2/${name}/tags/list`,
    `//v2/${name}/tags/list`,
    `/v2//${name}/tags/list`,
    `/v2/${name}/tags/list/`,
    `/v2/${name}//tags/list`,
    `/v2/${name}/tags%2flist`,
    `/v2/${name}/manifests/latest`,
    `/v2/${name}/manifests/latest/`,
    `/v2/${name}/Manifests/latest`,
    `/v2/${name.replaceAll('/', '%2f')}/manifests/latest`,
    `/v2/tags/../${name}/manifests/latest`,
    `/v2/imagefile/../${name}/manifests/latest`,
    `/V2/${name}/manifests/latest`,
    `/v2/${name}/blobs/${digestOf(emptyConfig)}`,
    `/v2/${name}/blobs/${digestOf(emptyConfig)}/`,
  ]
  const overrides = [{}, { 'x-http-method-override': 'GET' }, { 'x-original-url': '/v2/_catalog' }]
  for (const path of variants) {
    for (const method of ['GET', 'HEAD', 'OPTIONS', 'POST']) {
      for (const headers of overrides) {
        const reply = await closed.anonymous.send(method, path, { headers })
        assert.ok(reply.status >= 400, `${method} ${path}: ${reply.status}`)
        assert.ok(!reply.body.includes('"repositories"'), path)
        assert.ok(!reply.body.equals(manifest.bytes), path)
      }
    }
  }
})
