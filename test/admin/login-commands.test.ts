/** list_singularity_tokens and show_container_library_usage, and what enterprise reads of the user. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test, { after } from 'node:test'

import { replaceMemberships } from '../../server/accounts/groups.ts'
import { sql } from '../../server/database.ts'
import { Client } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { assertDone, assertRefused, run } from './command.ts'
import type { CommandName, Outcome } from './command.ts'

const prompt = 'ABCI portal password :'
const dialogue = `${prompt}\njust a moment, please...\n`
const settings = { site: { name: 'ABCI' }, groups: { spaces: ['climate'] } }
const server = await startServer({ after }, { settings })
const alice = await server.account('alice')

async function ask(name: CommandName, ...args: string[]): Promise<Outcome> {
  return await run(name, ['--user', 'alice', ...args], {
    input: 'alice-password\n',
    env: { BERTH_URL: server.url, TZ: 'Asia/Tokyo' },
  })
}

test('tokens are listed in the words of the guide, in local time', async () => {
  const id = alice.credentials?.tokenId ?? ''
  await server.db.query(sql`
    update tokens set issued_at = '2123-04-05T09:55Z', expires_at = '2124-04-04T09:55Z'
    where id = ${id}`)
  const listed = await ask('list_singularity_tokens')
  assertDone(listed)
  assert.equal(listed.stderr, dialogue)
  assert.equal(
    listed.stdout,
    `
Token ID: ${id}
Issued: Apr 5, 2123 at 6:55 pm JST
Expires: Apr 4, 2124 at 6:55 pm JST
`,
  )
  const json = await ask('list_singularity_tokens', '--json')
  assert.equal(JSON.parse(json.stdout)[0].id, id)
})

test('--all shows what is over, and what a token is for; one that ends soon is named', async () => {
  const made = await ask('get_singularity_token', '--scope', 'pull', '--label', 'night build')
  assertDone(made)
  const client = new Client(server.url, {
    name: 'alice',
    accountId: '',
    token: made.stdout.trim(),
    tokenId: '',
  })
  assert.equal((await client.get('/v1/entities')).status, 200)
  await server.db.query(sql`
    update tokens set expires_at = now() + interval '3 days' where label = 'night build'`)
  const gone = await server.signIn('alice')
  await gone.delete(`/api/v1/tokens/${gone.credentials?.tokenId}`)
  const all = await ask('list_singularity_tokens', '--all')
  assert.match(
    all.stdout,
    /Label: night build\nScope: pull\nLast used: \w{3} \d.* JST from 127\.0\.0\.1\n/,
  )
  assert.match(all.stdout, /Last used: .* from 127\.0\.0\.1\nRevoked\n/)
  assert.match(all.stderr, /Token [0-9a-f]{24} ends on \d{4}-\d\d-\d\d: get a new one with get_s/)
  const live = await ask('list_singularity_tokens')
  assert.ok(!live.stdout.includes(gone.credentials?.tokenId ?? '-'))
  const another = await ask('get_singularity_token')
  assert.match(another.stderr, /Your token [0-9a-f]{24} \(night build\) ends on /)
  assert.match(another.stdout, /^\S+\n$/)
})

test('the use of the library is shown in the words of the guide', async () => {
  const empty = await ask('show_container_library_usage')
  assertDone(empty)
  assert.equal(empty.stderr, dialogue)
  assert.equal(empty.stdout, 'used(GiB) limit(GiB) num_of_repositories\n0         100        0\n')
  const sif = makeSif({ seed: 'usage' })
  await alice.push('alice/demo/tool', 'latest', sif)
  await server.appliance.database.transaction(async (tx) => {
    await replaceMemberships(tx, alice.credentials?.accountId ?? '', ['climate'])
  })
  await alice.push('climate/demo/tool', 'latest', sif)
  const used = await ask('show_container_library_usage')
  assert.equal(used.stdout, 'used(GiB) limit(GiB) num_of_repositories\n1         100        1\n')
  const all = await ask('show_container_library_usage', '--all')
  assert.equal(
    all.stdout,
    `space   used(GiB) limit(GiB) num_of_repositories
alice   1         100        1
climate 1         100        1
`,
  )
  const json = JSON.parse((await ask('show_container_library_usage', '--all', '--json')).stdout)
  assert.deepEqual(
    json.map((one: { usedBytes: number }) => one.usedBytes),
    [sif.length, sif.length],
  )
})

test('a wrong password, too many of them, words too much', async () => {
  for (const name of ['list_singularity_tokens', 'show_container_library_usage'] as const) {
    const wrong = await run(name, ['--user', 'alice'], {
      input: 'wrong\n',
      env: { BERTH_URL: server.url },
    })
    assert.equal(wrong.code, 1)
    assert.equal(wrong.stdout, '')
    assert.match(wrong.stderr, /The password of alice is wrong, or there is no such account/)
    const words = await run(name, ['secret-typed-here'], { env: { BERTH_URL: server.url } })
    assertRefused(words, 2, /options only, and no password/)
    assert.ok(!words.stderr.includes('secret-typed-here'))
    const help = await run(name, ['--help'], { env: { BERTH_URL: 'http://127.0.0.1:1' } })
    assertDone(help)
    assert.match(help.stdout, new RegExp(`^${name} `))
  }
  assertRefused(await ask('get_singularity_token', '--scope', 'root'), 2, /all, pull or build/)
  for (let guess = 0; guess < 3; guess += 1) {
    await server.anonymous.send('GET', '/api/v1/usage', {
      headers: { authorization: `Basic ${Buffer.from('alice:guess').toString('base64')}` },
    })
  }
  const throttled = await ask('show_container_library_usage')
  assert.equal(throttled.code, 1)
  assert.match(throttled.stderr, /Too many wrong passwords: try again in 15 minutes/)
  await server.db.query(sql`delete from sign_in_attempts`)
})

const homes = mkdtempSync(join(tmpdir(), 'berth-homes-'))
after(() => rmSync(homes, { recursive: true, force: true }))

function home(name: string, files: Readonly<Record<string, string>>): string {
  for (const [file, text] of Object.entries(files)) {
    const path = join(homes, name, file)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }
  return join(homes, name)
}

const entry = (token: string): string =>
  `Active: here\nRemotes:\n  here:\n    URI: ${server.url}\n    Insecure: true\n    Token: ${token}\n`

async function enterprise(
  env: Readonly<Record<string, string>>,
  ...args: string[]
): Promise<Outcome> {
  return await run('berth-singularity', ['enterprise', ...args], { env })
}

test('enterprise takes the endpoint and the token from the remote.yaml of the client', async () => {
  const token = (await server.signIn('alice')).credentials?.token ?? ''
  const [good, bad] = [entry(token), entry('not-a-token')]
  const both = home('both', {
    '.singularity/remote.yaml': good,
    '.apptainer/remote.yaml': bad,
  })
  assert.match((await enterprise({ HOME: both }, 'status')).stdout, /Auth token is valid/)
  const other = await enterprise({ HOME: both, BERTH_CLIENT: 'apptainer' }, 'status')
  assert.match(other.stdout, /Auth token is not valid/)
  const only = home('only', { '.apptainer/remote.yaml': good })
  assert.match((await enterprise({ HOME: only }, 'status')).stdout, /Auth token is valid/)
  const moved = home('moved', { 'conf/remote.yaml': good })
  const env = { HOME: '/nonexistent', SINGULARITY_CONFIGDIR: join(moved, 'conf') }
  assert.match((await enterprise(env, 'status')).stdout, /Auth token is valid/)
  // What a module provides for everybody holds where the user has nothing of his own; nobody's token
  // is taken from there.
  const module = home('module', { 'remote.yaml': good })
  const provided = { HOME: '/nonexistent', BERTH_REMOTES: join(module, 'remote.yaml') }
  assert.match((await enterprise(provided, 'status')).stdout, /No authentication token provided/)
})

test('without an endpoint, or with a file that is none, it says what to do', async () => {
  assertRefused(await enterprise({}, 'get', 'col', 'alice'), 1, /remote login/)
  const odd = home('odd', { '.singularity/remote.yaml': 'Active: [\n' })
  assertRefused(await enterprise({ HOME: odd }, 'status'), 1, /cannot be read/)
  const lost = home('lost', { '.singularity/remote.yaml': 'Active: gone\nRemotes: {}\n' })
  assertRefused(await enterprise({ HOME: lost }, 'status'), 1, /"gone" is in none/)
  assertRefused(await enterprise({ HOME: odd }, 'frobnicate'), 2, /no "frobnicate"/)
  assertRefused(await enterprise({ HOME: odd }, 'get', 'things'), 2, /col \(collections\)/)
  assertRefused(await enterprise({ HOME: odd }, 'delete', 'img', 'x'), 2, /singularity delete/)
  assert.match((await enterprise({}, '--help')).stdout, /^singularity enterprise: /)
})

test('yaml and json carry plain members, and a token that ends soon is announced', async () => {
  const client = await server.signIn('alice')
  const directory = home('soon', {
    '.singularity/remote.yaml': entry(client.credentials?.token ?? ''),
  })
  await server.db.query(sql`
    update tokens set expires_at = now() + interval '2 days'
    where id = ${client.credentials?.tokenId}`)
  const listed = await enterprise({ HOME: directory }, 'get', 'col', 'alice', '-o', 'yaml')
  assertDone(listed)
  assert.match(
    listed.stdout,
    /^- containers:\n {4}- alice\/demo\/tool\n {2}entity: alice\n {2}entityname: alice\n/,
  )
  assert.match(listed.stderr, /^WARNING: Your access token ends on \d{4}-\d\d-\d\d: get a new one/)
  const json = await enterprise({ HOME: directory }, 'get', 'prj', '--json')
  assert.deepEqual(
    JSON.parse(json.stdout).map((one: { id: string }) => one.id),
    ['alice', 'climate'],
  )
})
