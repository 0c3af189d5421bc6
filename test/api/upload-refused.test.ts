import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { sql } from '../../server/database.ts'
import { assertProblem, libraryHash, rawPut } from '../support/client.ts'
import { eventually, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after })

const refusals: readonly (readonly [string, (sif: Buffer) => Buffer, RegExp])[] = [
  ['other bytes of the same length', (sif) => Buffer.alloc(sif.length, 7), /hash/],
  ['one altered bit', (sif) => flip(sif), /hash/],
  ['fewer bytes than announced', (sif) => sif.subarray(0, sif.length - 1), /cut short/],
  ['no bytes', () => Buffer.alloc(0), /cut short/],
]
for (const [index, [name, alter, message]] of refusals.entries()) {
  test(`${name}: refused at _complete with a reason, and nothing is left`, async () => {
    const user = await server.user(`refused${index}`)
    const sif = makeSif({ seed: name })
    await user.upload(await user.openWhole(`refused${index}/demo/tool`, sif), alter(sif))
    const reply = await user.put(`/v2/imagefile/${image(`refused${index}`, sif)}/_complete`, {})
    assertProblem(reply, 400, message)
    await assertNothingOf(`refused${index}`)
    assert.equal((await user.push(`refused${index}/demo/tool`, 'v1', sif)).status, 200)
  })
}

test('more bytes than announced are refused, and nothing is left', async () => {
  const user = await server.user('more')
  const sif = makeSif({ seed: 'more' })
  const url = await user.openWhole('more/demo/tool', sif)
  assertProblem(await user.upload(url, Buffer.concat([sif, Buffer.from('x')])), 400, /announced/)
  assert.notEqual((await user.put(`/v2/imagefile/${image('more', sif)}/_complete`, {})).status, 200)
  await assertNothingOf('more')
})

test('more bytes than announced in a body of unknown length are refused', async () => {
  const user = await server.user('chunked')
  const sif = makeSif({ seed: 'chunked' })
  const url = await user.openWhole('chunked/demo/tool', sif)
  const reply = await rawPut(url, { 'transfer-encoding': 'chunked' }, [sif, Buffer.from('x')])
  assert.match(reply, /^HTTP\/1\.1 400 /)
  await assertNothingOf('chunked')
})

test('what is not a SIF is refused with a reason, and nothing is left', async () => {
  const user = await server.user('notsif')
  for (const bytes of [
    Buffer.from('#!/bin/sh\n'),
    Buffer.alloc(100_000, 1),
    makeSif().subarray(0, 4096),
  ]) {
    assertProblem(await user.push('notsif/demo/tool', 'latest', bytes), 400)
    await assertNothingOf('notsif')
  }
})

const badSizes = [0, -1, 1.5, '5', null, {}, 1e300, 2 ** 53]
test('a file size that is none is refused', async () => {
  const user = await server.user('sizes')
  const sif = makeSif({ seed: 'sizes' })
  const id = await user.announce('sizes/demo/tool', sif)
  for (const filesize of badSizes) {
    assertProblem(await user.post(`/v2/imagefile/${id}`, { filesize }), 400)
    assertProblem(await user.post(`/v2/imagefile/${id}/_multipart`, { filesize }), 400)
  }
  assertProblem(await user.post(`/v2/imagefile/${id}`, {}), 400)
})

test('a file over the largest size is refused before its bytes', async () => {
  const user = await server.user('huge')
  const id = await user.announce('huge/demo/tool', makeSif({ seed: 'huge' }))
  assertProblem(await user.post(`/v2/imagefile/${id}`, { filesize: 2 ** 41 }), 413)
  await assertNothingOf('huge')
})

test('_complete before the bytes ends the upload with a reason', async () => {
  const user = await server.user('early')
  const sif = makeSif({ seed: 'early' })
  await user.openWhole('early/demo/tool', sif)
  const reply = await user.put(`/v2/imagefile/${image('early', sif)}/_complete`, {})
  assertProblem(reply, 400, /not arrived/)
  await assertNothingOf('early')
})

test('a connection that breaks in the middle gives the reservation and the file back', async () => {
  const user = await server.user('broken')
  const sif = makeSif({ seed: 'broken', payload: 3_000_000 })
  const url = await user.openWhole('broken/demo/tool', sif)
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  socket.on('error', () => {})
  socket.write(
    `PUT ${new URL(url).pathname} HTTP/1.1\r\nhost: x\r\ncontent-length: ${sif.length}\r\n\r\n`,
  )
  socket.write(sif.subarray(0, 2_000_000))
  const incoming = join(server.dataDir, 'store/incoming')
  await eventually(async () => readdirSync(incoming).length > 0, 'bytes arrive')
  socket.destroy()
  await eventually(async () => (await uploadsOf('broken')) === 0, 'the upload ends')
  await eventually(async () => readdirSync(incoming).length === 0, 'the file goes')
  await eventually(async () => !(await isThere('broken')), 'the names go')
})

function image(user: string, sif: Buffer): string {
  return `${user}/demo/tool:${libraryHash(sif)}`
}

function flip(sif: Buffer): Buffer {
  const copy = Buffer.from(sif)
  copy.writeUInt8(copy.readUInt8(copy.length - 1) ^ 1, copy.length - 1)
  return copy
}

async function uploadsOf(entity: string): Promise<number> {
  const rows = await server.db.query(sql`
    select 1 from uploads u join entities e on e.id = u.entity_id where e.name = ${entity}`)
  return rows.length
}

/** No upload, no names, no bytes: as if the push had never begun. */
async function assertNothingOf(entity: string): Promise<void> {
  assert.equal(await uploadsOf(entity), 0)
  assert.equal(await isThere(entity), false)
}

async function isThere(entity: string): Promise<boolean> {
  const rows = await server.db.query(sql`select 1 from entities where name = ${entity}`)
  return rows.length > 0
}
