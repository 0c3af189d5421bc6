import assert from 'node:assert/strict'
import test from 'node:test'

import { libraryHash } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

test('what is pushed is pulled byte by byte, by tag and by hash, as a stream', async (t) => {
  const server = await startServer(t)
  const alice = await server.account('alice')
  const sif = makeSif({ seed: 1 })
  const done = await alice.push('alice/demo/tool', 'latest', sif)
  assert.deepEqual(done.json.data, {
    quota: { quotaTotal: 100 * 2 ** 30, quotaUsage: sif.length },
    containerUrl: 'library/alice/demo/tool',
  })
  for (const reference of ['tool:latest', `tool:${libraryHash(sif)}`]) {
    const pulled = await server.anonymous.get(`/v1/imagefile/alice/demo/${reference}?arch=amd64`)
    assert.equal(pulled.status, 200)
    assert.deepEqual(pulled.body, sif)
  }
})

test('a large download is a redirect to an address that serves ranges', async (t) => {
  const server = await startServer(t, { settings: { library: { redirect_from: 1 } } })
  const alice = await server.account('alice')
  const sif = makeSif({ seed: 2, payload: 100_000 })
  await alice.push('alice/demo/tool', 'latest', sif)
  const reply = await server.anonymous.get('/v1/imagefile/alice/demo/tool:latest?arch=amd64')
  assert.equal(reply.status, 303)
  const { pathname } = new URL(String(reply.headers['location']))
  const part = await server.anonymous.get(pathname, { range: 'bytes=1000-1999' })
  assert.equal(part.status, 206)
  assert.equal(part.headers['content-range'], `bytes 1000-1999/${sif.length}`)
  assert.deepEqual(part.body, sif.subarray(1000, 2000))
  assert.deepEqual((await server.anonymous.get(pathname)).body, sif)
  await assert.rejects(server.anonymous.get(`${pathname}x`), { code: 'ECONNRESET' })
  const past = { range: `bytes=${sif.length}-` }
  await assert.rejects(server.anonymous.get(pathname, past), { code: 'ECONNRESET' })
})
