import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { assertProblem, libraryHash, rawPut } from '../support/client.ts'
import type { Client, Reply } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after }, { settings: { library: { part_size: 65_536 } } })

const ways: readonly (readonly [
  string,
  (who: Client, path: string, sif: Buffer) => Promise<Reply>,
])[] = [
  [
    'v1, the file as the body',
    async (who, path, sif) => {
      const id = await who.announce(path, sif)
      return await who.send('POST', `/v1/imagefile/${id}`, { body: sif })
    },
  ],
  ['v2, in one piece', async (who, path, sif) => await who.push(path, undefined, sif)],
  [
    'v2, in parts',
    async (who, path, sif) => {
      const upload = await who.openParts(path, sif)
      const sent = []
      for (let part = 1; part <= upload.totalParts; part += 1) {
        sent.push(await who.sendPart(upload, part))
      }
      return await who.completeParts(upload, sent)
    },
  ],
]

for (const [index, [name, push]] of ways.entries()) {
  test(`an image is pushed by ${name}, and pulled byte by byte`, async () => {
    const user = await server.user(`way${index}`)
    const sif = makeSif({ seed: name, payload: 300_000 })
    const path = `way${index}/demo/tool`
    const reply = await push(user, path, sif)
    assert.equal(reply.status, 200, reply.body.toString())
    assert.deepEqual(reply.json.data, {
      quota: { quotaTotal: 100 * 2 ** 30, quotaUsage: sif.length },
      containerUrl: `library/${path}`,
    })
    const pulled = await server.anonymous.get(`/v1/imagefile/${path}:${libraryHash(sif)}`)
    assert.deepEqual(pulled.body, sif)
  })
}

test('the upload address is absolute, takes no credential and answers 200 without a body', async () => {
  const user = await server.user('absolute')
  const sif = makeSif({ seed: 'absolute' })
  const url = await user.openWhole('absolute/demo/tool', sif)
  assert.ok(url.startsWith(`${server.url}/ul/`), url)
  const sent = await user.upload(url, sif)
  assert.equal(sent.status, 200)
  assert.equal(sent.body.length, 0)
  const done = await user.put(`/v2/imagefile/${image('absolute', sif)}/_complete`, {})
  assert.equal(done.status, 200)
})

test('completing twice, and after a restart of the push, gives the same answer', async () => {
  const user = await server.user('twice')
  const sif = makeSif({ seed: 'twice' })
  const first = await user.push('twice/demo/tool', 'latest', sif)
  const again = await user.put(`/v2/imagefile/${image('twice', sif)}/_complete`, {})
  assert.equal(again.status, 200)
  assert.deepEqual(again.json, first.json)
})

test('an upload needs an announced image, its owner and a credential', async () => {
  const [owner, other] = [await server.user('mine'), await server.user('notmine')]
  const sif = makeSif({ seed: 'mine' })
  const unknown = await owner.post(`/v2/imagefile/${image('mine', sif)}`, { filesize: sif.length })
  assertProblem(unknown, 404)
  const id = await owner.announce('mine/demo/tool', sif)
  const url = await owner.openWhole('mine/demo/tool', sif)
  for (const path of [`/v2/imagefile/${id}`, `/v2/imagefile/${id}/_multipart`]) {
    assertProblem(await other.post(path, { filesize: sif.length }), 403, /notmine/)
    assertProblem(await server.anonymous.post(path, { filesize: sif.length }), 401, /token/)
  }
  await owner.upload(url, sif)
  assertProblem(await other.put(`/v2/imagefile/${id}/_complete`, {}), 403)
  assertProblem(await server.anonymous.put(`/v2/imagefile/${id}/_complete`, {}), 401)
  assertProblem(await owner.post('/v2/imagefile/mine/demo/tool:latest', { filesize: 5 }), 400)
  assert.equal((await owner.put(`/v2/imagefile/${id}/_complete`, {})).status, 200)
})

test('an upload address that is forged, altered or used up is refused', async () => {
  const user = await server.user('forged')
  const sif = makeSif({ seed: 'forged' })
  const url = await user.openWhole('forged/demo/tool', sif)
  const [payload = '', mac = ''] = new URL(url).pathname.replace('/ul/', '').split('.')
  const download = server.appliance.capabilities.downloadPath({ digest: 'sha256:0', size: 1 })
  const forged = [
    'x',
    '.',
    `${payload}.`,
    payload,
    `${payload}.${mac.slice(1)}`,
    `${Buffer.from('{"upload":"x","part":0,"exp":9999999999}').toString('base64url')}.${mac}`,
    download.replace('/dl/', ''),
  ]
  for (const sealed of forged) {
    const reply = await server.anonymous.send('PUT', `/ul/${sealed}`, { body: sif })
    assertProblem(reply, 403)
  }
  assert.notEqual((await server.anonymous.get(new URL(url).pathname)).status, 200)
  assert.equal((await user.upload(url, sif)).status, 200)
  assertProblem(await user.upload(url, sif), 404)
  assert.equal((await user.put(`/v2/imagefile/${image('forged', sif)}/_complete`, {})).status, 200)
  assertProblem(await user.upload(url, sif), 404)
})

test('with Expect: 100-continue a refusal comes before the body is asked for', async () => {
  const headers = { 'content-length': '1000000', expect: '100-continue' }
  const refused = await rawPut(`${server.url}/ul/forged.forged`, headers, [])
  assert.match(refused, /^HTTP\/1\.1 403 /)
  const user = await server.user('expect')
  const sif = makeSif({ seed: 'expect' })
  const url = await user.openWhole('expect/demo/tool', sif)
  const wanted = {
    'content-length': String(sif.length),
    expect: '100-continue',
    connection: 'close',
  }
  const taken = await rawPut(url, wanted, [], sif)
  assert.match(taken, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 /)
  assert.equal((await user.put(`/v2/imagefile/${image('expect', sif)}/_complete`, {})).status, 200)
})

function image(user: string, sif: Buffer): string {
  return `${user}/demo/tool:${libraryHash(sif)}`
}
