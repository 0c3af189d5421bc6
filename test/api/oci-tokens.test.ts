/** Signing in to the registry: the challenge, the token endpoint, and what a token grants. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import type { Reply } from '../support/client.ts'
import { emptyConfig, pushBlob, putManifest } from '../support/oci-push.ts'
import {
  assertRefused,
  makeManifest,
  withRegistryToken,
  withToken,
} from '../support/registry-client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after })
const { anonymous } = server
const user = await server.account('tess')
const other = await server.user('otto')
const token = user.credentials?.token ?? ''
const name = 'tess/demo/tool'
await pushBlob(user, name, emptyConfig)
await putManifest(user, name, 'latest', makeManifest())

function basic(name: string, password: string): Record<string, string> {
  return { authorization: `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}` }
}

async function post(fields: readonly (readonly [string, string])[]): Promise<Reply> {
  const body = new URLSearchParams(fields.map(([name, value]) => [name, value])).toString()
  const headers = { 'content-type': 'application/x-www-form-urlencoded' }
  return await anonymous.send('POST', '/registry/token', { headers, body })
}

interface Access {
  readonly name: string
  readonly actions: readonly string[]
}

/** What a registry token says that it grants. */
function accessIn(registryToken: string): readonly Access[] {
  const [, payload = ''] = registryToken.split('.')
  return JSON.parse(Buffer.from(payload, 'base64url').toString()).access
}

function challengeOf(reply: Reply): string {
  return String(reply.headers['www-authenticate'])
}

test('/v2/ tells nobody where to sign in, and the signed-in that they are', async () => {
  const realm = `Bearer realm="${server.url}/registry/token",service="${new URL(server.url).host}"`
  for (const path of ['/v2/', '/v2']) {
    const reply = await anonymous.get(path)
    assertRefused(reply, 401, 'UNAUTHORIZED')
    assert.equal(challengeOf(reply), realm)
    assert.equal(reply.headers['docker-distribution-api-version'], 'registry/2.0')
    assert.equal((await user.get(path)).status, 200)
    assert.equal((await anonymous.get(path, basic('tess', token))).status, 200)
  }
  const anonymousToken = (await anonymous.get('/registry/token')).json.token
  assert.equal((await withToken(anonymous, anonymousToken).get('/v2/')).status, 200)
})

test('the challenge of an address names the scope that it needs', async () => {
  const scope = `scope="repository:${name}:pull,push"`
  const reply = await anonymous.send('POST', `/v2/${name}/blobs/uploads/`)
  assert.equal(reply.status, 401)
  assert.ok(challengeOf(reply).endsWith(scope), challengeOf(reply))
  const deletion = await anonymous.delete(`/v2/${name}/manifests/latest`)
  assert.ok(challengeOf(deletion).endsWith(`scope="repository:${name}:delete"`))
  const pull = await anonymous.get('/v2/tess/demo/unknown/manifests/latest')
  assert.ok(challengeOf(pull).endsWith('scope="repository:tess/demo/unknown:pull"'))
})

test('a token by GET with HTTP Basic, whose password is an access token', async () => {
  const path = `/registry/token?service=x&scope=repository:${name}:pull`
  const reply = await anonymous.get(path, basic('tess', token))
  assert.equal(reply.status, 200, reply.body.toString())
  assert.equal(reply.headers['cache-control'], 'no-store')
  const { token: issued, access_token, expires_in, issued_at, refresh_token } = reply.json
  assert.equal(access_token, issued)
  assert.ok(expires_in >= 60)
  assert.ok(Math.abs(Date.parse(issued_at) - Date.now()) < 60_000)
  assert.equal(refresh_token, undefined)
  assert.equal((await withToken(user, issued).get(`/v2/${name}/manifests/latest`)).status, 200)
  assert.equal((await anonymous.get(path, basic('TESS', token))).status, 200, 'names have no case')
  const offline = await anonymous.get(`${path}&offline_token=true`, basic('tess', token))
  assert.equal(offline.json.refresh_token, token)
})

test('a token by POST: with the password, then with what was kept of it', async () => {
  const scope = ['scope', `repository:${name}:pull,push`] as const
  const reply = await post([
    ['grant_type', 'password'],
    ['service', 'x'],
    ['client_id', 'test'],
    ['username', 'tess'],
    ['password', token],
    scope,
  ])
  assert.equal(reply.status, 200, reply.body.toString())
  assert.equal(reply.json.scope, `repository:${name}:pull,push`)
  const again = await post([
    ['grant_type', 'refresh_token'],
    ['refresh_token', reply.json.refresh_token],
    scope,
  ])
  assert.equal(again.status, 200)
  const blob = Buffer.from('pushed with a refreshed token')
  assert.equal((await pushBlob(withToken(user, again.json.access_token), name, blob)).status, 201)
})

