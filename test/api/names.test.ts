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
const other = await server.user('other')
const hash = libraryHash(makeSif({ seed: 'names' }))

// As the stock client sends them (protocol.md B2).
const zero = { deleted: false, createdAt: '0001-01-01T00:00:00Z', id: '', size: 0 }
const entityOf = (name: string) => ({ ...zero, name, description: 'No description', quota: 0 })
const collectionOf = (entity: string, name: string) => ({ ...zero, entity, name, private: false })
const containerOf = (collection: string, name: string) => ({
  ...zero,
  collection,
  name,
  fullDescription: '',
  images: null,
  archTags: null,
})

test('the first push makes the places one after the other, and finds them again', async () => {
  const steps = [
    ['/v1/entities/owner', '/v1/entities', entityOf('owner'), 'owner'],
    ['/v1/collections/owner/demo', '/v1/collections', collectionOf('owner', 'demo'), 'owner/demo'],
    [
      '/v1/containers/owner/demo/tool',
      '/v1/containers',
      containerOf('owner/demo', 'tool'),
      'owner/demo/tool',
    ],
  ] as const
  for (const [read, make, body, id] of steps) {
    assertProblem(await owner.get(read), 404)
    const made = await owner.post(make, body)
    assert.equal(made.status, 200, made.body.toString())
    assert.equal(made.json.data.id, id)
    const again = await owner.post(make, body)
    assert.deepEqual(again.json, made.json)
    const found = await anonymous.get(read)
    assert.equal(found.status, 200)
    assert.equal(found.json.data.id, id)
    assert.equal(found.json.data.owner, 'owner')
  }
  const entity = (await anonymous.get('/v1/entities/owner')).json.data
  assert.deepEqual(entity.collections, ['owner/demo'])
  const collection = (await anonymous.get('/v1/collections/owner/demo')).json.data
  assert.deepEqual(collection.containers, ['owner/demo/tool'])
})

const posts = [
  ['/v1/entities', entityOf('owner')],
  ['/v1/collections', collectionOf('owner', 'x')],
  ['/v1/containers', containerOf('owner/x', 'y')],
  ['/v1/images', { hash, container: 'owner/x/y' }],
] as const
for (const [path, body] of posts) {
  test(`POST ${path}: nobody but the owner and administrators`, async () => {
    const before = await places()
    assertProblem(await anonymous.post(path, body), 401, /get_singularity_token/)
    assertProblem(await other.post(path, body), 403, /"owner".*other/)
    assert.deepEqual(await places(), before)
    const site = JSON.parse(JSON.stringify(body).replaceAll('owner', 'site'))
    assertProblem(await other.post(path, site), 403)
    assert.deepEqual(await places(), before)
    assert.equal((await admin.post(path, site)).status, 200)
    assertProblem(await other.post(path, site), 403)
  })
}

test('twenty requests at once make one of each, and all succeed', async () => {
  const user = await server.user('rush')
  const bodies = [
    ['/v1/entities', entityOf('rush')],
    ['/v1/collections', collectionOf('rush', 'demo')],
    ['/v1/containers', containerOf('rush/demo', 'tool')],
    ['/v1/images', { hash, container: 'rush/demo/tool' }],
  ] as const
  const replies = await Promise.all(
    Array.from({ length: 20 }, (_, index) => bodies[index % 4] ?? bodies[0]).map(
      async ([path, body]) => await user.post(path, body),
    ),
  )
  for (const reply of replies) assert.equal(reply.status, 200, reply.body.toString())
  const made = await server.db.query(sql`select path from repositories where path like 'rush/%'`)
  assert.equal(made.length, 1)
})

