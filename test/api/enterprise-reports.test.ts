/** What the library tells about itself: health, counts, and reports of who holds how much. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { sql } from '../../server/database.ts'
import { assertProblem } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after })
const { anonymous } = server
const alice = await server.user('alice')
const bob = await server.user('bob')
const newcomer = await server.user('newcomer')
const admin = await server.user('root', { isAdmin: true })
const one = makeSif({ seed: 1, payload: 10_000 })
const two = makeSif({ seed: 2, payload: 20_000 })

await alice.push('alice/tools/bwa', 'latest', one)
await alice.push('alice/tools/bwa', 'v2', two)
// The same bytes again: counted twice where it is listed, once where it is paid.
await alice.push('alice/tools/copy', 'latest', one)
await alice.post('/v1/collections', { name: 'secret', entity: 'alice', private: true })
await alice.push('alice/secret/plan', 'latest', one)
await bob.push('bob/data/set', 'latest', two)

test('reports hold everything for an administrator', async () => {
  const entities = await admin.get('/v1/reports/entities')
  assert.equal(entities.status, 200)
  assert.deepEqual(entities.json.data, [
    entityRow('alice', one.length + two.length, 2),
    entityRow('bob', two.length, 1),
  ])
  const collections = await admin.get('/v1/reports/collections')
  assert.deepEqual(collections.json.data, [
    collectionRow('alice', 'secret', one.length, 1),
    collectionRow('alice', 'tools', one.length + two.length, 2),
    collectionRow('bob', 'data', two.length, 1),
  ])
  const containers = await admin.get('/v1/reports/containers')
  assert.deepEqual(containers.json.data, [
    containerRow('alice', 'secret', 'plan', one.length, 1),
    containerRow('alice', 'tools', 'bwa', one.length + two.length, 2),
    containerRow('alice', 'tools', 'copy', one.length, 1),
    containerRow('bob', 'data', 'set', two.length, 1),
  ])
})

test('for others reports hold what is theirs', async () => {
  const expected = [entityRow('bob', two.length, 1)]
  assert.deepEqual((await bob.get('/v1/reports/entities')).json.data, expected)
  const collections = (await bob.get('/v1/reports/collections')).json.data
  assert.deepEqual(collections, [collectionRow('bob', 'data', two.length, 1)])
  const containers = (await bob.get('/v1/reports/containers')).json.data
  assert.deepEqual(containers, [containerRow('bob', 'data', 'set', two.length, 1)])
  const alices = (await alice.get('/v1/reports/containers')).json.data
  assert.equal(alices.length, 3)
})

test('reports are for people who are signed in, and may be empty', async () => {
  for (const report of ['entities', 'collections', 'containers']) {
    assertProblem(await anonymous.get(`/v1/reports/${report}`), 401)
    const reply = await newcomer.get(`/v1/reports/${report}`)
    assert.equal(reply.status, 200)
    assert.deepEqual(reply.json, { data: [] })
  }
  assertProblem(await admin.get('/v1/reports/images'), 404)
})

test("a group's space is in the reports of its members", async (t) => {
  const own = await startServer(t)
  const member = await own.user('member')
  const root = await own.user('root', { isAdmin: true })
  await root.push('chem/tools/orca', 'latest', one)
  const group = '0'.repeat(23).concat('a')
  await own.db.query(sql`insert into groups (id, name) values (${group}, 'chem')`)
  await own.db.query(
    sql`insert into memberships (account_id, group_id) values (${member.credentials?.accountId}, ${group})`,
  )
  assert.deepEqual((await member.get('/v1/reports/entities')).json.data, [])
  await own.db.query(sql`update entities set owner_group_id = ${group} where name = 'chem'`)
  const rows = (await member.get('/v1/reports/entities')).json.data
  assert.deepEqual(rows, [entityRow('chem', one.length, 1)])
})

test('counts are bare, open, and of what the caller may see', async () => {
  const everything = {
    entitiesStored: 2,
    collectionsStored: 3,
    containersStored: 4,
    imagesStored: 5,
  }
  const open = { entitiesStored: 2, collectionsStored: 2, containersStored: 3, imagesStored: 4 }
  for (const [client, counts] of [
    [admin, everything],
    [alice, everything],
    [bob, open],
    [anonymous, open],
  ] as const) {
    const reply = await client.get('/v1/stats/library')
    assert.equal(reply.status, 200)
    assert.deepEqual(reply.json, counts, client.name)
  }
})

test('an announced image without bytes is not counted', async () => {
  await bob.announce('bob/data/announced', makeSif({ seed: 9 }))
  const rows = (await bob.get('/v1/reports/containers')).json.data
  assert.deepEqual(rows[0], containerRow('bob', 'data', 'announced', 0, 0))
  assert.equal((await anonymous.get('/v1/stats/library')).json.imagesStored, 4)
})

test('health is bare and says who asks', async () => {
  const reply = await anonymous.get('/v1/health')
  assert.equal(reply.status, 200)
  assert.deepEqual(Object.keys(reply.json), ['version', 'apiVersion'])
  const { version } = (await anonymous.get('/version')).json.data
  assert.equal(reply.json.version, version)
  assert.equal((await alice.get('/v1/health')).json.user, alice.credentials?.accountId)
})

test('where nothing can be read without a token, health is open and counts are not', async (t) => {
  const closed = await startServer(t, { settings: { access: { anonymous_pull: false } } })
  assert.equal((await closed.anonymous.get('/v1/health')).status, 200)
  assertProblem(await closed.anonymous.get('/v1/stats/library'), 401)
  const user = await closed.user('alice')
  assert.equal((await user.get('/v1/stats/library')).status, 200)
})

function entityRow(entity: string, size: number, collectionCount: number): object {
  return { path: entity, entityID: entity, entityName: entity, size, collectionCount }
}

function collectionRow(
  entity: string,
  collection: string,
  size: number,
  containerCount: number,
): object {
  const path = `${entity}/${collection}`
  const above = { entityID: entity, entityName: entity }
  return { path, ...above, collectionID: path, collectionName: collection, size, containerCount }
}

function containerRow(
  entity: string,
  collection: string,
  container: string,
  size: number,
  imageCount: number,
): object {
  const path = `${entity}/${collection}/${container}`
  return {
    path,
    entityID: entity,
    entityName: entity,
    collectionID: `${entity}/${collection}`,
    collectionName: collection,
    containerID: path,
    containerName: container,
    size,
    imageCount,
  }
}
