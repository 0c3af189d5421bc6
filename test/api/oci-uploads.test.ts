/** Uploads of blobs in each of the ways that distribution-spec knows (end-4 to 6, 11, 13, 14). */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import type { Client } from '../support/client.ts'
import { digestOf } from '../support/oci-image.ts'
import { pushBlob } from '../support/oci-push.ts'
import {
  assertRefused,
  endUpload,
  nextByte,
  openUpload,
  patchChunk,
  sendStream,
} from '../support/registry-client.ts'
import { startServer } from '../support/server.ts'

const server = await startServer({ after })
const name = 'pusher/demo/tool'
const user = await server.user('pusher')

/** Other bytes for each test. */
function blobOf(text: string, size = 1000): Buffer {
  return Buffer.alloc(size, `${text} `)
}

async function assertServed(client: Client, blob: Buffer, digest = digestOf(blob)): Promise<void> {
  const path = `/v2/${name}/blobs/${digest}`
  const got = await client.get(path)
  assert.equal(got.status, 200, got.body.toString())
  assert.ok(got.body.equals(blob))
  assert.equal(got.headers['docker-content-digest'], digest)
  const head = await client.send('HEAD', path)
  assert.equal(head.status, 200)
  assert.equal(head.headers['content-length'], String(blob.length))
  assert.equal(head.headers['docker-content-digest'], digest)
}

test('POST, then PUT with all bytes', async () => {
  const blob = blobOf('in one PUT')
  const session = await openUpload(user, name)
  const done = await endUpload(user, session, digestOf(blob), blob)
  assert.equal(done.status, 201)
  assert.equal(done.headers['location'], `${server.url}/v2/${name}/blobs/${digestOf(blob)}`)
  assert.equal(done.headers['docker-content-digest'], digestOf(blob))
  await assertServed(user, blob)
  assert.equal((await user.get(session)).status, 404, 'the session is over')
})

test('one POST with all bytes', async () => {
  const blob = blobOf('in one POST')
  const path = `/v2/${name}/blobs/uploads/?digest=${digestOf(blob)}`
  const done = await user.send('POST', path, { body: blob })
  assert.equal(done.status, 201)
  assert.equal(done.headers['location'], `${server.url}/v2/${name}/blobs/${digestOf(blob)}`)
  await assertServed(user, blob)
})

test('one POST whose bytes are others leaves no session behind', async () => {
  const path = `/v2/${name}/blobs/uploads/?digest=${digestOf(blobOf('announced'))}`
  const refused = await user.send('POST', path, { body: blobOf('sent') })
  assertRefused(refused, 400, 'DIGEST_INVALID', /announced/)
  // startServer asserts at the end that none is left.
})

test('a stream of unknown length, then an empty PUT', async () => {
  const pieces = Array.from({ length: 30 }, (_, number) => blobOf(`piece ${number}`, 77_777))
  const blob = Buffer.concat(pieces)
  const session = await openUpload(user, name)
  const streamed = await sendStream(user, 'PATCH', session, pieces)
  assert.equal(streamed.status, 202, streamed.body)
  const done = await endUpload(user, session, digestOf(blob))
  assert.equal(done.status, 201, done.body.toString())
  await assertServed(user, blob)
})

test('a stream of unknown length as the body of the PUT', async () => {
  const pieces = [blobOf('first'), blobOf('second')]
  const digest = digestOf(Buffer.concat(pieces))
  const session = await openUpload(user, name)
  const done = await sendStream(user, 'PUT', `${session}?digest=${digest}`, pieces)
  assert.equal(done.status, 201, done.body)
  await assertServed(user, Buffer.concat(pieces))
})

test('chunks with their ranges, each reply saying where the next begins', async () => {
  const blob = blobOf('in chunks', 250_001)
  const session = await openUpload(user, name)
  for (let first = 0; first < 200_000; first += 50_000) {
    const reply = await patchChunk(user, session, blob.subarray(first, first + 50_000), first)
    assert.equal(reply.status, 202, reply.body.toString())
    assert.equal(nextByte(reply), first + 50_000)
    assert.equal(reply.headers['location'], `${server.url}${session}`)
  }
  const last = blob.subarray(200_000)
  const headers = { 'content-range': `200000-${blob.length - 1}` }
  const path = `${session}?digest=${digestOf(blob)}`
  const done = await user.send('PUT', path, { headers, body: last })
  assert.equal(done.status, 201, done.body.toString())
  await assertServed(user, blob)
})

