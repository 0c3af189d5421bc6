/** Who gets a path for nginx instead of the bytes, and who must not. */
import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import { sha256 } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import type { TestServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const sif = makeSif({ seed: 'accel' })
const hex = sha256(sif)
const path = '/v1/imagefile/alice/demo/tool:latest?arch=amd64'
const asks = { 'x-berth-accel': 'yes' }

async function site(t: test.TestContext, settings: object): Promise<TestServer> {
  const server = await startServer(t, { settings: { ...settings } })
  const alice = await server.user('alice')
  assert.equal((await alice.push('alice/demo/tool', 'latest', sif)).status, 200)
  return server
}

test('a proxy that asks gets the path, with the headers of the answer', async (t) => {
  const { anonymous } = await site(t, { downloads: { accel: '/blobs/' } })
  const reply = await anonymous.get(path, asks)
  assert.equal(reply.status, 200)
  assert.equal(reply.headers['x-accel-redirect'], `/blobs/sha256/${hex.slice(0, 2)}/${hex}`)
  assert.equal(reply.body.length, 0)
  assert.equal(reply.headers['etag'], `"sha256:${hex}"`)
  assert.equal(reply.headers['content-type'], 'application/octet-stream')
})

const others: readonly (readonly [string, object, Readonly<Record<string, string>>])[] = [
  ['who does not ask', { downloads: { accel: '/blobs/' } }, {}],
  ['who asks for something else', { downloads: { accel: '/blobs/' } }, { 'x-berth-accel': 'no' }],
  ['who is no proxy', { downloads: { accel: '/blobs/' }, trusted_proxies: ['192.0.2.1'] }, asks],
  [
    'who is no proxy and says so',
    { downloads: { accel: '/blobs/' }, trusted_proxies: ['192.0.2.1'] },
    { ...asks, 'x-forwarded-for': '192.0.2.1' },
  ],
  ['a proxy of a site without it', {}, asks],
]
for (const [who, settings, headers] of others) {
  test(`${who} gets the bytes`, async (t) => {
    const { anonymous } = await site(t, settings)
    const reply = await anonymous.get(path, headers)
    assert.equal(reply.headers['x-accel-redirect'], undefined)
    assert.ok(reply.body.equals(sif))
  })
}

test('what nginx would answer differently Berth answers itself', async (t) => {
  const { anonymous } = await site(t, { downloads: { accel: '/blobs/' } })
  for (const headers of [
    { range: 'bytes=9-3' },
    { range: 'bytes=0-1,4-5' },
    { range: 'lines=1-2' },
    { range: 'bytes=0-99999999999999999999' },
    { range: 'bytes=0-9', 'if-range': `"sha256:${hex}"` },
    { 'if-none-match': '*' },
    { 'if-match': '"x"' },
  ]) {
    const reply = await anonymous.get(path, { ...asks, ...headers })
    assert.equal(reply.headers['x-accel-redirect'], undefined, JSON.stringify(headers))
    assert.ok(reply.body.length > 0)
  }
  const beyond = await anonymous.get(path, { ...asks, range: 'bytes=99999999-' })
  assert.equal(beyond.status, 416)
  const head = await anonymous.send('HEAD', path, { headers: asks })
  assert.equal(head.headers['content-length'], String(sif.length))
  assert.equal(head.headers['x-accel-redirect'], undefined)
})

test('the group reads blobs, and nothing of what is incoming', async (t) => {
  const { dataDir } = await site(t, {})
  const modeOf = (...names: string[]): string =>
    (statSync(join(dataDir, 'store', ...names)).mode & 0o777).toString(8)
  const blobs = ['blobs', 'sha256', hex.slice(0, 2)]
  assert.equal(modeOf(...blobs, hex), '640')
  for (let depth = 0; depth <= blobs.length; depth += 1) {
    assert.equal(modeOf(...blobs.slice(0, depth)), '750')
  }
  assert.equal(modeOf('incoming'), '700')
  assert.equal(modeOf('store.json'), '600')
})
