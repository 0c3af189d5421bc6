import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { sql } from '../../server/database.ts'
import { assertProblem, libraryHash } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after })
const { anonymous } = server
const admin = await server.user('admin', { isAdmin: true })
const owner = await server.user('owner')
const hash = libraryHash(makeSif({ seed: 'names' }))

const badNames = [
  '..',
  '.',
  'Upper',
  'ünïcode',
  'a b',
  '-a',
  'a-',
  'a..b',
  'a___b',
  '_collections',
  'x'.repeat(200),
  'a\0b',
  'a\nb',
  'a:b',
  '%',
  "a'--",
  '__proto__',
  'a/b/c/d',
]
test('names outside the grammar are refused everywhere, and nothing is made', async () => {
  const before = await places()
  for (const bad of badNames) {
    assertProblem(await admin.post('/v1/entities', { name: bad }), 400)
    assertProblem(await admin.post('/v1/collections', { entity: 'owner', name: bad }), 400)
    assertProblem(await admin.post('/v1/containers', { collection: 'owner/demo', name: bad }), 400)
    assertProblem(await admin.post('/v1/images', { hash, container: `owner/demo/${bad}` }), 400)
    const escaped = encodeURIComponent(bad)
    // The registry has names of more segments, so that asking for one is no mistake.
    const asked = bad.includes('/') ? 404 : 400
    assertProblem(await anonymous.get(`/v1/containers/owner/demo/${escaped}`), asked)
    assertProblem(await anonymous.get(`/v1/images/owner/demo/${escaped}:latest`), asked)
  }
  assert.deepEqual(await places(), before)
})

test('paths that climb or carry control bytes reach nothing', async () => {
  const attacks = [
    '/v1/images/../../etc/passwd',
    '/v1/images/owner/demo/..%2f..%2f..%2fetc',
    '/v1/images/%2e%2e/%2e%2e/%2e%2e:latest',
    '/v1/imagefile/..%2F..%2F..%2F..%2Fetc%2Fpasswd',
    '/v1/imagefile/owner/demo/tool%00:latest',
    '/v1/containers/owner/demo/%00',
    '/v1/entities/%00',
    '/v1/entities/%2e%2e',
    '/v1/collections/owner/..',
    '/v1/images/owner/demo/tool:%2e%2e',
    '/v1/images/owner/demo/tool:latest?arch=%00',
    '/v1/images/owner/demo/tool:latest?arch=../x',
    '/v1/images/owner/demo/tool:latest?arch=a&arch=b',
    `/v1/images/${'a/'.repeat(700)}b`,
    '/v1/images/%',
    '/v1/images/%zz',
    '/v1/entities/%c0%ae',
    '/v2/tags/%ff',
  ]
  for (const path of attacks) assertProblem(await owner.get(path), 400)
})

test('names of fixed addresses are reserved', async () => {
  for (const name of ['imagefile', 'tags']) {
    assertProblem(await admin.post('/v1/entities', { name }), 400, /reserved/)
    assertProblem(await admin.post('/v1/images', { hash, container: `${name}/a/b` }), 400)
  }
})

const posts = ['/v1/entities', '/v1/collections', '/v1/containers', '/v1/images']
const badBodies: readonly (readonly [string, number])[] = [
  ['', 400],
  ['{', 400],
  ['nonsense', 400],
  ['"text"', 400],
  ['[]', 400],
  ['null', 400],
  ['{"name":5,"hash":5}', 400],
  ['{"name":null}', 400],
  ['{"name":["a"],"collection":{},"entity":1,"container":true}', 400],
  ['{"__proto__":{"name":"x"}}', 400],
  ['['.repeat(50_000), 400],
  [JSON.stringify({ name: 'x'.repeat(200_000) }), 413],
]
for (const [body, status] of badBodies) {
  test(`a body ${JSON.stringify(body.slice(0, 40))} is ${status} for every POST`, async () => {
    for (const path of posts) assertProblem(await owner.send('POST', path, { body }), status)
    const tag = await owner.send('POST', '/v2/tags/owner/demo/tool', { body })
    assertProblem(tag, status)
  })
}

test('a body is JSON whatever its type says, but not in an unknown encoding', async () => {
  const body = JSON.stringify({ name: 'owner' })
  for (const type of ['application/json', 'text/plain', 'application/octet-stream', 'x']) {
    const reply = await owner.send('POST', '/v1/entities', {
      body,
      headers: { 'content-type': type },
    })
    assert.equal(reply.status, 200, type)
  }
  const headers = { 'content-encoding': 'nonsense' }
  assertProblem(await owner.send('POST', '/v1/entities', { body, headers }), 415)
})

/** How many rows there are of everything that a request may make. */
async function places(): Promise<object[]> {
  return await server.db.query(sql`
    select (select count(*) from entities) as entities,
      (select count(*) from collections) as collections,
      (select count(*) from repositories) as repositories, (select count(*) from images) as images,
      (select count(*) from uploads) as uploads, (select count(*) from audit) as audit`)
}