test('a client that lost its way asks where to go on', async () => {
  const blob = blobOf('resumed', 3000)
  const session = await openUpload(user, name)
  await patchChunk(user, session, blob.subarray(0, 1000), 0)
  const asked = await user.get(session)
  assert.equal(asked.status, 204)
  assert.equal(asked.headers['location'], `${server.url}${session}`)
  const at = nextByte(asked)
  assert.equal(at, 1000)
  await patchChunk(user, session, blob.subarray(at), at)
  assert.equal((await endUpload(user, session, digestOf(blob))).status, 201)
  await assertServed(user, blob)
})

test('a chunk that is not the next one is refused with the place of the next', async () => {
  const blob = blobOf('out of order', 3000)
  const session = await openUpload(user, name)
  await patchChunk(user, session, blob.subarray(0, 1000), 0)
  for (const first of [0, 500, 1001, 2000]) {
    const refused = await patchChunk(user, session, blob.subarray(first, first + 900), first)
    assertRefused(refused, 416, 'BLOB_UPLOAD_INVALID', /1000/)
    assert.equal(nextByte(refused), 1000)
    assert.equal(refused.headers['location'], `${server.url}${session}`)
  }
  const headers = { 'content-range': '2000-2999' }
  const path = `${session}?digest=${digestOf(blob)}`
  const early = await user.send('PUT', path, { headers, body: blob.subarray(2000) })
  assert.equal(early.status, 416)
  // None of it counted, and the session goes on.
  await patchChunk(user, session, blob.subarray(1000), 1000)
  assert.equal((await endUpload(user, session, digestOf(blob))).status, 201)
  await assertServed(user, blob)
})

test('ranges that are none, or do not fit their chunk, are refused', async () => {
  const session = await openUpload(user, name)
  const body = blobOf('ten bytes!', 10)
  const cases: readonly (readonly [string, number])[] = [
    ['0-', 416],
    ['-9', 416],
    ['nine-ten', 416],
    ['9-0', 416],
    ['0-1e1', 416],
    ['0-99999999999999999999', 416],
    ['0-10', 400],
    ['0-8', 400],
  ]
  for (const [range, status] of cases) {
    const reply = await user.send('PATCH', session, { headers: { 'content-range': range }, body })
    assertRefused(reply, status, 'BLOB_UPLOAD_INVALID')
  }
  for (const range of ['bytes=0-9', 'bytes 0-9/*', '0-9/10', '0-9']) {
    const session = await openUpload(user, name)
    const reply = await user.send('PATCH', session, { headers: { 'content-range': range }, body })
    assert.equal(reply.status, 202, range)
    assert.equal((await user.delete(session)).status, 204)
  }
  assert.equal((await user.get(session)).status, 204, 'nothing of it ended the session')
  assert.equal((await user.delete(session)).status, 204)
})

test('of a stream that is shorter or longer than its range nothing is kept', async () => {
  for (const size of [99, 101]) {
    const session = await openUpload(user, name)
    const range = { 'content-range': '0-99' }
    const reply = await sendStream(user, 'PATCH', session, [blobOf('misjudged', size)], range)
    assert.equal(reply.status, 400, reply.body)
    const right = blobOf('right', 100)
    assert.equal((await patchChunk(user, session, right, 0)).status, 202)
    assert.equal((await endUpload(user, session, digestOf(right))).status, 201)
  }
})

test('a blob may be empty, and may be named by SHA-512', async () => {
  const empty = Buffer.alloc(0)
  const path = `/v2/${name}/blobs/uploads/?digest=${digestOf(empty)}`
  const posted = await user.send('POST', path, { body: empty })
  assert.equal(posted.status, 201, posted.body.toString())
  await assertServed(user, empty)
  const session = await openUpload(user, `${name}/empty`)
  assert.equal((await endUpload(user, session, digestOf(empty))).status, 201)

  const blob = blobOf('long digest', 5000)
  const digest = digestOf(blob, 'sha512')
  const long = await openUpload(user, name)
  await patchChunk(user, long, blob.subarray(0, 2000), 0)
  const done = await endUpload(user, long, digest, blob.subarray(2000))
  assert.equal(done.status, 201, done.body.toString())
  await assertServed(user, blob, digest)
  const short = await user.get(`/v2/${name}/blobs/${digestOf(blob)}`)
  assert.equal(short.status, 404, 'only the name that it was pushed by')
})