test('wrong credentials are told so, never taken for nobody', async () => {
  const jwt = (await withRegistryToken(user, [])).credentials?.token ?? ''
  const pairs: readonly (readonly [string, string])[] = [
    ['tess', 'wrong'],
    ['tess', ''],
    ['tess', 'tess-password'],
    ['otto', token],
    ['', token],
    ['tess', `${token}x`],
    ['tess', jwt],
  ]
  for (const [who, password] of pairs) {
    const headers = basic(who, password)
    assertRefused(await anonymous.get('/registry/token', headers), 401, 'UNAUTHORIZED', /token/)
    assertRefused(await anonymous.get('/v2/', headers), 401, 'UNAUTHORIZED')
    const pull = await anonymous.get(`/v2/${name}/manifests/latest`, headers)
    assertRefused(pull, 401, 'UNAUTHORIZED')
    const form = await post([
      ['grant_type', 'password'],
      ['username', who],
      ['password', password],
    ])
    assertRefused(form, 401, 'UNAUTHORIZED')
  }
  const bearer = await withToken(user, 'nonsense').get('/registry/token')
  assertRefused(bearer, 401, 'UNAUTHORIZED')
  const refresh = await post([
    ['grant_type', 'refresh_token'],
    ['refresh_token', 'nonsense'],
  ])
  assertRefused(refresh, 401, 'UNAUTHORIZED')
})

test('forms that are none', async () => {
  const forms: readonly (readonly (readonly [string, string])[])[] = [
    [],
    [['grant_type', 'client_credentials']],
    [
      ['grant_type', 'password'],
      ['username', 'tess'],
    ],
    [['grant_type', 'refresh_token']],
  ]
  for (const fields of forms) assertRefused(await post(fields), 400, 'UNSUPPORTED')
  const headers = { 'content-type': 'application/x-www-form-urlencoded' }
  const body = `grant_type=password&password=${'x'.repeat(40_000)}`
  const large = await anonymous.send('POST', '/registry/token', { headers, body })
  assert.equal(large.status, 413)
})

const own = (...actions: string[]): Access => ({ name, actions })
const spellings: readonly (readonly [string, readonly Access[]])[] = [
  [`repository:${name}:pull`, [own('pull')]],
  [`repository:${name}:push,pull`, [own('pull', 'push')]],
  [`repository:${name}:*`, [own('pull', 'push', 'delete')]],
  [`repository:${name}:pull,push,delete,admin`, [own('pull', 'push', 'delete')]],
  [`repository(plugin):${name}:pull`, [own('pull')]],
  [
    `repository:${name}:pull repository:tess/demo/more:push`,
    [own('pull'), { name: 'tess/demo/more', actions: ['push'] }],
  ],
  ['repository:tess/short:pull', [{ name: 'tess/default/short', actions: ['pull'] }]],
  ['repository:tess/a/b/c/d:push', [{ name: 'tess/a/b/c/d', actions: ['push'] }]],
  ['repository:otto/demo/tool:pull,push,delete', [{ name: 'otto/demo/tool', actions: ['pull'] }]],
  ['repository:otto/demo/tool:push', []],
  [`repository:${name}:admin`, []],
  ['repository:TESS/demo/tool:pull', []],
  ['repository:tess/../otto/tool:pull', []],
  ['repository::pull', []],
  ['repository:tess', []],
  ['registry:catalog:*', [{ name: 'registry:catalog', actions: ['pull'] }]],
  ['registry:other:*', []],
  ['user:tess:*', []],
  ['*:*:*', []],
  ['', []],
]

for (const [scope, access] of spellings) {
  test(`the scope ${JSON.stringify(scope)} grants ${access.length === 0 ? 'nothing' : 'that'}`, async () => {
    const byGet = await withRegistryToken(user, [scope])
    assert.deepEqual(accessIn(byGet.credentials?.token ?? ''), access)
    const byPost = await post([
      ['grant_type', 'refresh_token'],
      ['refresh_token', token],
      ['scope', scope],
    ])
    assert.deepEqual(accessIn(byPost.json.access_token), access)
  })
}

test('the scope may be repeated, up to a bound', async () => {
  const scopes = Array.from({ length: 40 }, (_, number) => `repository:tess/demo/t${number}:pull`)
  const { credentials } = await withRegistryToken(user, scopes)
  assert.equal(accessIn(credentials?.token ?? '').length, 32)
})

test('a token does what it grants, where it grants it', async () => {
  const pull = await withRegistryToken(user, [`repository:${name}:pull`])
  assert.equal((await pull.get(`/v2/${name}/manifests/latest`)).status, 200)
  const push = await pull.send('POST', `/v2/${name}/blobs/uploads/`)
  assertRefused(push, 401, 'UNAUTHORIZED', /push/)
  assert.ok(challengeOf(push).includes(`scope="repository:${name}:pull,push"`))
  assert.ok(challengeOf(push).includes('error="insufficient_scope"'))
  assertRefused(await pull.delete(`/v2/${name}/manifests/latest`), 401, 'UNAUTHORIZED')
  assertRefused(await pull.get('/v2/tess/demo/other/tags/list'), 401, 'UNAUTHORIZED')

  const pushing = await withRegistryToken(user, [`repository:${name}:pull,push`])
  assert.equal((await pushBlob(pushing, name, Buffer.from('granted'))).status, 201)
  assertRefused(await pushing.delete(`/v2/${name}/manifests/latest`), 401, 'UNAUTHORIZED')
  const elsewhere = await pushing.send('POST', '/v2/tess/demo/elsewhere/blobs/uploads/')
  assertRefused(elsewhere, 401, 'UNAUTHORIZED')

  const all = await withRegistryToken(user, [`repository:${name}:*`])
  await putManifest(all, name, 'gone', makeManifest())
  assert.equal((await all.delete(`/v2/${name}/manifests/gone`)).status, 202)
})

