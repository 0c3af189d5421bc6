import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { sql } from '../../server/database.ts'
import { assertProblem, Client } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after })
const owner = await server.account('owner')
const basic = Buffer.from('owner:owner-password').toString('base64')

async function tokenFor(scope: string): Promise<Client> {
  const reply = await server.anonymous.send('POST', '/api/v1/tokens', {
    headers: { authorization: `Basic ${basic}` },
    body: JSON.stringify({ label: scope, scope }),
  })
  assert.equal(reply.status, 201, reply.body.toString())
  const { token, id } = reply.json.data
  return new Client(server.url, { name: 'owner', accountId: '', token, tokenId: id })
}

test('a token for pulling reads what its owner reads, and changes nothing', async () => {
  await owner.post('/v1/collections', { entity: 'owner', name: 'hidden', private: true })
  await owner.push('owner/hidden/tool', 'latest', makeSif({ seed: 'scope' }))
  for (const scope of ['pull', 'build']) {
    const client = await tokenFor(scope)
    assert.equal((await client.get('/v1/token-status')).status, 200)
    assert.equal((await client.get('/v1/imagefile/owner/hidden/tool:latest')).status, 200)
    const changes = [
      client.post('/v1/images', { hash: `sha256.${'0'.repeat(64)}`, container: 'owner/new/x' }),
      client.post('/v1/collections', { entity: 'owner', name: 'other' }),
      client.delete('/v1/images/owner/hidden/tool:latest'),
      client.post('/v2/tags/owner/hidden/tool', {
        Arch: 'amd64',
        Tag: 'x',
        ImageID: `owner/hidden/tool:sha256.${'0'.repeat(64)}`,
      }),
      client.get('/api/v1/tokens'),
      client.delete(`/api/v1/tokens/${owner.credentials?.tokenId}`),
      client.put('/api/v1/collections/owner/hidden/access', { private: false }),
    ]
    for (const reply of await Promise.all(changes)) {
      assertProblem(reply, 403, /This access token is only for pulling/)
    }
  }
})

test('the scope is in the list and in the token; another one is refused', async () => {
  const client = await tokenFor('pull')
  const [, payload = ''] = (client.credentials?.token ?? '').split('.')
  assert.equal(JSON.parse(Buffer.from(payload, 'base64url').toString()).scope, 'pull')
  const { data } = (await owner.get('/api/v1/tokens')).json
  const scopes = new Set(data.map((one: { scope: string }) => one.scope))
  assert.ok(scopes.has('pull') && scopes.has('all'))
  const bad = await server.anonymous.send('POST', '/api/v1/tokens', {
    headers: { authorization: `Basic ${basic}` },
    body: '{"scope":"root"}',
  })
  assertProblem(bad, 400, /scope/)
})

test('from 30 days before its end a token says so', async () => {
  const client = await tokenFor('all')
  const id = client.credentials?.tokenId ?? ''
  const at = async (days: number) => {
    await server.db.query(sql`
      update tokens set expires_at = now() + make_interval(days => ${days}) where id = ${id}`)
    const reply = await client.get('/v1/rbac/users/current')
    return { header: reply.headers['berth-token-expires'], email: reply.json.email as string }
  }
  assert.deepEqual(await at(31), { header: undefined, email: '' })
  const late = await at(29)
  assert.match(String(late.header), /^\d{4}-\d\d-\d\dT/)
  assert.match(late.email, /^your access token ends on \d{4}-\d\d-\d\d, get a new one with get_s/)
  await server.db.query(sql`update accounts set email = 'o@example.org' where name = 'owner'`)
  assert.match((await at(1)).email, /^o@example\.org; your access token ends on /)
})
