import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { sql } from '../../server/database.ts'
import { assertProblem, Client, libraryHash } from '../support/client.ts'
import type { PartsUpload, SentPart } from '../support/client.ts'
import { assertLedger, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const partBytes = 65_536
const settings = { library: { part_size: partBytes } }
const server = await startServer({ after }, { settings })

const orders: readonly (readonly [string, readonly number[]])[] = [
  ['in order', [1, 2, 3, 4, 5]],
  ['backwards', [5, 4, 3, 2, 1]],
  ['out of order', [3, 1, 5, 2, 4]],
  ['sent again', [1, 2, 2, 1, 3, 4, 5, 3]],
  ['the first one last, twice', [2, 3, 4, 5, 1, 1]],
]
for (const [index, [name, numbers]] of orders.entries()) {
  test(`parts ${name} become the image`, async () => {
    const user = await server.user(`order${index}`)
    const sif = makeSif({ seed: name, payload: 4 * partBytes })
    const upload = await user.openParts(`order${index}/demo/tool`, sif)
    assert.equal(upload.partSize, partBytes)
    assert.equal(upload.totalParts, 5)
    const done = await user.completeParts(upload, await sendAll(user, upload, numbers))
    assert.equal(done.status, 200, done.body.toString())
    await assertPulled(upload)
  })
}

test('a part that is sent again replaces the bytes of the first', async () => {
  const user = await server.user('replace')
  const upload = await user.openParts('replace/demo/tool', fiveParts('replace'))
  const wrong = await user.sendPart(upload, 2, Buffer.alloc(partBytes, 9))
  const sent = await sendAll(user, upload, [1, 2, 3, 4, 5])
  const withWrong = sent.map((part) => (part.partNumber === 2 ? wrong : part))
  assertProblem(await user.completeParts(upload, withWrong), 400, /Part 2/)
  assert.equal((await user.completeParts(upload, sent)).status, 200)
  await assertPulled(upload)
})

test('a list that misses a part, names a wrong ETag or an unknown part is refused', async () => {
  const user = await server.user('lists')
  const upload = await user.openParts('lists/demo/tool', fiveParts('lists'))
  const four = await sendAll(user, upload, [1, 2, 3, 4])
  assertProblem(await user.completeParts(upload, four), 400, /4 of 5/)
  const all = [...four, await user.sendPart(upload, 5)]
  const bad: readonly (readonly SentPart[])[] = [
    [],
    all.slice(1),
    [...all.slice(1), { partNumber: 1, token: '"0000000000000000"' }],
    [...all.slice(1), { partNumber: 6, token: '"0000000000000000"' }],
    [...all, { partNumber: 6, token: '"0000000000000000"' }],
  ]
  for (const list of bad) assertProblem(await user.completeParts(upload, list), 400)
  const reversed = all.toReversed()
  assert.equal((await user.completeParts(upload, reversed)).status, 200)
})

test('parts outside the file are refused', async () => {
  const user = await server.user('outside')
  const upload = await user.openParts('outside/demo/tool', fiveParts('outside'))
  for (const partNumber of [0, -1, 6, 10_001, 1.5, '1', null]) {
    const body = { uploadID: upload.uploadID, partSize: partBytes, partNumber, sha256sum: '' }
    assertProblem(await user.put(`/v2/imagefile/${upload.image}/_multipart`, body), 400)
  }
  assert.equal((await user.abortParts(upload)).status, 200)
})

test('a part of the wrong size is refused, and the right one is taken after it', async () => {
  const user = await server.user('partsize')
  const upload = await user.openParts('partsize/demo/tool', fiveParts('partsize'))
  for (const size of [0, partBytes - 1, partBytes + 1]) {
    const reply = await user.upload(await user.partUrl(upload, 1), Buffer.alloc(size))
    assertProblem(reply, 400, /Part 1/)
  }
  const last = await user.upload(await user.partUrl(upload, 5), Buffer.alloc(partBytes))
  assertProblem(last, 400, /Part 5/)
  const done = await user.completeParts(upload, await sendAll(user, upload, [1, 2, 3, 4, 5]))
  assert.equal(done.status, 200)
  await assertPulled(upload)
})

test('parts with other bytes than announced are refused at the end, and nothing is left', async () => {
  const user = await server.user('bytes')
  const sif = fiveParts('bytes')
  const upload = await user.openParts('bytes/demo/tool', sif)
  const sent = await sendAll(user, upload, [1, 2, 3, 4])
  const lastBytes = sif.length - 4 * partBytes
  const last = await user.sendPart(upload, 5, Buffer.alloc(lastBytes, 3))
  assertProblem(await user.completeParts(upload, [...sent, last]), 400, /hash/)
  await assertNothingOf('bytes')
})

test('somebody else can neither use nor end an upload, even when he knows its ID', async () => {
  const [owner, other] = [await server.user('partowner'), await server.user('partother')]
  const sif = fiveParts('partowner')
  const upload = await owner.openParts('partowner/demo/tool', sif)
  const theirs = await other.openParts('partother/demo/tool', sif)
  const stolen = { ...theirs, uploadID: upload.uploadID }
  for (const [who, status] of [
    [other, 403],
    [server.anonymous, 401],
  ] as const) {
    const part = { uploadID: upload.uploadID, partNumber: 1 }
    assertProblem(await who.put(`/v2/imagefile/${upload.image}/_multipart`, part), status)
    assertProblem(await who.abortParts(upload), status)
    assertProblem(await who.completeParts(upload, []), status)
  }
  const part = { uploadID: stolen.uploadID, partNumber: 1 }
  assertProblem(await other.put(`/v2/imagefile/${stolen.image}/_multipart`, part), 404)
  assertProblem(await other.abortParts(stolen), 404)
  assertProblem(await other.completeParts(stolen, []), 404)
  const done = await owner.completeParts(upload, await sendAll(owner, upload, [1, 2, 3, 4, 5]))
  assert.equal(done.status, 200)
  assert.equal((await other.abortParts(theirs)).status, 200)
})

test('_abort gives everything back, and what follows it is refused', async () => {
  const user = await server.user('abort')
  const upload = await user.openParts('abort/demo/tool', fiveParts('abort'))
  const sent = await sendAll(user, upload, [1, 2])
  const url = await user.partUrl(upload, 3)
  assert.equal((await user.abortParts(upload)).status, 200)
  await assertNothingOf('abort')
  assertProblem(await user.upload(url, upload.sif.subarray(0, partBytes)), 404)
  assertProblem(await user.completeParts(upload, sent), 404)
  assertProblem(await user.abortParts(upload), 404)
})

test('completing twice gives the same answer', async () => {
  const user = await server.user('again')
  const upload = await user.openParts('again/demo/tool', fiveParts('again'))
  const sent = await sendAll(user, upload, [1, 2, 3, 4, 5])
  const first = await user.completeParts(upload, sent)
  const second = await user.completeParts(upload, sent)
  assert.equal(first.status, 200)
  assert.equal(second.status, 200)
  assert.deepEqual(second.json, first.json)
})

test('completing and aborting at the same time has one outcome', async () => {
  const user = await server.user('race')
  for (let round = 0; round < 5; round += 1) {
    const upload = await user.openParts(`race/demo/tool${round}`, fiveParts(`race${round}`))
    const sent = await sendAll(user, upload, [1, 2, 3, 4, 5])
    const [one, two, aborted] = await Promise.all([
      user.completeParts(upload, sent),
      user.completeParts(upload, sent),
      user.abortParts(upload),
    ])
    const image = await user.get(`/v1/images/${upload.image}`)
    const completed = [one, two].some((reply) => reply.status === 200)
    const text = [one, two, aborted].map((reply) => reply.body.toString()).join('\n')
    assert.equal(image.status, completed ? 200 : 404, text)
    assert.equal(completed && aborted.status === 200, false, text)
    for (const reply of [one, two, aborted]) assert.ok(reply.status < 500, text)
    if (completed) await assertPulled(upload)
  }
  await assertLedger(server.db)
})

test('a restart of the server between two parts loses nothing', async (t) => {
  const before = await startServer(t, { settings })
  const user = await before.user('restart')
  const upload = await user.openParts('restart/demo/tool', fiveParts('restart'))
  const sent = await sendAll(user, upload, [1, 2, 3])
  const afterwards = await before.restart()
  const again = new Client(afterwards.url, user.credentials)
  sent.push(await again.sendPart(upload, 4), await again.sendPart(upload, 5))
  const done = await again.completeParts(upload, sent)
  assert.equal(done.status, 200, done.body.toString())
  const pulled = await again.get(`/v1/imagefile/${upload.image}`)
  assert.deepEqual(pulled.body, upload.sif)
})

test('a restart ends an upload in one piece that had not arrived', async (t) => {
  const before = await startServer(t, { settings })
  const user = await before.user('gone')
  const sif = makeSif({ seed: 'gone' })
  const path = new URL(await user.openWhole('gone/demo/tool', sif)).pathname
  const again = new Client((await before.restart()).url, user.credentials)
  assertProblem(await again.send('PUT', path, { body: sif }), 404)
  assert.equal((await again.push('gone/demo/tool', 'latest', sif)).status, 200)
})

test('an upload in one piece that had arrived is completed after a restart', async (t) => {
  const before = await startServer(t, { settings })
  const user = await before.user('arrived')
  const sif = makeSif({ seed: 'arrived' })
  await user.upload(await user.openWhole('arrived/demo/tool', sif), sif)
  const again = new Client((await before.restart()).url, user.credentials)
  const id = `arrived/demo/tool:${libraryHash(sif)}`
  assert.equal((await again.put(`/v2/imagefile/${id}/_complete`, {})).status, 200)
})

/** Four parts and a shorter one. */
function fiveParts(seed: string): Buffer {
  return makeSif({ seed, payload: 4 * partBytes })
}

/** Sends parts in this order; of one that is sent twice the second counts. */
async function sendAll(
  user: Client,
  upload: PartsUpload,
  numbers: readonly number[],
): Promise<SentPart[]> {
  const sent = new Map<number, SentPart>()
  for (const number of numbers) sent.set(number, await user.sendPart(upload, number))
  return [...sent.values()].sort((a, b) => a.partNumber - b.partNumber)
}

async function assertPulled(upload: PartsUpload): Promise<void> {
  const pulled = await server.anonymous.get(`/v1/imagefile/${upload.image}`)
  assert.equal(pulled.status, 200)
  assert.deepEqual(pulled.body, upload.sif)
}

async function assertNothingOf(entity: string): Promise<void> {
  assert.deepEqual(await server.db.query(sql`select 1 from entities where name = ${entity}`), [])
}