test('wrong digests: other bytes, no digest, none of a known form', async () => {
  const blob = blobOf('wrong')
  for (const algorithm of ['sha256', 'sha512'] as const) {
    const session = await openUpload(user, name)
    await patchChunk(user, session, blob, 0)
    const refused = await endUpload(user, session, digestOf(blobOf('right'), algorithm))
    assertRefused(refused, 400, 'DIGEST_INVALID')
    assert.equal((await user.get(session)).status, 404, 'wrong bytes end the session')
  }
  const session = await openUpload(user, name)
  const bad = ['', 'sha256:abc', digestOf(blob).toUpperCase(), `md5:${'0'.repeat(32)}`, 'x/../y']
  for (const digest of bad) {
    assertRefused(await endUpload(user, session, digest, blob), 400, 'DIGEST_INVALID')
  }
  assertRefused(await user.send('PUT', session, { body: blob }), 400, 'DIGEST_INVALID')
  assert.equal((await endUpload(user, session, digestOf(blob), blob)).status, 201)
})

test('a session that was cancelled is over for every verb', async () => {
  const session = await openUpload(user, name)
  await patchChunk(user, session, blobOf('cancelled'), 0)
  assert.equal((await user.delete(session)).status, 204)
  const replies = [
    await user.get(session),
    await patchChunk(user, session, blobOf('more'), 1000),
    await endUpload(user, session, digestOf(blobOf('cancelled'))),
    await user.delete(session),
  ]
  for (const reply of replies) assertRefused(reply, 404, 'BLOB_UPLOAD_UNKNOWN')
  const never = `/v2/${name}/blobs/uploads/${'0'.repeat(32)}`
  assertRefused(await user.get(never), 404, 'BLOB_UPLOAD_UNKNOWN')
})

test("a session is its opener's, in its repository", async () => {
  const blob = blobOf('mine alone')
  await pushBlob(user, 'pusher/demo/other', blobOf('another repository'))
  const session = await openUpload(user, name)
  const admin = await server.user('overseer', { isAdmin: true })
  const stranger = await server.user('stranger')
  const elsewhere = session.replace('/tool/', '/other/')
  assertRefused(await admin.get(session), 404, 'BLOB_UPLOAD_UNKNOWN')
  assertRefused(await patchChunk(stranger, session, blob, 0), 404, 'BLOB_UPLOAD_UNKNOWN')
  assertRefused(await stranger.delete(session), 404, 'BLOB_UPLOAD_UNKNOWN')
  assertRefused(await server.anonymous.get(session), 401, 'UNAUTHORIZED')
  assertRefused(await patchChunk(user, elsewhere, blob, 0), 404, 'BLOB_UPLOAD_UNKNOWN')
  assert.equal((await endUpload(user, session, digestOf(blob), blob)).status, 201)
})

test("nobody opens an upload in somebody else's space", async () => {
  const stranger = await server.user('intruder')
  const opened = await stranger.send('POST', `/v2/${name}/blobs/uploads/`)
  assertRefused(opened, 403, 'DENIED')
  const unsigned = await server.anonymous.send('POST', `/v2/${name}/blobs/uploads/`)
  assertRefused(unsigned, 401, 'UNAUTHORIZED')
})

test('parts of a blob are sent as they are asked for', async () => {
  const blob = blobOf('ranged', 10_000)
  await pushBlob(user, name, blob)
  const path = `/v2/${name}/blobs/${digestOf(blob)}`
  const cases: readonly (readonly [string, number, Buffer | undefined])[] = [
    ['bytes=0-99', 206, blob.subarray(0, 100)],
    ['bytes=9990-', 206, blob.subarray(9990)],
    ['bytes=-10', 206, blob.subarray(9990)],
    ['bytes=10000-', 416, undefined],
  ]
  for (const [range, status, bytes] of cases) {
    const reply = await user.get(path, { range })
    assert.equal(reply.status, status, range)
    if (bytes) assert.ok(reply.body.equals(bytes), range)
  }
})
