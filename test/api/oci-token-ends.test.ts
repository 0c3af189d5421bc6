/** How registry tokens end, and tokens that were never issued (CVE-2025-24976 among them). */
import assert from 'node:assert/strict'
import { createHmac, createPublicKey, generateKeyPairSync } from 'node:crypto'
import test, { after } from 'node:test'
import type { TestContext } from 'node:test'

import { exportJWK, SignJWT } from 'jose'

import { catalogName } from '../../server/accounts/registry-tokens.ts'
import type { RegistryAction } from '../../server/accounts/registry-tokens.ts'
import { signerOf } from '../../server/accounts/signing-key.ts'
import { sql } from '../../server/database.ts'
import type { Client } from '../support/client.ts'
import { digestOf } from '../support/oci-image.ts'
import { emptyConfig, pushBlob, putManifest } from '../support/oci-push.ts'
import {
  assertRefused,
  endUpload,
  makeManifest,
  openUpload,
  patchChunk,
  withRegistryToken,
  withToken,
} from '../support/registry-client.ts'
import { startServer } from '../support/server.ts'

const server = await startServer({ after })
const { registryTokens, tokens, signingKeys } = server.appliance
const { key: signingKey } = signerOf(signingKeys)
const name = 'ender/demo/tool'
const scope = `repository:${name}:*`
const actions: readonly RegistryAction[] = ['pull', 'push', 'delete']

const user = await server.user('ender')
await pushBlob(user, name, emptyConfig)
await putManifest(user, name, 'latest', makeManifest())

/** Made by the server's own class, while its clock stood so many seconds back. */
async function tokenOf(t: TestContext, client: Client, ageSeconds: number): Promise<Client> {
  const account = await tokens.authenticate(client.credentials?.token ?? '', 'test')
  assert.ok(account)
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() - ageSeconds * 1000 })
  const grants = [{ name, actions }]
  const { token } = await registryTokens.issue(account, grants)
  t.mock.timers.reset()
  return withToken(client, token)
}

test('a token is good for its hour and no longer', async (t) => {
  const young = await tokenOf(t, user, 3590)
  assert.equal((await young.get(`/v2/${name}/manifests/latest`)).status, 200)
  const old = await tokenOf(t, user, 3605)
  for (const path of ['/v2/', `/v2/${name}/manifests/latest`, `/v2/${name}/tags/list`]) {
    const reply = await old.get(path)
    assertRefused(reply, 401, 'UNAUTHORIZED', /over/)
    assert.match(String(reply.headers['www-authenticate']), /^Bearer realm=/)
  }
  assert.equal((await old.send('POST', `/v2/${name}/blobs/uploads/`)).status, 401)
})

test('an upload that began goes on with a token that expired meanwhile, for a day', async (t) => {
  const blob = Buffer.alloc(3000, 'slow ')
  const session = await openUpload(user, name)
  const old = await tokenOf(t, user, 3600 + 3000)
  assert.equal((await patchChunk(old, session, blob.subarray(0, 1000), 0)).status, 202)
  assert.equal((await old.get(session)).status, 204)
  assert.equal((await patchChunk(old, session, blob.subarray(1000), 1000)).status, 202)
  const tooOld = await tokenOf(t, user, 3600 + 86_400 + 10)
  assertRefused(await tooOld.get(session), 401, 'UNAUTHORIZED')
  assertRefused(await endUpload(tooOld, session, digestOf(blob)), 401, 'UNAUTHORIZED')
  assert.equal((await endUpload(old, session, digestOf(blob))).status, 201)
  // The blob's own address is no session.
  assertRefused(await old.get(`/v2/${name}/blobs/${digestOf(blob)}`), 401, 'UNAUTHORIZED')
})

test('an expired token opens no session under an address that looks like one', async (t) => {
  const old = await tokenOf(t, user, 3605)
  const invented = `/v2/${name}/blobs/uploads/${'a'.repeat(32)}`
  assertRefused(await old.get(invented), 404, 'BLOB_UPLOAD_UNKNOWN')
  assertRefused(await old.send('POST', invented), 404, 'NAME_UNKNOWN')
  assertRefused(await old.get(`${invented}/../../tags/list`), 401, 'UNAUTHORIZED')
})

