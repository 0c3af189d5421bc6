import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { replaceMemberships } from '../../server/accounts/groups.ts'
import { assertProblem } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after })
const owner = await server.user('owner')
const friend = await server.user('friend')
const member = await server.user('member')
const stranger = await server.user('stranger')
await server.appliance.database.transaction(async (tx) => {
  await replaceMemberships(tx, member.credentials?.accountId ?? '', ['lab'])
})
const path = '/api/v1/collections/owner/secret/access'
await owner.push('owner/secret/tool', 'latest', makeSif({ seed: 'secret' }))

test('a collection is opened to the accounts and groups that its owner names', async () => {
  const wanted = { private: true, accounts: ['friend'], groups: ['LAB'] }
  const set = await owner.put(path, wanted)
  assert.deepEqual(set.json.data, { private: true, accounts: ['friend'], groups: ['lab'] })
  assert.deepEqual((await owner.get(path)).json.data, set.json.data)
  for (const reader of [friend, member]) {
    assert.equal((await reader.get('/v1/images/owner/secret/tool:latest')).status, 200)
    assert.equal((await reader.get('/v1/imagefile/owner/secret/tool:latest')).status, 200)
    const { data } = (await reader.get('/v1/search?value=secret')).json
    assert.equal(data.image.length, 1)
    assertProblem(await reader.delete('/v1/images/owner/secret/tool:latest'), 403)
    // Whom else the owner lets in is not theirs to know, nor to change.
    assertProblem(await reader.get(path), 403)
    assertProblem(await reader.put(path, { private: false }), 403)
  }
  for (const other of [stranger, server.anonymous]) {
    assertProblem(await other.get('/v1/images/owner/secret/tool:latest'), 404)
    assertProblem(await other.get(path), 404)
    const { data } = (await other.get('/v1/search?value=secret')).json
    assert.deepEqual([data.collection, data.container, data.image], [[], [], []])
  }
})

test('what is set replaces what was set, with the next request', async () => {
  await owner.put(path, { private: true, accounts: ['stranger'] })
  assert.equal((await stranger.get('/v1/collections/owner/secret')).status, 200)
  assertProblem(await friend.get('/v1/collections/owner/secret'), 404)
  await owner.put(path, { private: false })
  assert.equal((await server.anonymous.get('/v1/collections/owner/secret')).status, 200)
})

test('names that nobody has are refused, and change nothing', async () => {
  await owner.put(path, { private: true, accounts: ['friend'] })
  const typo = await owner.put(path, { private: true, accounts: ['freind'] })
  assertProblem(typo, 400, /no account "freind".*first sign-in/)
  assertProblem(await owner.put(path, { private: true, groups: ['bal'] }), 400, /no group "bal"/)
  for (const bad of [{}, { private: 'yes' }, { private: true, accounts: 'friend' }, { x: 1 }]) {
    assertProblem(await owner.put(path, bad), 400)
  }
  assert.deepEqual((await owner.get(path)).json.data.accounts, ['friend'])
})

test('a collection that is not there, and both spellings of the slash', async () => {
  assertProblem(await owner.get('/api/v1/collections/owner/absent/access'), 404)
  assert.equal((await owner.get('/api/v1/collections/owner%2Fsecret/access')).status, 200)
})
