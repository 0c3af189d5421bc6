/** berthctl on the database and the data directory of a running server. */
import assert from 'node:assert/strict'
import { chownSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { sql } from '../../server/database.ts'
import { startServer } from '../support/server.ts'
import { assertDone, assertRefused, run } from './command.ts'
import type { Outcome } from './command.ts'

const server = await startServer({ after })
const directory = mkdtempSync(join(tmpdir(), 'berth-admin-'))
after(() => rmSync(directory, { recursive: true, force: true }))

async function berthctl(words: string, input?: string): Promise<Outcome> {
  const file = join(directory, 'berth.toml')
  const url = server.appliance.config.database?.url
  writeFileSync(file, `data_dir = "${server.dataDir}"\n[database]\nurl = "${url}"\n`)
  const env = { BERTH_CONFIG: file }
  return await run('berthctl', words.split(' '), input === undefined ? { env } : { env, input })
}

async function statusFor(user: string, password: string): Promise<number> {
  const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
  const options = { headers: { authorization }, body: '{}' }
  return (await server.anonymous.send('POST', '/api/v1/tokens', options)).status
}

test('an account that was added signs in, and the audit log knows who added it', async () => {
  const outcome = await berthctl('account add bob', 'bob-password\n')
  assertDone(outcome)
  assert.match(outcome.stdout, /^Added the account bob \(ID [0-9a-f]{24}\)\.\n$/)
  assert.equal(outcome.stderr, 'New password of bob: \n')
  assert.equal(await statusFor('bob', 'bob-password'), 201)
  assert.equal(await statusFor('bob', 'other-password'), 401)
  const entries = await server.db.query(sql`
    select account_name, address from audit where action = 'account.add' and target = 'bob'`)
  assert.deepEqual(entries, [{ account_name: 'root@host', address: 'local' }])
})

test('--admin makes an administrator, and the list shows it', async () => {
  const added = await berthctl('account add carol --admin', 'carol-password\n')
  assert.match(added.stdout, /^Added the administrator carol /)
  await server.user('dave')
  const listed = await berthctl('account list')
  assertDone(listed)
  assert.match(listed.stdout, /^ID {23}Name +Role +State +Provider +Since\n/)
  assert.match(listed.stdout, /^[0-9a-f]{24} carol +admin active local +\d{4}-\d\d-\d\d$/m)
  assert.match(listed.stdout, /^[0-9a-f]{24} dave +user +active local +\d{4}-\d\d-\d\d$/m)
  const json = await berthctl('account list --json')
  const accounts = JSON.parse(json.stdout) as { name: string; isAdmin: boolean }[]
  assert.equal(accounts.find(({ name }) => name === 'carol')?.isAdmin, true)
  assert.doesNotMatch(json.stdout, /password|hash|scrypt/)
})

test('a new password takes the place of the old one, and tokens stay valid', async () => {
  const erin = await server.account('erin')
  const outcome = await berthctl('account password erin', 'new-password\n')
  assertDone(outcome)
  assert.equal(outcome.stdout, 'The password of erin was changed.\n')
  assert.equal(await statusFor('erin', 'erin-password'), 401)
  assert.equal(await statusFor('erin', 'new-password'), 201)
  assert.equal((await erin.get('/v1/token-status')).status, 200)
})

const refusals: readonly (readonly [string, string, RegExp])[] = [
  ['account add frank', 'short\n', /A password has 8 to 1024 characters/],
  ['account add Frank', 'long-enough\n', /"Frank" is not an account name: use lower-case/],
  ['account add frank', '', /There is no password on standard input/],
  ['account password nobody', 'long-enough\n', /There is no local account "nobody"/],
]
for (const [words, input, why] of refusals) {
  test(`"${words}" with ${JSON.stringify(input)} says what is wrong`, async () => {
    const outcome = await berthctl(words, input)
    assert.equal(outcome.code, 1)
    assert.equal(outcome.stdout, '')
    assert.match(outcome.stderr, /^New password of \w+: \nberthctl: [^\n]+\n$/)
    assert.match(outcome.stderr, why)
  })
}

test('an account is not added twice', async () => {
  await server.user('grace')
  const outcome = await berthctl('account add grace', 'grace-password\n')
  assert.equal(outcome.code, 1)
  assert.match(outcome.stderr, /There is an account "grace" already/)
})

test('gc, which was sweep, does what the schedule does, and not at the same time', async () => {
  const { stdout, code } = await berthctl('sweep --json')
  assert.equal(code, 0)
  const fields = [
    'uploadsEnded',
    'imagesGivenUp',
    'blobsCondemned',
    'blobsRemoved',
    'bytesFreed',
    'orphansRemoved',
  ]
  assert.deepEqual(Object.keys(JSON.parse(stdout) as object), fields)
  assert.match((await berthctl('gc')).stdout, /^bytes freed: +0\nblobs removed: +0\n/)
  await server.appliance.database.exclusively('job sweep', async () => {
    assertRefused(await berthctl('sweep'), 1, /The server is sweeping right now: try again later/)
  })
})

const misuses: readonly (readonly [string, RegExp])[] = [
  ['account', /Say what to do: add, list/],
  ['account remove bob', /Say what to do: add, list/],
  ['account add', /Say "berthctl account add NAME/],
  ['account add bob hunter2hunter2', /Say "berthctl account add NAME/],
  ['account list bob', /Unexpected argument 'bob'/],
  ['account list --admin', /Unknown option '--admin'/],
  ['sweep now', /Unexpected argument 'now'/],
  ['frobnicate', /There is no command "frobnicate": see berthctl --help/],
  ['toString', /There is no command "toString"/],
]
for (const [words, why] of misuses) {
  test(`"${words}" is refused before anything is opened`, async () => {
    assertRefused(await berthctl(words, 'long-enough\n'), 2, why)
  })
}

for (const words of [
  '--help',
  'account --help',
  'account add --help',
  'remote -h',
  'sweep --help',
]) {
  test(`"${words}" prints help`, async () => {
    const outcome = await berthctl(words)
    assertDone(outcome)
    assert.match(outcome.stdout, /^berthctl[^\n]*\n.*\n/)
    assert.equal(outcome.stderr, '')
  })
}

test('a data directory that does not exist is not made', async () => {
  const BERTH_DATA_DIR = join(directory, 'absent')
  const env = { BERTH_DATA_DIR, BERTH_CONFIG: '/dev/null' }
  for (const words of [['account', 'add', 'bob'], ['account', 'list'], ['sweep']]) {
    const outcome = await run('berthctl', words, { env, input: 'bob-password\n' })
    assertRefused(
      outcome,
      1,
      /There is no Berth in \S+\/absent: run this where the server runs, or set BERTH_DATA_DIR/,
    )
  }
  assert.equal(existsSync(BERTH_DATA_DIR), false)
})

const skip = process.getuid?.() === 0 ? false : 'only root can give a directory away'
test("another account's data directory is left alone", { skip }, async () => {
  const BERTH_DATA_DIR = mkdtempSync(join(directory, 'foreign-'))
  chownSync(BERTH_DATA_DIR, 12345, 12345)
  const env = { BERTH_DATA_DIR, BERTH_CONFIG: '/dev/null' }
  const outcome = await run('berthctl', ['account', 'list'], { env })
  assertRefused(outcome, 1, /belongs to the account with the uid 12345: run this as that account/)
})

test('mistakes in the configuration are told with their places', async () => {
  const file = join(directory, 'wrong.toml')
  writeFileSync(file, 'data_dirr = "x"\nlisten = 5\n')
  const outcome = await run('berthctl', ['account', 'list'], { env: { BERTH_CONFIG: file } })
  assert.equal(outcome.code, 2)
  assert.match(outcome.stderr, /wrong\.toml: data_dirr: unknown key/)
  assert.match(outcome.stderr, /wrong\.toml: listen: /)
})
