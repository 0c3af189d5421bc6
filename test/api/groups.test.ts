import assert from 'node:assert/strict'
import test from 'node:test'

import { replaceMemberships } from '../../server/accounts/groups.ts'
import { sql } from '../../server/database.ts'
import { assertProblem } from '../support/client.ts'
import type { Client } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import type { TestServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const settings = {
  groups: { spaces: ['climate', 'proj-*'], quota: '20 MiB', quotas: { 'proj-big': '40 MiB' } },
}

/** What re-validation and signing in do with the groups that the directory names. */
async function setGroups(server: TestServer, who: Client, names: readonly string[]) {
  return await server.appliance.database.transaction(
    async (tx) => await replaceMemberships(tx, who.credentials?.accountId ?? '', names),
  )
}

test('a group of the directory owns the space of its name, and its members push there', async (t) => {
  const server = await startServer(t, { settings })
  const [ann, ben, eve] = [
    await server.user('ann'),
    await server.user('ben'),
    await server.user('eve'),
  ]
  await setGroups(server, ann, ['Climate', 'users'])
  await setGroups(server, ben, ['climate'])
  await setGroups(server, eve, ['users'])
  const sif = makeSif({ seed: 'group' })
  assert.equal((await ann.push('climate/models/cesm', 'latest', sif)).status, 200)
  assert.equal((await ben.push('climate/models/wrf', 'latest', makeSif({ seed: 'b' }))).status, 200)
  for (const who of [eve, server.anonymous]) {
    assert.equal((await who.get('/v1/images/climate/models/cesm:latest')).status, 200)
  }
  assertProblem(await eve.post('/v1/entities', { name: 'climate' }), 403, /not push to "climate"/)
  assertProblem(await eve.delete('/v1/images/climate/models/cesm:latest'), 403)
  assert.equal((await ben.delete('/v1/images/climate/models/cesm:latest')).status, 200)
  const { data } = (await ann.get('/v1/entities/climate')).json
  assert.equal(data.owner, 'climate')
  assert.equal(data.quota, 20 * 2 ** 20)
})

test('whoever leaves the group loses the right with the next request, and gets it back', async (t) => {
  const server = await startServer(t, { settings })
  const ann = await server.user('ann')
  await setGroups(server, ann, ['climate', 'other'])
  await ann.push('climate/a/tool', 'latest', makeSif({ seed: 'a' }))
  await ann.post('/v1/collections', { entity: 'climate', name: 'inner', private: true })
  assert.deepEqual(await setGroups(server, ann, ['other']), { joined: [], left: ['climate'] })
  assertProblem(await ann.delete('/v1/images/climate/a/tool:latest'), 403)
  assertProblem(await ann.get('/v1/collections/climate/inner'), 404)
  assert.deepEqual(await setGroups(server, ann, ['climate']), {
    joined: ['climate'],
    left: ['other'],
  })
  assert.equal((await ann.get('/v1/collections/climate/inner')).status, 200)
})

test('a group that the configuration does not name owns nothing', async (t) => {
  const server = await startServer(t, { settings })
  const ann = await server.user('ann')
  await setGroups(server, ann, ['staff', 'proj-big', 'climate.x'])
  for (const name of ['staff', 'climate.x', 'climate']) {
    assertProblem(await ann.post('/v1/entities', { name }), 403)
  }
  const made = await ann.post('/v1/entities', { name: 'proj-big' })
  assert.equal(made.json.data.quota, 40 * 2 ** 20)
})

test('a space that an account owns already is not taken over by a group', async (t) => {
  const server = await startServer(t, { settings })
  const climate = await server.user('proj-own')
  const ann = await server.user('ann')
  await server.db.query(sql`
    insert into entities (name, owner_id) values ('proj-own', ${climate.credentials?.accountId})`)
  await setGroups(server, ann, ['proj-own'])
  assertProblem(await ann.post('/v1/entities', { name: 'proj-own' }), 403)
  assert.equal((await climate.post('/v1/entities', { name: 'proj-own' })).status, 200)
})

test('names of groups that nobody could type are left out', async (t) => {
  const server = await startServer(t, { settings })
  const ann = await server.user('ann')
  const names = ['', 'a\nb', 'x'.repeat(300), 'Größe', 'größe', 'ok']
  assert.deepEqual(await setGroups(server, ann, names), { joined: ['größe', 'ok'], left: [] })
})

test('usage: the own space first, then those of the groups; with a token or the password', async (t) => {
  const server = await startServer(t, { settings })
  const ann = await server.account('ann')
  await setGroups(server, ann, ['climate'])
  const none = { kind: 'user', usedBytes: 0, reservedBytes: 0, repositories: 0 }
  const quotaBytes = 100 * 2 ** 30
  assert.deepEqual((await ann.get('/api/v1/usage')).json.data, [
    { entity: 'ann', ...none, quotaBytes },
  ])
  const sif = makeSif({ seed: 'usage' })
  await ann.push('climate/models/cesm', 'latest', sif)
  await ann.push('ann/tools/one', 'latest', sif)
  await ann.push('ann/tools/two', 'latest', sif)
  const basic = Buffer.from('ann:ann-password').toString('base64')
  const headers = { authorization: `Basic ${basic}` }
  const byPassword = await server.anonymous.send('GET', '/api/v1/usage', { headers })
  assert.deepEqual(byPassword.json.data, [
    {
      entity: 'ann',
      kind: 'user',
      usedBytes: sif.length,
      reservedBytes: 0,
      quotaBytes,
      repositories: 2,
    },
    {
      entity: 'climate',
      kind: 'group',
      usedBytes: sif.length,
      reservedBytes: 0,
      quotaBytes: 20 * 2 ** 20,
      repositories: 1,
    },
  ])
  assertProblem(await server.anonymous.get('/api/v1/usage'), 401)
})