test('short names and empty first segments are the default entity and collection', async () => {
  const sif = makeSif({ seed: 'short' })
  await admin.push('library/default/alpine', 'latest', sif)
  await admin.push('library/base/alpine', 'latest', sif)
  const same = [
    ['/v1/entities/', 'library'],
    ['/v1/entities/library', 'library'],
    ['/v1/collections//base', 'library/base'],
    ['/v1/collections/base', 'library/base'],
    ['/v1/containers//base/alpine', 'library/base/alpine'],
    ['/v1/containers/base/alpine', 'library/base/alpine'],
    ['/v1/containers/alpine', 'library/default/alpine'],
    ['/v1/images/alpine:latest', `library/default/alpine:${libraryHash(sif)}`],
    ['/v1/images/alpine', `library/default/alpine:${libraryHash(sif)}`],
    ['/v1/images//base/alpine:latest', `library/base/alpine:${libraryHash(sif)}`],
    ['/v1/images/base/alpine:latest?arch=amd64', `library/base/alpine:${libraryHash(sif)}`],
    ['/v1/images//library/base/alpine:latest', `library/base/alpine:${libraryHash(sif)}`],
  ] as const
  for (const [path, id] of same) {
    const reply = await anonymous.get(path)
    assert.equal(reply.status, 200, `${path} ${reply.body.toString()}`)
    assert.equal(reply.json.data.id, id, path)
  }
  for (const path of ['//library/base/alpine:latest', '//base/alpine:latest', '/alpine:latest']) {
    assert.deepEqual((await anonymous.get(`/v1/imagefile${path}`)).body, sif, path)
  }
  for (const [path, body, id] of [
    ['/v1/entities', entityOf(''), 'library'],
    ['/v1/collections', collectionOf('', 'base'), 'library/base'],
    ['/v1/collections', collectionOf('library', 'base'), 'library/base'],
    ['/v1/containers', containerOf('library/base', 'alpine'), 'library/base/alpine'],
  ] as const) {
    assert.equal((await admin.post(path, body)).json.data?.id, id, path)
  }
})

test('slashes are accepted raw and as %2F', async () => {
  const sif = makeSif({ seed: 'slashes' })
  await owner.push('owner/raw/tool', 'latest', sif)
  const same = [
    ['/v1/collections/owner/raw/_containers', '/v1/collections/owner%2Fraw/_containers'],
    ['/v1/collections/owner/raw', '/v1/collections/owner%2fraw'],
    ['/v1/containers/owner/raw/tool', '/v1/containers/owner%2Fraw%2Ftool'],
    ['/v1/containers/owner/raw/tool/_images', '/v1/containers/owner%2Fraw%2Ftool/_images'],
    ['/v1/images/owner/raw/tool:latest', '/v1/images/owner%2Fraw%2Ftool:latest'],
    ['/v1/images/owner/raw/tool:latest', '/v1/images/owner%2Fraw%2Ftool%3Alatest'],
    ['/v2/tags/owner/raw/tool', '/v2/tags/owner%2Fraw%2Ftool'],
    ['/v1/imagefile/owner/raw/tool:latest', '/v1/imagefile/owner%2Fraw%2Ftool:latest'],
  ] as const
  for (const [raw, escaped] of same) {
    const [one, two] = [await anonymous.get(raw), await anonymous.get(escaped)]
    assert.equal(one.status, 200, raw)
    if (raw.includes('imagefile')) assert.deepEqual(two.body, sif)
    else assert.deepEqual(withoutCounts(two.json), withoutCounts(one.json))
  }
})

test('lists are complete and sorted', async () => {
  const user = await server.user('lister')
  const sif = makeSif({ seed: 'lister' })
  await user.push('lister/b/two', 'latest', sif)
  await user.push('lister/a/one', 'v1', sif)
  await user.push('lister/b/one', undefined, sif)
  const names = async (path: string): Promise<string[]> =>
    (await anonymous.get(path)).json.data.map((one: { id: string }) => one.id)
  assert.ok((await names('/v1/entities')).includes('lister'))
  assert.deepEqual(await names('/v1/entities/lister/_collections'), ['lister/a', 'lister/b'])
  assert.deepEqual(await names('/v1/collections/lister/b/_containers'), [
    'lister/b/one',
    'lister/b/two',
  ])
  assert.deepEqual(await names('/v1/containers/lister/b/two/_images'), [
    `lister/b/two:${libraryHash(sif)}`,
  ])
  for (const path of [
    '/v1/entities/nobody/_collections',
    '/v1/collections/lister/none/_containers',
    '/v1/containers/lister/b/none/_images',
  ]) {
    assertProblem(await anonymous.get(path), 404)
  }
})

function withoutCounts(json: unknown): unknown {
  return JSON.parse(
    JSON.stringify(json).replace(/"(downloadCount|containerDownloads)":\d+/g, '"x":0'),
  )
}

/** How many rows there are of everything that a request may make. */
async function places(): Promise<object[]> {
  return await server.db.query(sql`
    select (select count(*) from entities) as entities,
      (select count(*) from collections) as collections,
      (select count(*) from repositories) as repositories, (select count(*) from images) as images,
      (select count(*) from uploads) as uploads, (select count(*) from audit) as audit`)
}
