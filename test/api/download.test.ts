import assert from 'node:assert/strict'
import { readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { Capabilities, oneKey } from '../../server/capability.ts'
import { assertProblem, sha256 } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const settings = { library: { redirect_from: 200_000 } }
const server = await startServer({ after }, { settings })
const owner = await server.user('owner')
const large = makeSif({ seed: 'large', payload: 3_000_000 })
await owner.push('owner/demo/large', 'latest', large)
const small = makeSif({ seed: 'small' })
await owner.push('owner/demo/small', 'latest', small)

test('a small image is a stream with its length, uncompressed and with its digest', async () => {
  const headers = { 'accept-encoding': 'gzip, br' }
  const reply = await server.anonymous.get('/v1/imagefile/owner/demo/small:latest', headers)
  assert.equal(reply.status, 200)
  assert.equal(reply.headers['content-encoding'], undefined)
  assert.equal(reply.headers['content-length'], String(small.length))
  assert.equal(reply.headers['content-type'], 'application/octet-stream')
  assert.equal(reply.headers['etag'], `"sha256:${sha256(small)}"`)
  assert.deepEqual(reply.body, small)
})

test('a large image is a 303 to an absolute address of the configured origin', async () => {
  const headers = { host: 'evil.example', 'x-forwarded-host': 'evil.example' }
  const reply = await server.anonymous.get('/v1/imagefile/owner/demo/large:latest', headers)
  assert.equal(reply.status, 303)
  assert.ok(String(reply.headers['location']).startsWith(`${server.url}/dl/`))
})

const last = large.length - 1
const ranges: readonly (readonly [string, number, number])[] = [
  ['bytes=0-0', 0, 0],
  ['bytes=0-1024', 0, 1024],
  ['bytes=5-5', 5, 5],
  [`bytes=1048575-1048576`, 1_048_575, 1_048_576],
  [`bytes=${last}-${last}`, last, last],
  [`bytes=${last}-`, last, last],
  ['bytes=1000000-', 1_000_000, last],
  ['bytes=-1', last, last],
  ['bytes=-1000', last - 999, last],
  [`bytes=-${large.length + 5}`, 0, last],
  [`bytes=100-${large.length + 5000}`, 100, last],
  [`bytes=0-${last}`, 0, last],
  ['bytes=100-99999999999999999999', 100, last],
]
for (const [range, from, to] of ranges) {
  test(`Range: ${range} is 206 with exactly these bytes`, async () => {
    const reply = await server.anonymous.get(await issue(), { range })
    assert.equal(reply.status, 206)
    assert.equal(reply.headers['content-range'], `bytes ${from}-${to}/${large.length}`)
    assert.equal(reply.headers['content-length'], String(to - from + 1))
    assert.deepEqual(reply.body, large.subarray(from, to + 1))
  })
}

test('several ranges, another unit and nonsense are answered with the whole file', async () => {
  const many = Array.from({ length: 1000 }, (_, index) => `${index}-${index}`).join(',')
  for (const range of ['bytes=0-1,5-6', `bytes=${many}`, 'lines=1-2', 'bytes=x-y', 'bytes']) {
    const reply = await server.anonymous.get(await issue(), { range })
    assert.equal(reply.status, 200, range.slice(0, 20))
    assert.deepEqual(reply.body, large)
  }
})

test('a range past the end drops the connection: an error page would become image bytes', async () => {
  for (const range of [
    `bytes=${large.length}-`,
    `bytes=${large.length + 9}-${large.length + 10}`,
  ]) {
    await assertDropped(server.anonymous.get(await issue(), { range }))
  }
})

test('HEAD tells the size without the bytes', async () => {
  const reply = await server.anonymous.send('HEAD', await issue())
  assert.equal(reply.status, 200)
  assert.equal(reply.headers['content-length'], String(large.length))
  assert.equal(reply.headers['accept-ranges'], 'bytes')
  assert.equal(reply.body.length, 0)
})

test('the address works without a token, with the right one and with a wrong one', async () => {
  const path = await issue()
  for (const authorization of [undefined, `Bearer ${owner.credentials?.token}`, 'Bearer wrong']) {
    const range = { range: 'bytes=0-9' }
    const headers = authorization === undefined ? range : { ...range, authorization }
    const reply = await server.anonymous.get(path, headers)
    assert.equal(reply.status, 206)
    assert.deepEqual(reply.body, large.subarray(0, 10))
  }
})

test('parallel ranges make up the whole image', async () => {
  const path = await issue()
  const piece = 250_000
  const starts = Array.from(
    { length: Math.ceil(large.length / piece) },
    (_, index) => index * piece,
  )
  const replies = await Promise.all(
    starts.map(async (start) => {
      return await server.anonymous.get(path, { range: `bytes=${start}-${start + piece - 1}` })
    }),
  )
  assert.deepEqual(Buffer.concat(replies.map((reply) => reply.body)), large)
})

test('a forged, altered or foreign address drops the connection', async () => {
  const path = await issue()
  const [payload = '', mac = ''] = path.replace('/dl/', '').split('.')
  const upload = server.appliance.capabilities.uploadPath({ upload: 'x', part: 0 })
  const foreign = new Capabilities(oneKey(Buffer.alloc(32))).downloadPath(right())
  const altered = Buffer.from(JSON.stringify({ ...right(), exp: 2 ** 40 })).toString('base64url')
  const forged = [
    'x',
    `${payload}.`,
    `${payload}.${mac.slice(2)}`,
    `${altered}.${mac}`,
    upload.replace('/ul/', ''),
    foreign.replace('/dl/', ''),
    '%00',
  ]
  for (const sealed of forged) await assertDropped(server.anonymous.get(`/dl/${sealed}`))
})

test('an address that is over drops the connection', async (t) => {
  const path = await issue()
  const later = Date.now() + 7 * 3_600_000
  t.mock.method(Date, 'now', () => later)
  await assertDropped(server.anonymous.get(path))
})

test('an address that was given out serves the same bytes after the image is deleted', async () => {
  const sif = makeSif({ seed: 'deleted', payload: 300_000 })
  await owner.push('owner/demo/deleted', 'latest', sif)
  const reply = await owner.get('/v1/imagefile/owner/demo/deleted:latest')
  const path = new URL(String(reply.headers['location'])).pathname
  await owner.delete('/v1/images/owner/demo/deleted:latest?arch=amd64')
  await server.appliance.sweep()
  assert.deepEqual((await server.anonymous.get(path)).body, sif)
  assertProblem(await owner.get('/v1/imagefile/owner/demo/deleted:latest'), 404)
})

const damages: readonly (readonly [string, (file: string) => void])[] = [
  ['cut short', (file) => truncateSync(file, 100)],
  ['made longer', (file) => writeFileSync(file, 'x', { flag: 'a' })],
  ['removed', (file) => rmSync(file)],
]
for (const [index, [name, damage]] of damages.entries()) {
  test(`a stored file that was ${name} is never served`, async () => {
    const path = `owner/demo/damaged${index}`
    for (const payload of [300_000, 1000]) {
      const sif = makeSif({ seed: name, payload })
      await owner.push(path, 'latest', sif)
      damage(blobFile(sif))
      const reply = await server.anonymous.get(`/v1/imagefile/${path}:latest`)
      if (payload === 1000) {
        assertProblem(reply, 500)
      } else {
        await assertDropped(
          server.anonymous.get(new URL(String(reply.headers['location'])).pathname),
        )
      }
    }
  })
}

test('downloads leave no file open', () => {
  const open = readdirSync('/proc/self/fd').length
  assert.ok(open < 200, `${open} open files`)
})

function right(): { digest: string; size: number } {
  return { digest: `sha256:${sha256(large)}`, size: large.length }
}

/** A path of a capability URL for the large image. */
async function issue(): Promise<string> {
  const reply = await server.anonymous.get('/v1/imagefile/owner/demo/large:latest?arch=amd64')
  return new URL(String(reply.headers['location'])).pathname
}

function blobFile(sif: Buffer): string {
  const hex = sha256(sif)
  return join(server.dataDir, 'store/blobs/sha256', hex.slice(0, 2), hex)
}

async function assertDropped(reply: Promise<unknown>): Promise<void> {
  await assert.rejects(reply, { code: 'ECONNRESET' })
}
