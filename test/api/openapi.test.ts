/** The OpenAPI document tells what /api/v1 is: every route is in it, and replies have its form. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { z } from 'zod'

import { createApp } from '../../server/app.ts'
import { Client } from '../support/client.ts'
import { startServer } from '../support/server.ts'

interface Layer {
  readonly route?: { readonly path: string; readonly methods: Readonly<Record<string, boolean>> }
  readonly handle: { readonly stack?: readonly Layer[] }
}

type Paths = Readonly<Record<string, Readonly<Record<string, Described>>>>

interface Described {
  readonly summary: string
  readonly parameters: readonly { readonly name: string; readonly in: string }[]
  readonly security: readonly object[]
}

const server = await startServer({ after })
const alice = await server.account('alice')
const document = (await server.anonymous.get('/api/v1/openapi.json')).json

test('the document is there without a token, of the version and address of this site', async () => {
  const reply = await server.anonymous.get('/api/v1/openapi.json')
  assert.equal(reply.status, 200)
  assert.match(String(reply.headers['content-type']), /^application\/json\b/)
  assert.equal(document.openapi, '3.1.0')
  assert.match(document.info.version, /^\d+\.\d+\.\d+/)
  assert.deepEqual(document.servers, [{ url: server.url }])
})

test('every route of /api/v1 is in it, and nothing else', () => {
  const app = createApp(server.appliance)
  const registered = routesOf((app.router as unknown as { stack: Layer[] }).stack)
    .filter((route) => route.includes(' /api/v1/'))
    .map((route) => route.replaceAll(/[:*](\w+)/g, '{$1}'))
  const described = Object.entries(document.paths as Record<string, object>).flatMap(
    ([path, methods]) => Object.keys(methods).map((method) => `${method} ${path}`),
  )
  assert.ok(registered.length >= 7, registered.join('\n'))
  assert.deepEqual(described.toSorted(), registered.toSorted())
})

test('every reference in it leads somewhere, and every operation says what it is', () => {
  for (const [, ref = ''] of JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)) {
    const target = ref
      .split('/')
      .reduce<unknown>((place, name) => (place as Record<string, unknown>)[name], document)
    assert.ok(target, ref)
  }
  for (const [path, methods] of Object.entries(document.paths as Paths)) {
    for (const operation of Object.values(methods)) {
      assert.match(operation.summary, /\w{4}/)
      const named = operation.parameters.filter((one) => one.in === 'path')
      assert.deepEqual(
        named.map(({ name }) => `{${name}}`),
        path.match(/\{\w+\}/g) ?? [],
      )
      const schemes = operation.security.flatMap((one) => Object.keys(one))
      for (const scheme of schemes) assert.ok(document.components.securitySchemes[scheme], scheme)
    }
  }
})

test('replies have the form that it says, and so have refusals', async () => {
  const basic = Buffer.from('alice:alice-password').toString('base64')
  const password = { headers: { authorization: `Basic ${basic}` } }
  const issued = await server.anonymous.send('POST', '/api/v1/tokens', { ...password, body: '{}' })
  const { id } = issued.json.data
  await alice.post('/v1/collections', { name: 'tools', entity: 'alice' })
  const access = { private: true, accounts: ['alice'] }
  for (const [method, path, reply] of [
    ['post', '/api/v1/tokens', issued],
    ['get', '/api/v1/tokens', await alice.get('/api/v1/tokens?all=true')],
    ['delete', '/api/v1/tokens/{id}', await alice.delete(`/api/v1/tokens/${id}`)],
    ['get', '/api/v1/usage', await alice.get('/api/v1/usage')],
    [
      'put',
      '/api/v1/collections/{path}/access',
      await alice.put('/api/v1/collections/alice%2Ftools/access', access),
    ],
    [
      'get',
      '/api/v1/collections/{path}/access',
      await alice.get('/api/v1/collections/alice/tools/access'),
    ],
    ['post', '/api/v1/tokens', await server.anonymous.post('/api/v1/tokens', {})],
    ['get', '/api/v1/tokens', await alice.get('/api/v1/tokens?all=maybe')],
    ['delete', '/api/v1/tokens/{id}', await alice.delete('/api/v1/tokens/none')],
    ['get', '/api/v1/usage', await server.anonymous.get('/api/v1/usage')],
    [
      'get',
      '/api/v1/collections/{path}/access',
      await alice.get('/api/v1/collections/alice/none/access'),
    ],
  ] as const) {
    const described = document.paths[path][method].responses[reply.status]
    assert.ok(described, `${method} ${path} answered ${reply.status}`)
    const { schema } = described.content['application/json']
    const own = schema.$ref === undefined ? schema : document.components.schemas.Problem
    const parsed = z.fromJSONSchema(own).safeParse(reply.json)
    assert.ok(parsed.success, `${method} ${path}: ${parsed.error?.message}`)
  }
})

test('a body that it describes is accepted, and one that it does not is refused', async () => {
  const operation = document.paths['/api/v1/tokens'].post
  const { schema } = operation.requestBody.content['application/json']
  assert.deepEqual(Object.keys(schema.properties).toSorted(), ['label', 'scope'])
  assert.equal(schema.required, undefined)
  assert.equal(schema.additionalProperties, false)
  const described = z.fromJSONSchema(schema)
  const basic = Buffer.from('alice:alice-password').toString('base64')
  for (const body of [{}, { label: 'x', scope: 'pull' }, { scope: 'push' }, { lable: 'x' }]) {
    const reply = await new Client(server.url, undefined).send('POST', '/api/v1/tokens', {
      headers: { authorization: `Basic ${basic}` },
      body: JSON.stringify(body),
    })
    assert.equal(reply.status, described.safeParse(body).success ? 201 : 400, JSON.stringify(body))
  }
})

/** `get /path` for every route of the application; routers are all mounted at the root. */
function routesOf(stack: readonly Layer[]): string[] {
  return stack.flatMap(({ route, handle }) =>
    route === undefined
      ? routesOf(handle.stack ?? [])
      : Object.keys(route.methods).map((method) => `${method} ${route.path}`),
  )
}
