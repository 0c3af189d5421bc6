import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { sql } from '../../server/database.ts'
import { libraryHash, sha256 } from '../support/client.ts'
import { assertLedger, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after })

test('an image that the caller can read somewhere need not be sent again', async () => {
  const [first, second] = [await server.user('first'), await server.user('second')]
  const sif = makeSif({ seed: 'shared' })
  await first.push('first/demo/tool', 'latest', sif)
  const reply = await second.post('/v1/images', {
    hash: libraryHash(sif),
    container: 'second/demo/copy',
  })
  assert.equal(reply.status, 200)
  assert.equal(reply.json.data.uploaded, true)
  assert.equal(reply.json.data.size, sif.length)
  const pulled = await server.anonymous.get(
    `/v1/imagefile/second/demo/copy:${libraryHash(sif)}?arch=amd64`,
  )
  assert.deepEqual(pulled.body, sif)
  assert.deepEqual(await usedBy('second'), sif.length)
})

test('an image in a private collection of somebody else is not known to be there', async () => {
  const [owner, other] = [await server.user('secretive'), await server.user('curious')]
  await owner.post('/v1/collections', { entity: 'secretive', name: 'hidden', private: true })
  const sif = makeSif({ seed: 'hidden' })
  await owner.push('secretive/hidden/tool', 'latest', sif)
  const announce = { hash: libraryHash(sif), container: 'curious/demo/copy' }
  const reply = await other.post('/v1/images', announce)
  assert.equal(reply.json.data.uploaded, false)
  assert.equal((await other.get(`/v1/imagefile/curious/demo/copy:${libraryHash(sif)}`)).status, 404)
  // Who has the bytes may push them all the same.
  assert.equal((await other.push('curious/demo/copy', 'latest', sif)).status, 200)
  assert.equal(
    (await owner.post('/v1/images', { ...announce, container: 'secretive/demo/x' })).json.data
      .uploaded,
    true,
  )
})

test('an announced image that never arrived is sent', async () => {
  const user = await server.user('announcer')
  const sif = makeSif({ seed: 'announced' })
  const id = await user.announce('announcer/demo/tool', sif)
  assert.equal((await user.get(`/v1/images/${id}`)).status, 404)
  const again = await user.post('/v1/images', {
    hash: libraryHash(sif),
    container: 'announcer/demo/tool',
  })
  assert.equal(again.json.data.uploaded, false)
})

test('fifty accounts push the same image at once: all succeed, and it is stored once', async () => {
  const sif = makeSif({ seed: 'fifty', payload: 100_000 })
  const users = await Promise.all(
    Array.from({ length: 50 }, async (_, number) => await server.user(`crowd${number}`)),
  )
  const urls = await Promise.all(
    users.map(async (user) => await user.openWhole(`${user.name}/demo/tool`, sif)),
  )
  const replies = await Promise.all(
    users.map(async (user, number) => {
      const sent = await user.upload(urls[number] ?? '', sif)
      assert.equal(sent.status, 200, sent.body.toString())
      const id = `${user.name}/demo/tool:${libraryHash(sif)}`
      return await user.put(`/v2/imagefile/${id}/_complete`, {})
    }),
  )
  for (const reply of replies) {
    assert.equal(reply.status, 200, reply.body.toString())
    assert.equal(reply.json.data.quota.quotaUsage, sif.length)
  }
  const hex = sha256(sif)
  const files = readdirSync(join(server.dataDir, 'store/blobs/sha256', hex.slice(0, 2)))
  assert.deepEqual(
    files.filter((name) => name === hex),
    [hex],
  )
  assert.deepEqual(readdirSync(join(server.dataDir, 'store/incoming')), [])
  await assertLedger(server.db)
})

test('twenty pushes of one image to one container at once: all succeed', async () => {
  const user = await server.user('twenty')
  const sif = makeSif({ seed: 'twenty' })
  const replies = await Promise.all(
    Array.from({ length: 20 }, async () => await user.push('twenty/demo/tool', 'latest', sif)),
  )
  assert.deepEqual(
    replies.map((reply) => reply.status),
    replies.map(() => 200),
  )
  await assertLedger(server.db)
})

test('good pushes succeed while bad ones to the same new container fail', async () => {
  const user = await server.user('mixed')
  for (let round = 0; round < 5; round += 1) {
    const path = `mixed/demo${round}/tool`
    const replies = await Promise.all(
      Array.from({ length: 12 }, async (_, number) => {
        const sif = makeSif({ seed: `mixed${round}-${number}` })
        if (number % 2 === 0) return await user.push(path, `t${number}`, sif)
        const announced = await user.post('/v1/images', { hash: libraryHash(sif), container: path })
        assert.equal(announced.status, 200, announced.body.toString())
        const id = announced.json.data.id as string
        const opened = await user.post(`/v2/imagefile/${id}`, { filesize: sif.length })
        assert.equal(opened.status, 200, opened.body.toString())
        await user.upload(opened.json.data.uploadURL, Buffer.alloc(sif.length))
        return await user.put(`/v2/imagefile/${id}/_complete`, {})
      }),
    )
    const expected = replies.map((_, number) => (number % 2 === 0 ? 200 : 400))
    assert.deepEqual(
      replies.map((reply) => reply.status),
      expected,
      texts(replies),
    )
  }
  await assertLedger(server.db)
})

test('a push is repeated with a new token after the first one was revoked in the middle', async (t) => {
  const server = await startServer(t, { leavesUploads: true })
  const user = await server.user('renewed')
  const sif = makeSif({ seed: 'renewed' })
  await user.upload(await user.openWhole('renewed/demo/tool', sif), sif)
  await user.delete(`/api/v1/tokens/${user.credentials?.tokenId}`)
  const again = await server.signIn('renewed')
  const reply = await again.push('renewed/demo/tool', 'latest', sif)
  assert.equal(reply.status, 200, reply.body.toString())
})

async function usedBy(entity: string): Promise<number | undefined> {
  const [row] = await server.db.query<{ used: number }>(
    sql`select used_bytes as "used" from entities where name = ${entity}`,
  )
  return row?.used
}

function texts(replies: readonly { readonly body: Buffer }[]): string {
  return replies.map((reply) => reply.body.toString()).join('\n')
}