test('the catalog is for tokens that were asked for it', async () => {
  const narrow = await withRegistryToken(user, [`repository:${name}:pull`])
  const refused = await narrow.get('/v2/_catalog')
  assertRefused(refused, 401, 'UNAUTHORIZED')
  assert.ok(challengeOf(refused).includes('scope="registry:catalog:*"'), challengeOf(refused))
  assert.ok(challengeOf(refused).includes('error="insufficient_scope"'))
  const wide = await withRegistryToken(user, ['registry:catalog:*'])
  assert.ok((await wide.get('/v2/_catalog')).json.repositories.includes(name))
  assert.equal((await wide.get(`/v2/${name}/manifests/latest`)).status, 401)
  assert.ok((await user.get('/v2/_catalog')).json.repositories.includes(name))
})

test('a registry token opens nothing but the registry', async () => {
  await user.post('/v1/collections', { entity: 'tess', name: 'hidden', private: true })
  await user.push('tess/hidden/tool', 'latest', makeSif({ seed: 'tess' }))
  const all = await withRegistryToken(user, ['repository:tess/hidden/tool:*'])
  assert.equal((await all.get('/v2/tess/hidden/tool/manifests/latest')).status, 200)
  assert.notEqual((await all.get('/v1/images/tess/hidden/tool:latest')).status, 200)
  assert.equal((await all.get('/api/v1/tokens')).status, 401)
  assert.notEqual((await all.get('/v1/token-status')).status, 200)
  assert.equal((await all.get('/registry/token')).status, 401)
})

test('nobody gets a token for what everybody may: to pull', async () => {
  const nobody = await withRegistryToken(anonymous, [`repository:${name}:pull,push,delete`])
  assert.deepEqual(accessIn(nobody.credentials?.token ?? ''), [own('pull')])
  assert.equal((await nobody.get(`/v2/${name}/manifests/latest`)).status, 200)
  assert.equal((await anonymous.get(`/v2/${name}/manifests/latest`)).status, 200)
  assert.equal((await nobody.send('POST', `/v2/${name}/blobs/uploads/`)).status, 401)
  assert.equal((await other.send('POST', `/v2/${name}/blobs/uploads/`)).status, 403)
})

test('an access token that is for pulling does not push here either', async () => {
  const reply = await anonymous.send('POST', '/api/v1/tokens', {
    headers: basic('tess', 'tess-password'),
    body: '{"label": "pull", "scope": "pull"}',
  })
  const pulling = withToken(user, reply.json.data.token)
  const scope = `repository:${name}:pull,push,delete`
  const derived = await withRegistryToken(pulling, [scope])
  assert.deepEqual(accessIn(derived.credentials?.token ?? ''), [own('pull')])
  assert.equal((await derived.get(`/v2/${name}/manifests/latest`)).status, 200)
  assert.equal((await derived.send('POST', `/v2/${name}/blobs/uploads/`)).status, 401)
  assertRefused(await pulling.send('POST', `/v2/${name}/blobs/uploads/`), 403, 'DENIED')
  assertRefused(await putManifest(pulling, name, 'x', makeManifest()), 403, 'DENIED')
  assertRefused(await pulling.delete(`/v2/${name}/manifests/latest`), 403, 'DENIED')
  // A HEAD claims blobs for pushers only, and is reading.
  assert.equal((await pulling.send('HEAD', `/v2/${name}/manifests/latest`)).status, 200)
})

test('where nobody may pull, every address wants a sign-in, and no token is had without one', async (t) => {
  const settings = { access: { anonymous_pull: false }, storage: { keep_free: 0 } }
  const closed = await startServer(t, { settings })
  const user = await closed.user('tess')
  await pushBlob(user, name, emptyConfig)
  await putManifest(user, name, 'latest', makeManifest())
  const { anonymous } = closed
  const paths = [
    '/v2/',
    '/v2/_catalog',
    `/v2/${name}/tags/list`,
    `/v2/${name}/manifests/latest`,
    `/v2/${name}/referrers/${makeManifest().digest}`,
    '/registry/token',
    `/registry/token?scope=repository:${name}:pull`,
  ]
  for (const path of paths) assertRefused(await anonymous.get(path), 401, 'UNAUTHORIZED')
  const signedIn = await withRegistryToken(user, [`repository:${name}:pull`])
  assert.equal((await signedIn.get(`/v2/${name}/manifests/latest`)).status, 200)
})
