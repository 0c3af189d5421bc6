/** Signing in at a portal: what is sent, what counts as success, and everything that does not. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'
import type { TestContext } from 'node:test'

import { CertificateAuthority, hasOpenssl } from '../support/certificate-authority.ts'
import { freePort } from '../support/free-port.ts'
import { blackHole } from '../support/ldap-faults.ts'
import { reply, startPortal } from '../support/portal.ts'
import type { Answer, Portal } from '../support/portal.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { inShort, isUnavailable, open, readableLog, signIn } from './ldap.ts'
import type { Table } from './ldap.ts'

const skip = hasOpenssl || process.env['CI'] === 'true' ? false : 'openssl is not installed'

const directory = mkdtempSync(join(tmpdir(), 'berth-portal-'))
after(() => rmSync(directory, { recursive: true, force: true }))
const authority = skip === false ? new CertificateAuthority(directory) : undefined
const certificate = authority?.issue('portal', 'DNS:portal.site.test,IP:127.0.0.1')

const person = {
  success: true,
  user: { id: 4711, login: 'Alice', mail: 'alice@site.test', name: 'Alice Example' },
  groups: ['climate', 5, 'admins'],
}

function table(port: number, more: Table = {}): Table {
  return {
    provider: 'portal',
    url: `https://127.0.0.1:${port}/check`,
    ca_file: authority?.caFile,
    server_name: 'portal.site.test',
    format: 'json',
    success_field: 'success',
    reply: {
      id: 'user.id',
      name: 'user.login',
      mail: 'user.mail',
      full_name: 'user.name',
      groups: 'groups',
    },
    timeout_seconds: 1,
    ...more,
  }
}

async function portal(t: TestContext, answer: Answer = reply(200, person)): Promise<Portal> {
  return await startPortal(t, certificate, answer)
}

test('a reply of success tells who it is', { skip }, async (t) => {
  const { port } = await portal(t)
  const answer = await signIn(open(table(port)), 'alice', 'secret')
  assert.deepEqual(answer, {
    outcome: 'accepted',
    entry: {
      id: '4711',
      name: 'alice',
      email: 'alice@site.test',
      fullName: 'Alice Example',
      groups: ['climate', 'admins'],
    },
  })
  assert.equal(open(table(port)).standing, undefined)
  const little = table(port, { reply: { id: 'user.mail', name: 'user.login' } })
  const least = await signIn(open(little), 'alice', 'secret')
  assert.deepEqual(least.outcome === 'accepted' && least.entry, {
    id: 'alice@site.test',
    name: 'alice',
    email: '',
    fullName: '',
    groups: [],
  })
})

const name = 'al&password=x=+%\r\n"\\ä'
const password = 'p&username=root&=+% ö"\\\u0000'

test('form: what is in a name or a password stays in it', { skip }, async (t) => {
  const { port, received } = await portal(t)
  await signIn(open(table(port, { format: 'form' })), name, password)
  assert.equal(received[0]?.headers['content-type'], 'application/x-www-form-urlencoded')
  assert.deepEqual(
    [...new URLSearchParams(received[0]?.body)],
    [
      ['username', name],
      ['password', password],
    ],
  )
})

test('json: fields have the names that the site gives', { skip }, async (t) => {
  const { port, received } = await portal(t)
  const named = { name_field: 'uid', password_field: 'pw' }
  await signIn(open(table(port, named)), name, password)
  assert.deepEqual(JSON.parse(received[0]?.body ?? ''), { uid: name, pw: password })
  assert.equal(received[0]?.method, 'POST')
  assert.equal(received[0]?.path, '/check')
  assert.equal(received[0]?.headers['content-type'], 'application/json')
})

test('basic: a colon cannot move the border between name and password', { skip }, async (t) => {
  const { port, received } = await portal(t)
  const directory = open(table(port, { format: 'basic' }))
  assert.equal(inShort(await signIn(directory, 'alice:x', 'secret')), 'refused malformed')
  assert.equal(received.length, 0)
  await signIn(directory, 'alice', 'pass:wörd')
  const sent = Buffer.from(received[0]?.headers.authorization?.slice(6) ?? '', 'base64').toString()
  assert.equal(sent, 'alice:pass:wörd')
  assert.equal(received[0]?.body, '')
})

const refused = 'refused password'
const replies: readonly (readonly [string, number, unknown, string])[] = [
  ['the field is false', 200, { ...person, success: false }, refused],
  ['the field is a text that reads true', 200, { ...person, success: 'true' }, refused],
  ['the field is 1', 200, { ...person, success: 1 }, refused],
  ['the field is missing', 200, { user: person.user }, refused],
  ['unauthorized', 401, person, refused],
  ['forbidden', 403, person, refused],
  ['no identifier', 200, { success: true, user: { login: 'alice' } }, 'refused malformed'],
  ['no name', 200, { success: true, user: { id: 1 } }, 'refused malformed'],
  [
    'an identifier that is an object',
    200,
    { ...person, user: { id: {}, login: 'alice' } },
    'refused malformed',
  ],
  [
    'a name that is none',
    200,
    { ...person, user: { id: 1, login: '../etc' } },
    'refused malformed',
  ],
  ['a list', 200, [person], refused],
]
for (const [what, status, body, want] of replies) {
  test(`${what} (${status}): ${want}`, { skip }, async (t) => {
    const { port } = await portal(t, reply(status, body))
    assert.equal(inShort(await signIn(open(table(port)), 'alice', 'secret')), want)
  })
}

test('what objects inherit is not a field', { skip }, async (t) => {
  const { port } = await portal(t, reply(200, {}))
  for (const success_field of ['constructor.name', 'toString.name', '__proto__.constructor.name']) {
    const tricked = table(port, { success_field, success_value: 'Object' })
    assert.equal(inShort(await signIn(open(tricked), 'alice', 'secret')), refused)
  }
})

test('another value, another status', { skip }, async (t) => {
  const body = { result: 'OK', id: 'x-1', name: 'bob' }
  const server = await portal(t, reply(201, body))
  const own = { success_status: 201, success_field: 'result', success_value: 'OK', reply: {} }
  const directory = open(table(server.port, { ...own, refused_status: [400] }))
  assert.equal(inShort(await signIn(directory, 'bob', 'secret')), 'accepted bob')
  server.setAnswer(reply(400, body))
  assert.equal(inShort(await signIn(directory, 'bob', 'secret')), refused)
  server.setAnswer(reply(401, body))
  await assert.rejects(signIn(directory, 'bob', 'secret'), isUnavailable(/status 401/))
})

const broken: readonly (readonly [string, Answer, RegExp])[] = [
  ['another success than the expected', reply(201, person), /status 201/],
  ['a failure with the right field', reply(500, person), /status 500/],
  ['not found', reply(404, person), /status 404/],
  ['too many requests', reply(429, person), /status 429/],
  [
    'a page that says please log in',
    (_received, res) => void res.writeHead(200, { 'content-type': 'text/html' }).end('<html>'),
    /no JSON object/,
  ],
  ['a text', reply(200, 'true'), /no JSON object/],
  ['null', reply(200, null), /no JSON object/],
  [
    'a huge reply',
    (_received, res) => {
      res.writeHead(200)
      const piece = Buffer.alloc(65_536, ' ')
      const more = (): void => {
        while (!res.destroyed && res.write(piece));
        if (!res.destroyed) res.once('drain', more)
      }
      more()
    },
    /too long/,
  ],
  ['no reply', () => {}, /does not answer/],
  [
    'half a reply',
    (_received, res) => {
      res.writeHead(200, { 'content-length': '1000' })
      res.write(JSON.stringify(person))
      setImmediate(() => res.destroy())
    },
    /does not answer/,
  ],
  [
    'a reply that never ends',
    (_received, res) => {
      res.writeHead(200).write('{"success":true')
    },
    /does not answer/,
  ],
  ['a connection that is cut', (_received, res) => void res.destroy(), /does not answer/],
]
for (const [what, answer, message] of broken) {
  test(`${what}: the portal is broken, nobody is refused`, { skip }, async (t) => {
    const { port } = await portal(t, answer)
    const { log, text } = readableLog()
    const startedAt = performance.now()
    const signing = signIn(open(table(port), log), 'alice', 'very-secret')
    await assert.rejects(signing, isUnavailable(message))
    assert.ok(performance.now() - startedAt < 2500)
    assert.match(text(), /the portal failed/)
    assert.doesNotMatch(text(), /very-secret|alice@site\.test/)
  })
}

test('a redirect is not followed', { skip }, async (t) => {
  const target = await portal(t)
  for (const status of [301, 302, 303, 307, 308]) {
    const { port } = await portal(t, (_received, res) => {
      res.writeHead(status, { location: `https://127.0.0.1:${target.port}/check` }).end()
    })
    const signing = signIn(open(table(port)), 'alice', 'secret')
    await assert.rejects(signing, isUnavailable(new RegExp(`status ${status}`)))
  }
  assert.equal(target.received.length, 0)
})

test('a certificate that is not right: nothing is sent', { skip }, async (t) => {
  const { port, received } = await portal(t)
  const rogue = new CertificateAuthority(directory, 'rogue')
  const over = authority?.issue('over', 'DNS:portal.site.test', -1)
  const expired = await startPortal(t, over, reply(200, person))
  const wrong: readonly Table[] = [
    table(port, { ca_file: rogue.caFile }),
    table(port, { server_name: 'evil.test' }),
    table(port, { server_name: 'localhost' }),
    table(port, { ca_file: undefined }),
    table(expired.port),
  ]
  for (const settings of wrong) {
    await assert.rejects(
      signIn(open(settings), 'alice', 'secret'),
      isUnavailable(/does not answer/),
    )
  }
  assert.equal(received.length + expired.received.length, 0)
})

test('nothing is in clear on the wire, and what does not answer is left', { skip }, async (t) => {
  const { port } = await portal(t)
  const proxy = await startProxy(t, port)
  const directory = open(table(proxy.port))
  assert.equal(inShort(await signIn(directory, 'alice', 'very-secret')), 'accepted alice')
  assert.equal(proxy.fromClients().includes('very-secret'), false)
  proxy.setFault(blackHole)
  await assert.rejects(signIn(directory, 'alice', 'very-secret'), isUnavailable(/does not answer/))
  const nowhere = open(table(await freePort()))
  await assert.rejects(signIn(nowhere, 'alice', 'very-secret'), isUnavailable(/does not answer/))
})

test('without TLS on this machine, where the site says so', async (t) => {
  const { port } = await startPortal(
    t,
    undefined,
    reply(200, { success: true, id: 1, name: 'alice' }),
  )
  const plain = {
    provider: 'portal',
    url: `http://127.0.0.1:${port}/`,
    allow_plain: true,
    format: 'form',
    success_field: 'success',
  }
  assert.equal(inShort(await signIn(open(plain), 'alice', 'secret')), 'accepted alice')
})

test('somebody who is throttled is not checked', { skip }, async (t) => {
  const { port, received } = await portal(t)
  const stop = new Error('too many')
  const seen: string[] = []
  const signing = open(table(port)).signIn('alice', 'secret', async (canonical) => {
    seen.push(canonical)
    throw stop
  })
  await assert.rejects(signing, stop)
  assert.deepEqual(seen, ['alice'])
  assert.equal(received.length, 0)
})
