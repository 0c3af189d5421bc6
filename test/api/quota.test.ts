import assert from 'node:assert/strict'
import { connect } from 'node:net'
import test, { after } from 'node:test'

import { sql } from '../../server/database.ts'
import { assertProblem, libraryHash } from '../support/client.ts'
import { assertLedger, eventually, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const limit = 1_000_000
const settings = { quota: { default: limit }, library: { part_size: 65_536 } }
const server = await startServer({ after }, { settings })

test('an image of exactly the limit fits, and one byte more does not', async () => {
  const user = await server.user('exact')
  const tooLarge = ofSize(limit + 1, 'exact')
  const id = await user.announce('exact/demo/tool', tooLarge)
  assertProblem(await user.post(`/v2/imagefile/${id}`, { filesize: limit + 1 }), 403)
  const done = await user.push('exact/demo/tool', 'latest', ofSize(limit, 'exact'))
  assert.equal(done.status, 200)
  assert.deepEqual(done.json.data.quota, { quotaTotal: limit, quotaUsage: limit })
  const one = await user.announce('exact/demo/tool', makeSif({ seed: 'one more' }))
  assertProblem(await user.post(`/v2/imagefile/${one}`, { filesize: 1 }), 403)
})

for (const [name, end] of [
  ['in one piece', ''],
  ['in parts', '/_multipart'],
] as const) {
  test(`an upload ${name} over the quota is refused before any byte, with the numbers`, async () => {
    const entity = `numbers${end.length}`
    const user = await server.user(entity)
    await user.push(`${entity}/demo/first`, 'v1', ofSize(512 * 1024, name))
    const id = await user.announce(`${entity}/demo/second`, makeSif({ seed: name }))
    const reply = await user.post(`/v2/imagefile/${id}${end}`, { filesize: 768 * 1024 })
    assertProblem(reply, 403, /quota exceeded: 512\.00 KiB used of 976\.56 KiB.*768\.00 KiB/)
    const [left] = await ledgerOf(entity)
    assert.deepEqual(left, { used: 512 * 1024, reserved: 0 })
    assertProblem(await user.get(`/v1/containers/${entity}/demo/second`), 404)
  })
}

test('the message names what running uploads hold', async () => {
  const user = await server.user('running')
  const upload = await user.openParts('running/demo/tool', ofSize(700_000, 'running'))
  const id = await user.announce('running/demo/other', makeSif({ seed: 'running too' }))
  const reply = await user.post(`/v2/imagefile/${id}`, { filesize: 400_000 })
  assertProblem(reply, 403, /683\.59 KiB in running uploads/)
  await user.abortParts(upload)
})

test('of twenty uploads of 30 % of the limit at once exactly three are accepted', async () => {
  const user = await server.user('twenty')
  const sifs = Array.from({ length: 20 }, (_, number) => ofSize(300_000, `twenty${number}`))
  const replies = await Promise.all(
    sifs.map(async (sif, number) => await user.push(`twenty/demo/tool${number}`, 'latest', sif)),
  )
  const statuses = replies.map((reply) => reply.status)
  assert.equal(statuses.filter((status) => status === 200).length, 3, statuses.join())
  assert.equal(statuses.filter((status) => status === 403).length, 17, statuses.join())
  assert.deepEqual(await ledgerOf('twenty'), [{ used: 900_000, reserved: 0 }])
})

test('of twenty multipart uploads opened at once exactly three are accepted', async () => {
  const user = await server.user('opened')
  const ids = await Promise.all(
    Array.from({ length: 20 }, async (_, number) => {
      return await user.announce(`opened/demo/tool${number}`, makeSif({ seed: `opened${number}` }))
    }),
  )
  const replies = await Promise.all(
    ids.map(async (id) => await user.post(`/v2/imagefile/${id}/_multipart`, { filesize: 300_000 })),
  )
  assert.equal(replies.filter((reply) => reply.status === 200).length, 3)
  assert.deepEqual(await ledgerOf('opened'), [{ used: 0, reserved: 900_000 }])
  for (const [number, reply] of replies.entries()) {
    if (reply.status !== 200) continue
    const { uploadID } = reply.json.data
    await user.put(`/v2/imagefile/${ids[number]}/_multipart_abort`, { uploadID })
  }
})

test('an image in two containers of one entity is charged once, and until the last is gone', async () => {
  const user = await server.user('once')
  const sif = ofSize(600_000, 'once')
  const [one, two] = ['once/demo/one', 'once/other/two']
  await user.push(one, 'latest', sif)
  await user.announce(two, sif)
  await user.tag(two, 'latest', sif)
  assert.deepEqual(await ledgerOf('once'), [{ used: 600_000, reserved: 0 }])
  await user.delete(`/v1/images/${one}:latest?arch=amd64`)
  assert.deepEqual(await ledgerOf('once'), [{ used: 600_000, reserved: 0 }])
  await user.delete(`/v1/images/${two}:${libraryHash(sif)}`)
  assert.deepEqual(await ledgerOf('once'), [{ used: 0, reserved: 0 }])
})

test('an image taken over from somebody else is charged, and refused when it does not fit', async () => {
  const [giver, taker] = [await server.user('giver'), await server.user('taker')]
  const sif = ofSize(600_000, 'given')
  await giver.push('giver/demo/tool', 'latest', sif)
  await taker.push('taker/demo/own', 'latest', ofSize(500_000, 'own'))
  const announce = { hash: libraryHash(sif), container: 'taker/demo/copy' }
  const refused = await taker.post('/v1/images', announce)
  assertProblem(refused, 403, /quota exceeded/)
  assertProblem(await taker.get('/v1/containers/taker/demo/copy'), 404)
  await taker.delete('/v1/images/taker/demo/own:latest?arch=amd64')
  assert.equal((await taker.post('/v1/images', announce)).json.data.uploaded, true)
  assert.deepEqual(await ledgerOf('taker'), [{ used: 600_000, reserved: 0 }])
})

test('a deleted image is off the quota at once', async () => {
  const user = await server.user('deleted')
  await user.push('deleted/demo/tool', 'v1', ofSize(900_000, 'v1'))
  await user.delete('/v1/images/deleted/demo/tool:v1?arch=amd64')
  const done = await user.push('deleted/demo/tool', 'v2', ofSize(900_000, 'v2'))
  assert.equal(done.status, 200, done.body.toString())
})

test('a push whose connection broke is repeated at once, although the quota fits it only once', async () => {
  const user = await server.user('broken')
  const sif = ofSize(900_000, 'broken')
  const url = new URL(await user.openWhole('broken/demo/tool', sif))
  await breakOff(url, sif)
  await eventually(async () => (await ledgerOf('broken'))[0]?.reserved !== 900_000, 'released')
  const again = await user.push('broken/demo/tool', 'latest', sif)
  assert.equal(again.status, 200, again.body.toString())
})

test('a multipart push whose part broke is replaced by its repetition', async () => {
  const user = await server.user('stale')
  const sif = ofSize(900_000, 'stale')
  const first = await user.openParts('stale/demo/tool', sif)
  await user.sendPart(first, 1)
  await breakOff(new URL(await user.partUrl(first, 2)), sif.subarray(0, 65_536))
  await eventually(async () => {
    const rows = await server.db.query(
      sql`select 1 from uploads where id = ${first.uploadID} and interrupted`,
    )
    return rows.length > 0
  }, 'the upload is marked')
  const second = await user.openParts('stale/demo/tool', sif)
  const sent = []
  for (let part = 1; part <= second.totalParts; part += 1) {
    sent.push(await user.sendPart(second, part))
  }
  assert.equal((await user.completeParts(second, sent)).status, 200)
  assert.deepEqual(await ledgerOf('stale'), [{ used: 900_000, reserved: 0 }])
})

test('a running upload of the same image is not replaced', async () => {
  const user = await server.user('alive')
  const sif = ofSize(900_000, 'alive')
  const first = await user.openParts('alive/demo/tool', sif)
  await user.sendPart(first, 1)
  const reply = await user.post(`/v2/imagefile/${first.image}`, { filesize: sif.length })
  assertProblem(reply, 403, /running uploads/)
  await user.sendPart(first, 2)
  await user.abortParts(first)
})

test('a quota that was lowered under the use refuses pushes and allows deletions', async () => {
  const user = await server.user('lowered')
  await user.push('lowered/demo/tool', 'v1', ofSize(500_000, 'lowered'))
  await server.db.query(sql`update entities set quota_bytes = 100 where name = 'lowered'`)
  const id = await user.announce('lowered/demo/tool', makeSif({ seed: 'lowered too' }))
  assertProblem(await user.post(`/v2/imagefile/${id}`, { filesize: 1 }), 403, /100 B/)
  const gone = await user.delete('/v1/images/lowered/demo/tool:v1?arch=amd64')
  assert.equal(gone.status, 200)
  await assertLedger(server.db)
})

/** A valid SIF of this many bytes. */
function ofSize(size: number, seed: string): Buffer {
  const small = makeSif({ seed })
  return makeSif({ seed, padding: size - small.length })
}

async function ledgerOf(entity: string): Promise<{ used: number; reserved: number }[]> {
  return await server.db.query(sql`
    select used_bytes as "used", reserved_bytes as "reserved" from entities where name = ${entity}`)
}

/** Sends half of the bytes and hangs up. */
async function breakOff(url: URL, bytes: Buffer): Promise<void> {
  const socket = connect(Number(url.port), url.hostname)
  socket.on('error', () => {})
  socket.write(`PUT ${url.pathname} HTTP/1.1\r\nhost: x\r\ncontent-length: ${bytes.length}\r\n\r\n`)
  await new Promise((resolve) => {
    socket.write(bytes.subarray(0, bytes.length / 2), resolve)
  })
  socket.destroy()
}