test('revoking the access token ends what was made of it, at once', async () => {
  const second = await server.signIn('ender')
  const registry = await withRegistryToken(second, [scope])
  const blob = Buffer.alloc(2000, 'cut ')
  const session = await openUpload(registry, name)
  assert.equal((await patchChunk(registry, session, blob.subarray(0, 1000), 0)).status, 202)
  const revoked = await user.delete(`/api/v1/tokens/${second.credentials?.tokenId}`)
  assert.equal(revoked.status, 200)

  assertRefused(await registry.get('/v2/'), 401, 'UNAUTHORIZED')
  assertRefused(await registry.get(`/v2/${name}/manifests/latest`), 401, 'UNAUTHORIZED')
  assertRefused(await patchChunk(registry, session, blob.subarray(1000), 1000), 401, 'UNAUTHORIZED')
  // Nor does the account go on with it by another token: the session was the revoked one's.
  assertRefused(await user.get(session), 404, 'BLOB_UPLOAD_UNKNOWN')
  assert.equal((await withRegistryToken(user, [scope])).name, 'ender')
  await server.appliance.sweep()
})

test('an account that was disabled is out with all its tokens', async () => {
  const leaver = await server.user('leaver')
  await pushBlob(leaver, 'leaver/demo/tool', emptyConfig)
  const registry = await withRegistryToken(leaver, ['repository:leaver/demo/tool:*'])
  assert.equal((await registry.get('/v2/leaver/demo/tool/tags/list')).status, 200)
  await server.db.query(sql`update accounts set disabled_at = now() where name = 'leaver'`)
  assertRefused(await registry.get('/v2/leaver/demo/tool/tags/list'), 401, 'UNAUTHORIZED')
  assertRefused(await registry.get('/v2/'), 401, 'UNAUTHORIZED')
})

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')

test('forged tokens: no signature, keys of the forger, keys that are named, other purposes', async () => {
  const genuine = (await withRegistryToken(user, [scope])).credentials?.token ?? ''
  const [head = '', payload = '', signature = ''] = genuine.split('.')
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString())
  const header = JSON.parse(Buffer.from(head, 'base64url').toString())
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const jwk = await exportJWK(publicKey)
  const foreign = async (extra: object): Promise<string> =>
    await new SignJWT(claims).setProtectedHeader({ ...header, ...extra }).sign(privateKey)
  const own = async (changed: object): Promise<string> =>
    await new SignJWT({ ...claims, ...changed }).setProtectedHeader(header).sign(signingKey)
  const publicPem = createPublicKey(signingKey).export({ type: 'spki', format: 'pem' })
  const hmacInput = `${encode({ ...header, alg: 'HS256' })}.${payload}`
  const hmac = createHmac('sha256', publicPem).update(hmacInput).digest('base64url')
  const url = `${server.url}/v1/keys/public`

  const forged: Readonly<Record<string, string>> = {
    'alg none': `${encode({ ...header, alg: 'none' })}.${payload}.`,
    'alg none with the signature': `${encode({ ...header, alg: 'none' })}.${payload}.${signature}`,
    'the public key as a shared secret': `${hmacInput}.${hmac}`,
    'no signature': `${head}.${payload}.`,
    "a forger's key": await foreign({}),
    'an embedded jwk with our kid': await foreign({ jwk }),
    'a foreign kid': await foreign({ kid: 'forger' }),
    'a jku': await foreign({ jku: url }),
    'an x5u': await foreign({ x5u: url }),
    'another audience': await own({ aud: 'somebody-else' }),
    'another issuer': await own({ iss: 'https://elsewhere.example' }),
    'not yet': await own({ nbf: Math.floor(Date.now() / 1000) + 600 }),
    'actions that are none': await own({ access: [{ name, actions: ['own'] }] }),
    'no access at all': await own({ access: undefined }),
    'a token that is not there': await own({ tid: 'x'.repeat(20) }),
    'a changed payload': `${head}.${encode({ ...claims, access: [{ name: catalogName, actions }] })}.${signature}`,
    'much text': 'x'.repeat(5000),
  }
  assert.equal((await withToken(user, genuine).get('/v2/')).status, 200)
  assert.equal((await withToken(user, await own({})).get('/v2/')).status, 200, 'the forge works')
  for (const [what, token] of Object.entries(forged)) {
    const client = withToken(user, token)
    assert.equal((await client.get('/v2/')).status, 401, what)
    const pull = await client.get(`/v2/${name}/manifests/latest`)
    assert.equal(pull.status, 401, `${what}: a pull of what is public`)
    assert.equal((await client.send('POST', `/v2/${name}/blobs/uploads/`)).status, 401, what)
  }
  // Nothing of a token is in the log, and no key was fetched from where a token said.
  for (const token of [genuine, ...Object.values(forged)]) {
    const [, , last = ''] = token.split('.')
    assert.ok(last === '' || !server.log().includes(last))
  }
  assert.ok(!server.log().includes('/v1/keys/public'))
})
