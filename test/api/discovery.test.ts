import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { assertProblem, Client } from '../support/client.ts'
import { startServer } from '../support/server.ts'

const server = await startServer({ after })
const { anonymous } = server
const configPath = '/assets/config/config.prod.json'

test('the discovery document has every service, as objects, without trailing slashes', async () => {
  const reply = await anonymous.get(configPath)
  assert.equal(reply.status, 200)
  assert.match(String(reply.headers['content-type']), /^application\/json/)
  assert.equal(reply.headers['cache-control'], 'no-store')
  for (const [name, value] of Object.entries(reply.json)) {
    assert.ok(typeof value === 'object' && value !== null && !Array.isArray(value), name)
  }
  const uri = server.url
  const { site: _, ...services } = reply.json
  assert.deepEqual(services, {
    libraryAPI: { uri, registryUri: uri },
    keystoreAPI: { uri },
    tokenAPI: { uri },
    builderAPI: { uri, managerUri: uri },
    consentAPI: { uri },
  })
  assert.ok(!uri.endsWith('/'))
})

test('each service may have a host of its own, and slashes at the end are dropped', async (t) => {
  const names = [
    'library',
    'registry',
    'keystore',
    'token',
    'consent',
    'builder',
    'builder_manager',
  ]
  const services = Object.fromEntries(
    names.map((name) => [name, `https://${name.replace('_', '-')}.example.org//`]),
  )
  const split = await startServer(t, { settings: { services } })
  const { site: _, ...found } = (await split.anonymous.get(configPath)).json
  assert.deepEqual(found, {
    libraryAPI: { uri: 'https://library.example.org', registryUri: 'https://registry.example.org' },
    keystoreAPI: { uri: 'https://keystore.example.org' },
    tokenAPI: { uri: 'https://token.example.org' },
    builderAPI: {
      uri: 'https://builder.example.org',
      managerUri: 'https://builder-manager.example.org',
    },
    consentAPI: { uri: 'https://consent.example.org' },
  })
})

test('addresses never come from the request', async () => {
  const headers = {
    host: 'evil.example',
    'x-forwarded-host': 'evil.example',
    'x-forwarded-proto': 'gopher',
    forwarded: 'host=evil.example',
    'x-original-url': '/evil',
  }
  for (const path of [configPath, '/version', '/', '/auth/tokens', '/v1/keys/public', '/nothing']) {
    const reply = await anonymous.get(path, headers)
    assert.ok(!reply.body.includes('evil.example'), path)
    assert.ok(!JSON.stringify(reply.headers).includes('evil.example'), path)
  }
})

const bearers = [undefined, 'Bearer ', 'Bearer garbage', 'BEARER x', 'Basic eDp5', 'nonsense']
test('/version is new enough for every client, whatever token comes along', async () => {
  for (const authorization of bearers) {
    const headers = authorization === undefined ? {} : { authorization }
    for (const path of ['/version', '//version', '///version']) {
      const reply = await anonymous.get(path, headers)
      assert.equal(reply.status, 200, `${path} ${authorization}`)
      const { version, apiVersion } = reply.json.data
      assert.ok(isAtLeast(version.replace(/^v/, ''), [1, 5, 7]), version)
      assert.match(apiVersion, /^(2\.0\.0-alpha\.([2-9]|\d\d+)|2\.\d+\.\d+)$/)
    }
  }
})

test('public lists are open with a garbage or expired token', async () => {
  const garbage = new Client(server.url, { name: '', accountId: '', tokenId: '', token: 'garbage' })
  for (const path of ['/v1/entities', '/v1/search?value=abc', configPath]) {
    assert.equal((await garbage.get(path)).status, 200, path)
  }
})

test('an address with a doubled slash reaches the token service', async () => {
  const user = await server.user('doubled')
  assert.equal((await user.get('//v1/token-status')).status, 200)
  assert.equal((await user.get('//v1/rbac/users/current')).status, 200)
  assertProblem(await anonymous.get('//v1/token-status'), 404)
})

test('the server tells whether it lives and whether it can work', async () => {
  for (const path of ['/healthz', '/readyz']) {
    const reply = await anonymous.get(path)
    assert.equal(reply.status, 200)
    assert.ok(reply.json.data.status)
  }
})

test('without its database the server lives, is not ready, and says 503', async (t) => {
  const broken = await startServer(t, { leavesUploads: true })
  const { database } = broken.appliance
  t.mock.method(database, 'query', async () => {
    throw Object.assign(new Error('connection refused'), { code: 'ECONNREFUSED' })
  })
  assert.equal((await broken.anonymous.get('/healthz')).status, 200)
  assert.equal((await broken.anonymous.get('/readyz')).status, 503)
})

test('what is not there is 404 in the envelope of every client', async () => {
  const paths = [
    '/nothing',
    '/v1/nothing',
    '/v2/nothing',
    '/api/v1/nothing',
    '/assets/nothing',
    '/dl',
    '/ul/x',
    '/%2e%2e/etc/passwd',
    '/.git/config',
  ]
  for (const path of paths) assertProblem(await anonymous.get(path), 404)
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) {
    assertProblem(await anonymous.send(method, '/nothing', { body: '{}' }), 404)
    assertProblem(await anonymous.send(method, '/version', { body: '{}' }), 404)
  }
})

test('the addresses that clients print to people answer with a page', async () => {
  for (const path of ['/', '/auth/tokens', '/builds']) {
    const reply = await anonymous.get(path)
    assert.equal(reply.status, 200)
    assert.match(String(reply.headers['content-type']), /^text\/html/)
    assert.match(String(reply.headers['content-security-policy']), /default-src 'none'/)
  }
})

function isAtLeast(version: string, wanted: readonly number[]): boolean {
  const found = version.split(/[.-]/, 3).map(Number)
  for (const [index, number] of wanted.entries()) {
    const part = found[index] ?? 0
    if (part !== number) return part > number
  }
  return true
}
