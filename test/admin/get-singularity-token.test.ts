import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { RequestListener, Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { hostname, userInfo } from 'node:os'
import test, { after } from 'node:test'
import type { TestContext } from 'node:test'

import { exchange } from '../../admin-cli/endpoint.ts'
import { Client } from '../support/client.ts'
import { freePort } from '../support/free-port.ts'
import { startServer } from '../support/server.ts'
import { assertDone, assertRefused, run } from './command.ts'
import type { Outcome } from './command.ts'

const prompt = 'Example portal password :'
const dialogue = `${prompt}\njust a moment, please...\n`

const server = await startServer({ after }, { settings: { site: { name: 'Example' } } })
await server.account('alice')

async function token(
  args: readonly string[],
  options: { input?: string; url?: string } = {},
): Promise<Outcome> {
  return await run('get_singularity_token', args, {
    input: options.input ?? 'alice-password\n',
    env: { BERTH_URL: options.url ?? server.url },
  })
}

test('standard output is one line, a token that works, and the words are on standard error', async () => {
  const got = await token(['--user', 'alice'])
  assertDone(got)
  assert.equal(got.stderr, dialogue)
  assert.match(got.stdout, /^[\w-]+\.[\w-]+\.[\w-]+\n$/)
  const client = signedIn(server.url, got.stdout.trim())
  assert.equal((await client.get('/v1/token-status')).status, 200)
  const { json } = await client.get('/api/v1/tokens')
  const labels = json.data.map((one: { label: string }) => one.label)
  assert.ok(labels.includes(`get_singularity_token on ${hostname()}`), labels)
})

test('--json holds the token, its ID and its end, and --label is kept', async () => {
  const got = await token(['--user', 'alice', '--json', '--label', 'night builds'])
  assertDone(got)
  assert.equal(got.stderr, dialogue)
  const answer = JSON.parse(got.stdout) as { token: string; id: string; expiration: string }
  assert.deepEqual(Object.keys(answer), ['token', 'id', 'expiration'])
  assert.ok(Date.parse(answer.expiration) > Date.now() + 364 * 86_400_000)
  const { json } = await signedIn(server.url, answer.token).get('/api/v1/tokens')
  const listed = json.data.find((one: { id: string }) => one.id === answer.id)
  assert.equal(listed.label, 'night builds')
})

test('the account is the login name when nothing else is said', async () => {
  const name = userInfo().username
  await server.account(name)
  const got = await token([], { input: `${name}-password\n` })
  assertDone(got)
  assert.equal((await signedIn(server.url, got.stdout.trim()).get('/v1/token-status')).status, 200)
})

test('--url goes before BERTH_URL, and its path does not matter', async () => {
  const args = ['--user', 'alice', '--url', `${server.url}/auth/tokens`]
  assertDone(await token(args, { url: 'http://127.0.0.1:1' }))
})

test('only the first line of standard input is the password', async () => {
  assertDone(await token(['--user', 'alice'], { input: 'alice-password\r\nmore\n' }))
  assertDone(await token(['--user', 'alice'], { input: 'alice-password' }))
})

test('a wrong password says so after the words, and gives nothing', async () => {
  for (const [user, password] of [
    ['alice', 'wrong'],
    ['alice', ''],
    ['nobody', 'alice-password'],
  ] as const) {
    const got = await token(['--user', user], { input: `${password}\n` })
    assert.equal(got.code, 1)
    assert.equal(got.stdout, '')
    assert.equal(
      got.stderr,
      `${dialogue}get_singularity_token: The password of ${user} is wrong, or there is no such account: try again.\n`,
    )
  }
})

test('what the server refuses is told in its words', async (t) => {
  const strict = await startServer(t, { settings: { tokens: { per_account: 1 } } })
  await strict.account('bob') // holds the only token
  const got = await token(['--user', 'bob'], { input: 'bob-password\n', url: strict.url })
  assert.equal(got.code, 1)
  assert.match(got.stderr, /No token was made: You have 1 live tokens, and 1 is the limit/)
})

test('without a password there is no request', async () => {
  const got = await token(['--user', 'alice'], { input: '' })
  assert.equal(got.code, 1)
  assert.match(got.stderr, /^Example portal password :\n[^\n]*There is no password[^\n]*\n$/)
})

test('what cannot be reached is known before anything is asked', async () => {
  const url = `http://127.0.0.1:${await freePort()}`
  assertRefused(await token([], { url }), 1, /cannot be reached \(ECONNREFUSED\): is the address/)
  // Without any name server the resolver says EAI_AGAIN; both mean this.
  const unknown = await token([], { url: 'https://berth.invalid' })
  assertRefused(unknown, 1, /The host berth\.invalid is not known here: check the address/)
})

test('a password is not sent in clear text to another host', async () => {
  for (const url of [
    'http://berth.example.org',
    'http://192.0.2.1:5080',
    'http://localhost.example.org',
  ]) {
    assertRefused(await token([], { url }), 1, /not sent in clear text: use https:/)
  }
})

test('a server that is not Berth is told from one that is', async (t) => {
  const page = await stub(t, (_req, res) => res.end('<html>It works!</html>'))
  assertRefused(await token([], { url: page }), 1, /answers, but it is not a Berth/)
  const other = await stub(t, (_req, res) => res.end('{"libraryAPI":{"uri":"https://x"}}'))
  assertRefused(await token([], { url: other }), 1, /answers, but it is not a Berth/)
})

test('a redirect is not followed', async (t) => {
  const url = await stub(t, (_req, res) => {
    res.writeHead(301, { location: 'https://berth.example.org/' }).end()
  })
  assertRefused(await token([], { url }), 1, /sends on to https:\/\/berth\.example\.org\/: give/)
})

test('control characters of a server do not reach the terminal', async (t) => {
  const url = await stub(t, (req, res) => {
    if (req.method === 'GET') res.end(JSON.stringify({ site: { name: '\u001b[2Jsite' } }))
    else res.writeHead(400).end(JSON.stringify({ error: { message: 'no\u001b]0;x\u0007' } }))
  })
  const got = await token([], { url })
  assert.equal(got.code, 1)
  assert.doesNotMatch(got.stderr, /[^\P{Cc}\n]/u)
})

test('a token that is not one line is not printed', async (t) => {
  const url = await stub(t, (req, res) => {
    const data = { token: 'a\nb', id: 'x', expiration: 'y' }
    res.end(JSON.stringify(req.method === 'GET' ? { site: { name: 'x' } } : { data }))
  })
  const got = await token([], { url })
  assert.equal(got.code, 1)
  assert.equal(got.stdout, '')
})

test('a server that is silent is given up', async (t) => {
  const url = await stub(t, () => {})
  await assert.rejects(
    exchange(new URL(url), '/', { timeoutMs: 100 }),
    /does not answer: try again/,
  )
})

const misuses: readonly (readonly [readonly string[], RegExp])[] = [
  [['--frobnicate'], /Unknown option '--frobnicate': see get_singularity_token --help/],
  [['--user'], /argument missing/],
  [['--user', 'a:b'], /"a:b" is not an account name/],
  [['--user', ''], /"" is not an account name/],
  [['--url', 'berth.example.org'], /is not an address: expected https:/],
  [['--url', 'ftp://berth.example.org'], /is not an address: expected https:/],
]
for (const [args, why] of misuses) {
  test(`called with ${args.join(' ')} it says how`, async () => {
    assertRefused(await token(args), 2, why)
  })
}

test('a password on the command line is refused and not repeated', async () => {
  const got = await token(['hunter2hunter2'])
  assertRefused(got, 2, /It takes options only/)
  assert.doesNotMatch(got.stderr, /hunter2/)
})

test('--help is on standard output', async () => {
  const got = await token(['--help'])
  assertDone(got)
  assert.match(got.stdout, /^get_singularity_token \[--user NAME\]/)
  assert.equal(got.stderr, '')
})

function signedIn(url: string, token: string): Client {
  return new Client(url, { name: '', accountId: '', token, tokenId: '' })
}

/** A server that is not ours. */
async function stub(t: TestContext, answer: RequestListener): Promise<string> {
  const server: Server = createServer(answer)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
