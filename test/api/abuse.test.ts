import assert from 'node:assert/strict'
import test, { after } from 'node:test'
import { gzipSync } from 'node:zlib'

import { sql } from '../../server/database.ts'
import { assertProblem, libraryHash, rawPut } from '../support/client.ts'
import { assertLedger, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const settings = { quota: { default: 1_000_000 }, library: { part_size: 65_536 } }
const server = await startServer({ after }, { settings })
const user = await server.user('user')
const path = 'user/demo/tool'
const sif = makeSif({ seed: 'abuse', payload: 200_000 })
await user.push(path, 'latest', sif)

test('a body that unpacks to far more than the limit is refused at the limit', async () => {
  const body = gzipSync(Buffer.alloc(50_000_000, ' '))
  const headers = { 'content-encoding': 'gzip' }
  const before = process.memoryUsage().rss
  assertProblem(await user.send('POST', '/v1/entities', { body, headers }), 413)
  assert.ok(process.memoryUsage().rss - before < 40_000_000)
})

test('names of object members are names like any other', async () => {
  const body =
    '{"name":"user","__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}'
  assert.equal((await user.send('POST', '/v1/entities', { body })).status, 200)
  await user.get('/v1/search?value=abc&__proto__[polluted]=1&constructor.prototype.polluted=1')
  assert.equal(({} as Record<string, unknown>)['polluted'], undefined)
  for (const name of ['__proto__', 'constructor', 'toString']) {
    await user.post(`/v1/tags/${path}`, { Tag: name, ImageID: `${path}:${libraryHash(sif)}` })
    assert.equal((await user.get(`/v1/images/${path}:${name}?arch=amd64`)).status, 200, name)
    const { data } = (await user.get(`/v2/tags/${path}`)).json
    assert.ok(Object.hasOwn(data.amd64, name), name)
    assert.equal((await user.delete(`/v1/tags/${path}/${name}`)).status, 200)
  }
})

test('control bytes and odd text in any member are refused or stored, never an error of the server', async () => {
  const image = `${path}:${libraryHash(sif)}`
  for (const odd of ['\0', 'a\0b', '\ud800', '\u{10ffff}', 'x'.repeat(5000), "';--"]) {
    const replies = [
      await user.put(`/v2/imagefile/${image}/_multipart`, { uploadID: odd, partNumber: 1 }),
      await user.put(`/v2/imagefile/${image}/_multipart_abort`, { uploadID: odd }),
      await user.put(`/v2/imagefile/${image}/_multipart_complete`, {
        uploadID: odd,
        completedParts: [{ partNumber: 1, token: odd }],
      }),
      await user.post('/v1/images', { hash: odd, container: path }),
      await user.post('/v1/images', { hash: libraryHash(sif), container: path, description: odd }),
      await user.post('/v1/containers', { collection: 'user/demo', name: 'odd', description: odd }),
      await user.post(`/v2/tags/${path}`, { Arch: odd, Tag: odd, ImageID: odd }),
      await user.post(`/v1/tags/${path}`, { [odd]: odd }),
      await user.delete(`/v1/tags/${path}/${encodeURIComponent(Buffer.from(odd).toString())}`),
      await user.get(`/v1/search?value=abc${encodeURIComponent(Buffer.from(odd).toString())}`),
      await user.get(`/library/user/demo/${encodeURIComponent(Buffer.from(odd).toString())}`),
    ]
    for (const [index, reply] of replies.entries()) {
      assert.ok(
        reply.status < 500,
        `${index} ${JSON.stringify(odd.slice(0, 9))} ${reply.body.toString()}`,
      )
    }
  }
})

test('ten thousand parts fit into a completion, and one more is refused', async () => {
  const part = (_: unknown, index: number) => ({
    partNumber: index + 1,
    token: '"0123456789abcdef"',
  })
  const image = `${path}:${libraryHash(sif)}`
  const send = async (length: number) =>
    await user.put(`/v2/imagefile/${image}/_multipart_complete`, {
      uploadID: '0'.repeat(32),
      completedParts: Array.from({ length }, part),
    })
  assert.equal((await send(10_000)).status, 200)
  assertProblem(await send(10_001), 400)
})

const oneShots: readonly (readonly [string, Readonly<Record<string, string>>, number])[] = [
  ['other bytes', {}, 400],
  ['a body of unknown length', { 'transfer-encoding': 'chunked' }, 411],
]
for (const [name, headers, status] of oneShots) {
  test(`a v1 upload of ${name} is ${status}, and leaves nothing`, async () => {
    const wrong = makeSif({ seed: name })
    const id = await user.announce('user/once/tool', wrong)
    const body = Buffer.alloc(wrong.length)
    const { authorization } = { authorization: `Bearer ${user.credentials?.token}` }
    if (status === 400) {
      assertProblem(await user.send('POST', `/v1/imagefile/${id}`, { body, headers }), status)
    } else {
      const reply = await rawPut(
        `${server.url}/v1/imagefile/${id}`,
        { authorization, ...headers },
        [body],
        undefined,
        'POST',
      )
      assert.match(reply, new RegExp(`^HTTP/1\\.1 ${status} `))
    }
    assert.deepEqual(await server.db.query(sql`select 1 from uploads`), [])
    await assertLedger(server.db)
  })
}

test('a v1 upload over the quota is refused before its body', async () => {
  const id = await user.announce('user/once/big', makeSif({ seed: 'big' }))
  const authorization = `Bearer ${user.credentials?.token}`
  const headers = { authorization, 'content-length': '900000', expect: '100-continue' }
  const reply = await rawPut(`${server.url}/v1/imagefile/${id}`, headers, [], undefined, 'POST')
  assert.match(reply, /^HTTP\/1\.1 403 [^]*quota exceeded/)
})

test('deleting the last two tags of an image at once leaves no image behind', async () => {
  for (let round = 0; round < 10; round += 1) {
    const image = makeSif({ seed: `tags${round}` })
    const place = `user/tags/tool${round}`
    await user.push(place, 'one', image)
    await user.tag(place, 'two', image)
    const replies = await Promise.all(
      ['one', 'two'].map(async (tag) => await user.delete(`/v1/images/${place}:${tag}?arch=amd64`)),
    )
    assert.deepEqual(
      replies.map((reply) => reply.status),
      [200, 200],
    )
    assertProblem(await user.get(`/v1/images/${place}:${libraryHash(image)}`), 404)
  }
  await assertLedger(server.db)
})
