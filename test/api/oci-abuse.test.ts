/**
 * What brought other registries down or open, tried on this one; each test is named after what it
 * protects from. Mounts without a right (CVE-2024-39897) are in oci-private, forged tokens in
 * oci-token-ends, numbers in lists in oci-lists, digests and names that are paths in oci-paths, races
 * of sweep and quota in oci-churn and oci-quota.
 */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { after } from 'node:test'
import { gzipSync } from 'node:zlib'

import { sha256 } from '../support/client.ts'
import type { Reply } from '../support/client.ts'
import { digestOf, types } from '../support/oci-image.ts'
import { emptyConfig, pushBlob, pushManifest, putManifest } from '../support/oci-push.ts'
import { assertRefused, makeManifest, openUpload } from '../support/registry-client.ts'
import { startServer } from '../support/server.ts'

const server = await startServer({ after })
const { anonymous } = server
const user = await server.user('target')
const name = 'target/demo/tool'
const manifest = makeManifest()
await pushManifest(user, name, 'latest', manifest, [emptyConfig])

/** Bytes by which the process grew while `work` ran. */
async function grownBy(work: () => Promise<void>): Promise<number> {
  const before = process.memoryUsage().rss
  await work()
  return process.memoryUsage().rss - before
}

test('huge and deep documents cost little (CVE-2017-11468)', async () => {
  const entry = '{"mediaType":"a","digest":"b","size":1},'
  const many = entry.repeat(Math.floor((4 << 20) / entry.length) - 10)
  const head = `{"schemaVersion":2,"config":${JSON.stringify({})},"layers":[`
  const documents = [
    `${head}${many}{}]}`,
    `{"schemaVersion":2,"manifests":[${many}{}]}`,
    '['.repeat(2_000_000),
    `${'{"a":'.repeat(500_000)}1${'}'.repeat(500_000)}`,
    `{"schemaVersion":2,"annotations":{${'"a":"b",'.repeat(400_000)}"c":"d"}}`,
    `{"schemaVersion":${'9'.repeat(3_000_000)}}`,
  ]
  const grown = await grownBy(async () => {
    for (const body of documents) {
      for (const type of [types.manifest, types.index]) {
        const begun = performance.now()
        const headers = { 'content-type': type }
        const reply = await user.send('PUT', `/v2/${name}/manifests/x`, { headers, body })
        assertRefused(reply, 400, 'MANIFEST_INVALID')
        assert.ok(performance.now() - begun < 5000)
      }
    }
  })
  assert.ok(grown < 300e6, `${grown} bytes`)
  assert.equal((await user.get('/v2/')).status, 200)
})

test('a compressed manifest is bytes like others, and is not unpacked', async () => {
  const body = gzipSync(Buffer.alloc(50_000_000, ' '))
  const headers = { 'content-type': types.manifest, 'content-encoding': 'gzip' }
  const reply = await user.send('PUT', `/v2/${name}/manifests/packed`, { headers, body })
  assertRefused(reply, 400, 'MANIFEST_INVALID')
})

test('members that are not in the specification have no effect (CVE-2019-16097)', async () => {
  const extra = {
    isAdmin: true,
    ownerId: 'x',
    quota: 1,
    composed: true,
    chargedBytes: 0,
    repositoryId: 1,
    __proto__: { polluted: 1 },
    'constructor.prototype.polluted': 1,
  }
  const body = `${JSON.stringify({ ...JSON.parse(manifest.bytes.toString()), ...extra }).slice(0, -1)},"__proto__":{"polluted":1}}`
  const headers = { 'content-type': types.manifest }
  const path = `/v2/${name}/manifests/extra`
  assert.equal((await user.send('PUT', path, { headers, body })).status, 201)
  assert.equal((await user.get(path)).body.toString(), body)
  assert.equal(({} as Record<string, unknown>)['polluted'], undefined)
  assert.equal((await user.get('/v1/token-status')).status, 200)
  assert.equal((await user.delete(path)).status, 202)
})

test('any tag is only a tag: an owner moves latest as others, and a stranger none (CVE-2026-31801)', async () => {
  const stranger = await server.user('stranger')
  const other = makeManifest({ extra: { annotations: { other: 'one' } } })
  for (const tag of ['latest', 'fresh', 'v1']) {
    assertRefused(await putManifest(stranger, name, tag, other), 403, 'DENIED')
    assert.equal((await putManifest(user, name, tag, other)).status, 201)
    assert.equal((await putManifest(user, name, tag, manifest)).status, 201)
    assertRefused(await stranger.delete(`/v2/${name}/manifests/${tag}`), 403, 'DENIED')
  }
})

