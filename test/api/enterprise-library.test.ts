/**
 * The library's objects as Go clients with generated types read them: each member there, of the
 * right JSON type (no fraction, no exponent, no null), through references with %2F.
 */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { assertProblem, libraryHash } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

type Kind = 'string' | 'date' | 'boolean' | 'integer' | 'strings' | 'map' | 'maps'

// enterprise.md 4
const entity = {
  id: 'string',
  name: 'string',
  owner: 'string',
  createdAt: 'date',
  updatedAt: 'date',
  defaultPrivate: 'boolean',
} as const
const collection = {
  id: 'string',
  name: 'string',
  entity: 'string',
  entityName: 'string',
  containers: 'strings',
} as const
const container = {
  id: 'string',
  name: 'string',
  description: 'string',
  entity: 'string',
  entityName: 'string',
  collection: 'string',
  collectionName: 'string',
  createdAt: 'date',
  updatedAt: 'date',
  images: 'strings',
  imageTags: 'map',
  archTags: 'maps',
  size: 'integer',
  downloadCount: 'integer',
  deleted: 'boolean',
} as const
const image = {
  id: 'string',
  hash: 'string',
  description: 'string',
  entity: 'string',
  entityName: 'string',
  collection: 'string',
  collectionName: 'string',
  container: 'string',
  containerName: 'string',
  arch: 'string',
  tags: 'strings',
  size: 'integer',
  signed: 'boolean',
  encrypted: 'boolean',
  uploaded: 'boolean',
  deleted: 'boolean',
} as const

const predicates: Readonly<Record<Kind, (value: unknown) => boolean>> = {
  string: (value) => typeof value === 'string',
  boolean: (value) => typeof value === 'boolean',
  date: (value) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(String(value)),
  integer: (value) => Number.isSafeInteger(value),
  strings: (value) => Array.isArray(value) && value.every(predicates.string),
  map: (value) => isObject(value) && Object.values(value).every(predicates.string),
  maps: (value) => isObject(value) && Object.values(value).every(predicates.map),
}

const server = await startServer({ after })
const { anonymous } = server
const alice = await server.user('alice')
const amd64 = makeSif({ seed: 1 })
const arm64 = makeSif({ seed: 2, arch: 'arm64' })
await alice.push('alice/tools/bwa', 'latest', amd64)
await alice.push('alice/tools/bwa', undefined, arm64)
await alice.tag('alice/tools/bwa', 'latest', arm64, 'arm64')
await alice.push('alice/tools/bare', undefined, amd64)
const id = `alice%2Ftools%2Fbwa:${libraryHash(amd64)}`

for (const [path, shape] of [
  ['/v1/entities', entity],
  ['/v1/entities/alice', entity],
  ['/v1/entities/alice/_collections', collection],
  ['/v1/collections/alice%2Ftools', collection],
  ['/v1/collections/alice/tools', collection],
  ['/v1/collections/alice%2Ftools/_containers', container],
  ['/v1/collections/alice/tools/_containers', container],
  ['/v1/containers/alice%2Ftools%2Fbwa', container],
  ['/v1/containers/alice/tools/bwa', container],
  ['/v1/containers/alice%2Ftools%2Fbare', container],
  ['/v1/containers/alice%2Ftools%2Fbwa/_images', image],
  ['/v1/containers/alice/tools/bwa/_images', image],
  [`/v1/images/${id}`, image],
  ['/v1/images/alice%2Ftools%2Fbwa:latest', image],
  ['/v1/images/alice/tools/bwa:latest', image],
] as const) {
  test(`${path} has every member, of its type`, async () => {
    const reply = await anonymous.get(path, { accept: 'application/json' })
    assert.equal(reply.status, 200, reply.body.toString())
    assert.match(String(reply.headers['content-type']), /^application\/json\b/)
    const objects = Array.isArray(reply.json.data) ? reply.json.data : [reply.json.data]
    assert.ok(objects.length > 0)
    for (const object of objects) assertShape(object, shape)
  })
}

test('counts and maps are those of what was pushed', async () => {
  const listed = await anonymous.get('/v1/collections/alice%2Ftools/_containers')
  const [bare, bwa] = listed.json.data
  assert.deepEqual([bare.images.length, Object.keys(bare.imageTags).length], [1, 0])
  assert.deepEqual([bwa.images.length, Object.keys(bwa.imageTags)], [2, ['latest']])
  assert.deepEqual(Object.keys(bwa.archTags).toSorted(), ['amd64', 'arm64'])
  const { containers } = (await anonymous.get('/v1/collections/alice/tools')).json.data
  assert.deepEqual(containers, ['alice/tools/bare', 'alice/tools/bwa'])
})

test('what is not there is 404, and what has no form of a name is 400', async () => {
  for (const path of [
    '/v1/entities/nobody',
    '/v1/entities/nobody/_collections',
    '/v1/collections/alice%2Fnone',
    '/v1/collections/alice%2Fnone/_containers',
    '/v1/containers/alice%2Ftools%2Fnone',
    '/v1/containers/alice%2Ftools%2Fnone/_images',
    '/v1/images/alice%2Ftools%2Fbwa:none',
  ]) {
    assertProblem(await anonymous.get(path), 404)
  }
  for (const path of ['/v1/collections/a%2Fb%2Fc/_containers', '/v1/containers/..%2F..%2Fx%2Fy']) {
    assertProblem(await anonymous.get(path), 400)
  }
})

test('an entity without collections and a collection without containers list nothing', async () => {
  const bob = await server.user('bob')
  await bob.post('/v1/entities', { name: 'bob' })
  assert.deepEqual((await bob.get('/v1/entities/bob/_collections')).json, { data: [] })
  await bob.post('/v1/collections', { name: 'empty', entity: 'bob' })
  assert.deepEqual((await bob.get('/v1/collections/bob%2Fempty/_containers')).json, { data: [] })
})

function assertShape(
  object: Readonly<Record<string, unknown>>,
  shape: Readonly<Record<string, Kind>>,
): void {
  for (const [member, kind] of Object.entries(shape)) {
    assert.ok(predicates[kind](object[member]), `${member} is ${JSON.stringify(object[member])}`)
  }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
