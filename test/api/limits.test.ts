/** What the host lacks: room on its disk, and patience with connections on which nothing moves. */
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import test from 'node:test'

import { sql } from '../../server/database.ts'
import { assertProblem } from '../support/client.ts'
import { eventually, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

test('with too little room on the disk pushes are refused before their bytes, and leave nothing', async (t) => {
  const sif = makeSif({ seed: 'kept' })
  const full = await startServer(t, { settings: { storage: { keep_free: '900 TiB' } } })
  const owner = await full.user('owner')
  for (const kind of ['', '/_multipart']) {
    const id = await owner.announce('owner/demo/tool', sif)
    const refused = await owner.post(`/v2/imagefile/${id}${kind}`, { filesize: sif.length })
    assertProblem(refused, 507, /disk of the library has no room.*tell the administrators/)
    assert.equal(refused.headers['retry-after'], undefined)
  }
  assert.deepEqual(await full.db.query(sql`select name from entities`), [])
  assert.equal((await owner.get('/v1/entities')).status, 200)
})

test('an upload on which nothing moves is cut off, and its bytes are given back', async (t) => {
  const server = await startServer(t, { settings: { uploads: { idle_seconds: 1 } } })
  const owner = await server.user('owner')
  const sif = makeSif({ seed: 'idle', payload: 4096 })
  const url = new URL(await owner.openWhole('owner/demo/tool', sif))
  const socket = connect(Number(url.port), url.hostname)
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  socket.on('error', () => {})
  socket.write(`PUT ${url.pathname} HTTP/1.1\r\nHost: x\r\nContent-Length: ${sif.length}\r\n\r\n`)
  socket.write(sif.subarray(0, 1000))
  await closed
  await eventually(
    async () => (await server.db.query(sql`select 1 from uploads`)).length === 0,
    'the upload is ended',
  )
})