test('every address against everybody: only who may gets through (CVE-2022-31667)', async () => {
  const owner = await server.user('matrix')
  const admin = await server.user('overseer', { isAdmin: true })
  const outsider = await server.user('outsider')
  await owner.post('/v1/collections', { entity: 'matrix', name: 'hidden', private: true })
  const places = ['matrix/hidden/tool', 'matrix/open/tool']
  for (const name of places) await pushManifest(owner, name, 'v1', manifest, [emptyConfig])
  const reads = ['manifests/v1', `manifests/${manifest.digest}`, 'tags/list']
  for (const place of places) {
    const hidden = place.includes('hidden')
    const session = await openUpload(owner, place)
    for (const [client, mayRead, mayWrite] of [
      [owner, true, true],
      [admin, true, true],
      [outsider, !hidden, false],
      [anonymous, !hidden, false],
    ] as const) {
      const assertOnly = (reply: Reply, may: boolean, what: string): void =>
        assert.equal(reply.status < 300, may, `${client.name} ${what} ${place}: ${reply.status}`)
      for (const read of reads) {
        assertOnly(await client.get(`/v2/${place}/${read}`), mayRead, read)
      }
      const blob = `/v2/${place}/blobs/${digestOf(emptyConfig)}`
      assertOnly(await client.get(blob), mayRead, 'blob')
      assertOnly(await putManifest(client, place, 'mine', manifest), mayWrite, 'put')
      assertOnly(await client.delete(`/v2/${place}/manifests/mine`), mayWrite, 'delete')
      assertOnly(await pushBlob(client, place, Buffer.from(client.name)), mayWrite, 'push')
      assertOnly(await client.get(session), client === owner, 'session')
    }
    assert.equal((await owner.delete(session)).status, 204)
  }
})

test('a stored file that is shorter than it was is never sent as if it were whole', async () => {
  const blob = Buffer.alloc(50_000, 'will be damaged')
  await pushBlob(user, name, blob)
  const file = join(server.dataDir, 'store/blobs/sha256', sha256(blob).slice(0, 2), sha256(blob))
  assert.ok(existsSync(file), readdirSync(join(server.dataDir, 'store/blobs')).join())
  for (const size of [0, 100]) {
    truncateSync(file, size)
    const reply = await user.get(`/v2/${name}/blobs/${digestOf(blob)}`).catch(() => undefined)
    assert.ok(reply === undefined || reply.status >= 500, `${reply?.status} with ${size} bytes`)
  }
  writeFileSync(file, blob)
  assert.ok((await user.get(`/v2/${name}/blobs/${digestOf(blob)}`)).body.equals(blob))
})

test('odd headers and methods are answered, never an error of the server', async () => {
  const requests: readonly (readonly [string, string, Record<string, string>])[] = [
    ['GET', `/v2/${name}/manifests/latest`, { range: 'bytes=9-1' }],
    ['GET', `/v2/${name}/manifests/latest`, { 'if-none-match': '*' }],
    ['GET', `/v2/${name}/blobs/${digestOf(emptyConfig)}`, { range: 'bytes=0-0,1-1' }],
    ['GET', `/v2/${name}/blobs/${digestOf(emptyConfig)}`, { range: 'lines=1-2' }],
    ['GET', `/v2/${name}/blobs/${digestOf(emptyConfig)}`, { range: `bytes=${'9'.repeat(30)}-` }],
    ['GET', `/v2/${name}/manifests/latest`, { accept: 'text/html' }],
    ['GET', '/v2/', { authorization: 'Basic ====' }],
    ['GET', '/v2/', { authorization: 'Bearer' }],
    ['GET', '/v2/', { authorization: `Bearer ${'a.'.repeat(2000)}` }],
    ['GET', '/v2/', { host: 'evil.example' }],
    ['OPTIONS', '/v2/', {}],
    ['TRACE', '/v2/', {}],
    ['PATCH', `/v2/${name}/manifests/latest`, {}],
    ['POST', `/v2/${name}/manifests/latest`, {}],
    ['PUT', '/v2/_catalog', {}],
    ['GET', `/v2/${name}/blobs/uploads/`, {}],
    ['GET', `/v2/${name}/manifests/%E0%A4%A`, {}],
    ['GET', '/v2/%', {}],
    ['GET', '/registry/token?scope=%00', {}],
    ['GET', `/registry/token?scope=${'repository:a/b/c:pull%20'.repeat(300)}`, {}],
  ]
  for (const [method, path, headers] of requests) {
    const reply = await user.send(method, path, { headers })
    assert.ok(reply.status < 500, `${method} ${path}: ${reply.status} ${reply.body.toString()}`)
    for (const value of [reply.headers['location'], reply.headers['www-authenticate']]) {
      assert.ok(!String(value).includes('evil.example'))
    }
  }
})
