import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { sql } from '../../server/database.ts'
import { assertProblem, Client } from '../support/client.ts'
import type { Reply } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const settings = { tokens: { per_account: 3 }, library: { part_size: 65_536 } }
const server = await startServer({ after }, { settings })
const { anonymous } = server
const alice = await server.account('alice')

test('live tokens are listed, to their owner alone, by token or password', async () => {
  const [one, other] = [await server.user('lister'), await server.user('stranger')]
  const second = await server.signIn('lister')
  const ids = (reply: Reply): string[] => reply.json.data.map((token: { id: string }) => token.id)
  const both = [one, second].map((client) => String(client.credentials?.tokenId))
  assert.deepEqual(ids(await one.get('/api/v1/tokens')).toSorted(), both.toSorted())
  assert.deepEqual(ids(await other.get('/api/v1/tokens')), [other.credentials?.tokenId])
  await second.delete(`/api/v1/tokens/${one.credentials?.tokenId}`)
  assert.deepEqual(ids(await second.get('/api/v1/tokens')), [second.credentials?.tokenId])
  const all = await second.get('/api/v1/tokens?all=true')
  for (const { id, isRevoked } of all.json.data) {
    assert.equal(isRevoked, id === one.credentials?.tokenId)
  }
  assert.deepEqual(ids(all).toSorted(), both.toSorted())
  const byPassword = await anonymous.get('/api/v1/tokens', {
    authorization: basic('alice', 'alice-password'),
  })
  assert.equal(byPassword.status, 200)
  assertProblem(await anonymous.get('/api/v1/tokens'), 401)
  assertProblem(await anonymous.get('/api/v1/tokens', { authorization: basic('alice', 'x') }), 401)
})

test('a token is revoked by its owner or an administrator, at once and for good', async () => {
  const [owner, other] = [await server.user('revoker'), await server.user('meddler')]
  const admin = await server.user('keeper', { isAdmin: true })
  const spare = await server.signIn('revoker')
  const path = `/api/v1/tokens/${spare.credentials?.tokenId}`
  assertProblem(await anonymous.delete(path), 401)
  assertProblem(await other.delete(path), 404)
  assert.equal((await spare.get('/v1/token-status')).status, 200)
  for (let time = 0; time < 2; time += 1) assert.equal((await owner.delete(path)).status, 200)
  assertProblem(await spare.get('/v1/token-status'), 404)
  assertProblem(await spare.post('/v1/entities', { name: 'revoker' }), 401, /revoked/)
  assert.equal((await admin.delete(`/api/v1/tokens/${owner.credentials?.tokenId}`)).status, 200)
  assertProblem(await owner.get('/v1/token-status'), 404)
  for (const id of ['0'.repeat(24), 'x', '%00', '%ff', '..', 'x'.repeat(3000)]) {
    const { status } = await admin.delete(`/api/v1/tokens/${id}`)
    assert.ok(status === 404 || status === 400, `${id.slice(0, 30)}: ${status}`)
  }
})

test('revocation ends an upload in progress', async () => {
  const user = await server.user('uploader')
  const again = await server.signIn('uploader')
  const sif = makeSif({ seed: 'uploader', payload: 200_000 })
  const upload = await user.openParts('uploader/demo/tool', sif)
  const sent = await user.sendPart(upload, 1)
  const url = await user.partUrl(upload, 2)
  await again.delete(`/api/v1/tokens/${user.credentials?.tokenId}`)
  assertProblem(await anonymous.upload(url, sif.subarray(65_536, 131_072)), 404)
  assertProblem(await user.completeParts(upload, [sent]), 401)
  assert.notEqual((await again.completeParts(upload, [sent])).status, 200)
  await server.db.query(sql`update uploads set active_at = now() - interval '1 year'`)
  await server.appliance.sweep()
})

test('an account has a limit of live tokens, also for requests at the same time', async () => {
  const user = await server.user('hoarder')
  const replies = await Promise.allSettled(
    Array.from({ length: 6 }, async () => await server.signIn('hoarder')),
  )
  assert.equal(replies.filter((reply) => reply.status === 'fulfilled').length, 2)
  await revokeAllBut(alice)
  await issue('alice', 'alice-password')
  await issue('alice', 'alice-password')
  assertProblem(await issue('alice', 'alice-password'), 409, /3 .*revoke/)
  assert.equal((await user.get('/v1/token-status')).status, 200)
  await revokeAllBut(alice)
})

test('tokens outlive a new signing key and a new host name', async (t) => {
  const first = await startServer(t)
  const user = await first.user('veteran')
  const before = (await first.anonymous.get('/v1/keys/public')).json
  rmSync(join(first.dataDir, 'secrets/token-signing-key.pem'))
  const second = await first.restart()
  assert.notEqual(second.url, first.url)
  const after = (await second.anonymous.get('/v1/keys/public')).json
  assert.notEqual(after.keys[0].kid, before.keys[0].kid)
  assert.equal((await new Client(second.url, user.credentials).get('/v1/token-status')).status, 200)
})

function basic(name: string, password: string): string {
  return `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`
}

async function issue(name: string, password: string): Promise<Reply> {
  const headers = { authorization: basic(name, password) }
  return await anonymous.send('POST', '/api/v1/tokens', { headers, body: '{}' })
}

async function revokeAllBut(user: Client): Promise<void> {
  for (const { id } of (await user.get('/api/v1/tokens')).json.data) {
    if (id !== user.credentials?.tokenId) await user.delete(`/api/v1/tokens/${id}`)
  }
}
