/** berthctl keyring on the database of a running server; test/clients has Apptainer read the files. */
import assert from 'node:assert/strict'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { enums, generateKey, readKeys, revokeKey } from 'openpgp'
import { parse } from 'smol-toml'

import { hostOperator } from '../../server/accounts/accounts.ts'
import { replaceMemberships } from '../../server/accounts/groups.ts'
import { publishKey } from '../support/published-key.ts'
import { startServer } from '../support/server.ts'
import { makeKey } from '../support/signed-sif.ts'
import type { TestKey } from '../support/signed-sif.ts'
import { assertDone, assertRefused, run } from './command.ts'
import type { Outcome } from './command.ts'

const server = await startServer({ after })
const { keystore, database } = server.appliance
const directory = mkdtempSync(join(tmpdir(), 'berth-keyring-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const keys = await makeKeys()
const accounts = listOf('accounts', '# may sign what runs\nalice\n\n  physics  # a group\n')

test('both files have the keys of the site, each as clients read it', async () => {
  const target = newDirectory('all')
  const outcome = await berthctl('keyring', 'export', target)
  assertDone(outcome)
  assert.equal(
    outcome.stdout,
    `${target}/global-pgp-public: 6 keys, written\n${target}/ecl.toml: 3 keys, written\n`,
  )
  assert.equal(outcome.stderr, '')
  assert.deepEqual(readdirSync(target).sort(), ['ecl.toml', 'global-pgp-public'])
  for (const name of readdirSync(target)) {
    assert.equal(statSync(join(target, name)).mode & 0o777, 0o644, name)
  }
  const { alice, bob, eve, expired, retired, revoked } = keys
  assert.deepEqual(
    await keyringIn(target),
    fingerprintsOf(alice, bob, eve, expired, retired, revoked),
  )
  // Its tables have no prototype.
  const list: unknown = JSON.parse(
    JSON.stringify(parse(readFileSync(join(target, 'ecl.toml'), 'utf8'))),
  )
  assert.deepEqual(list, {
    activated: true,
    execgroup: [
      { tagname: 'berth', mode: 'whitelist', dirpath: '', keyfp: fingerprintsOf(alice, bob, eve) },
    ],
  })
})

test('with a list the files have the keys of its accounts and of the members of groups', async () => {
  const target = newDirectory('listed')
  assertDone(await berthctl('keyring', 'export', target, '--accounts', accounts))
  const { alice, bob, expired, retired, revoked } = keys
  assert.deepEqual(await keyringIn(target), fingerprintsOf(alice, bob, expired, retired, revoked))
  assert.deepEqual(allowedIn(target), fingerprintsOf(alice, bob))
})

test('files that are as they should be are left alone, and --check says which are not', async () => {
  const target = newDirectory('again')
  const words = ['keyring', 'export', target] as const
  assertRefused(
    await berthctl(...words, '--check'),
    1,
    /Not up to date: \S+\/global-pgp-public, \S+\/ecl\.toml\. Nothing was written\./,
  )
  assert.deepEqual(readdirSync(target), [])
  assertDone(await berthctl(...words))
  const before = readdirSync(target).map((name) => statSync(join(target, name)).ino)

  const again = await berthctl(...words, '--json')
  const files = JSON.parse(again.stdout) as { file: string; changed: boolean; keys: unknown[] }[]
  assert.deepEqual(
    files.map((one) => [one.file, one.changed, one.keys.length]),
    [
      [`${target}/global-pgp-public`, false, 6],
      [`${target}/ecl.toml`, false, 3],
    ],
  )
  const { fingerprint } = keys.retired
  assert.deepEqual(
    files[0]?.keys.find((key) => (key as { fingerprint: string }).fingerprint === fingerprint),
    { fingerprint, owner: 'alice', state: 'retired' },
  )
  assert.deepEqual(
    readdirSync(target).map((name) => statSync(join(target, name)).ino),
    before,
  )
  assert.match((await berthctl(...words, '--check')).stdout, /ecl\.toml: 3 keys, unchanged\n$/)

  chmodSync(join(target, 'ecl.toml'), 0o600)
  const check = await berthctl(...words, '--check')
  assertRefused(check, 1, /Not up to date: \S+\/ecl\.toml\./)
})

test('a key that was retired since then goes from the control list, not from the keyring', async () => {
  const target = newDirectory('retired')
  const { eve } = keys
  assertDone(await berthctl('keyring', 'export', target))
  await keystore.setRetired(hostOperator, eve.fingerprint, true)
  try {
    const outcome = await berthctl('keyring', 'export', target)
    assert.match(
      outcome.stdout,
      /global-pgp-public: 6 keys, unchanged\n.*ecl\.toml: 2 keys, written/,
    )
    assert.equal(allowedIn(target).includes(eve.fingerprint), false)
  } finally {
    await keystore.setRetired(hostOperator, eve.fingerprint, false)
  }
})

test('a list of people without a live key says what that means', async () => {
  await server.user('mallory')
  const target = newDirectory('nobody')
  const list = listOf('nobody', 'mallory\n')
  const outcome = await berthctl('keyring', 'export', target, '--accounts', list)
  assert.equal(outcome.code, 0)
  assert.match(
    outcome.stderr,
    /^berthctl: no key is live: with this ecl\.toml no image runs [^\n]+\n$/,
  )
  assert.deepEqual([await keyringIn(target), allowedIn(target)], [[], []])
})

const badLists: readonly (readonly [string, string, RegExp])[] = [
  [
    'an unknown name',
    '# people\nalice\n\nnobody # gone\n',
    /\/bad, line 4: there is no account or group "nobody"\./,
  ],
  ['nobody', '# none yet\n\n', /\/bad names nobody\./],
  [
    'an escape sequence',
    'x\u001b[31m\n',
    /\/bad, line 1: there is no account or group "x\P{Cc}*"\./u,
  ],
]
for (const [what, text, why] of badLists) {
  test(`a list with ${what} is refused, and nothing is written`, async () => {
    const target = newDirectory(`bad ${what}`)
    const list = listOf('bad', text)
    assertRefused(await berthctl('keyring', 'export', target, '--accounts', list), 1, why)
    assert.deepEqual(readdirSync(target), [])
  })
}

test('files and directories that are not there are named', async () => {
  const absent = join(directory, 'absent')
  assertRefused(await berthctl('keyring', 'export', absent), 1, /ENOENT.*absent/)
  const words = ['keyring', 'export', newDirectory('present'), '--accounts', absent]
  assertRefused(await berthctl(...words), 1, /ENOENT.*absent/)
})

const misuses: readonly (readonly [string, RegExp])[] = [
  ['keyring', /Say what to do: export/],
  ['keyring import /tmp', /Say what to do: export/],
  ['keyring export', /Say "berthctl keyring export DIR/],
  ['keyring export a b', /Say "berthctl keyring export DIR/],
  ['keyring export a --all', /Unknown option '--all'/],
]
for (const [words, why] of misuses) {
  test(`"${words}" is refused before anything is opened`, async () => {
    assertRefused(await berthctl(...words.split(' ')), 2, why)
  })
}

async function berthctl(...words: readonly string[]): Promise<Outcome> {
  const file = join(directory, 'berth.toml')
  const url = server.appliance.config.database?.url
  writeFileSync(file, `data_dir = "${server.dataDir}"\n[database]\nurl = "${url}"\n`)
  return await run('berthctl', words, { env: { BERTH_CONFIG: file } })
}

/** One of each kind: all are alice's but those of bob (of the group physics) and of eve. */
async function makeKeys() {
  const createdAt = new Date(Date.now() - 7_200_000)
  const [alice, expired, retired, revoked, tombstoned, bob, eve] = await Promise.all([
    makeKey('alice'),
    makeKey('alice', { createdAt, lifetimeSeconds: 3600 }),
    makeKey('alice'),
    makeKey('alice'),
    makeKey('alice'),
    makeKey('bob'),
    makeKey('eve'),
  ])
  const pusher = await server.user('alice')
  for (const key of [alice, expired, retired, revoked, tombstoned]) {
    await publishKey(pusher, key.publicKey)
  }
  const gone = await revokeKey({ key: revoked.privateKey, format: 'object' })
  await publishKey(pusher, gone.publicKey)
  // Clients cannot use it: it is in neither file.
  const { publicKey } = await generateKey({
    type: 'curve25519',
    userIDs: [{ name: 'alice' }],
    format: 'object',
    config: { v6Keys: true, preferredHashAlgorithm: enums.hash.sha512 },
  })
  await publishKey(pusher, publicKey)
  const client = await server.user('bob')
  await publishKey(client, bob.publicKey)
  await publishKey(await server.user('eve'), eve.publicKey)
  await database.transaction(async (tx) => {
    await replaceMemberships(tx, client.credentials?.accountId ?? assert.fail(), ['physics'])
  })
  await keystore.setRetired(hostOperator, retired.fingerprint, true)
  await keystore.tombstone(hostOperator, tombstoned.fingerprint, 'test')
  return { alice, bob, eve, expired, retired, revoked }
}

function newDirectory(name: string): string {
  const path = join(directory, name.replaceAll(' ', '-'))
  mkdirSync(path)
  return path
}

function listOf(name: string, text: string): string {
  const path = join(directory, name === 'bad' ? 'bad' : `${name}.txt`)
  writeFileSync(path, text)
  return path
}

async function keyringIn(target: string): Promise<string[]> {
  const binaryKeys = readFileSync(join(target, 'global-pgp-public'))
  if (binaryKeys.length === 0) return []
  return (await readKeys({ binaryKeys })).map((key) => key.getFingerprint().toUpperCase())
}

function allowedIn(target: string): string[] {
  const list = parse(readFileSync(join(target, 'ecl.toml'), 'utf8')) as unknown as {
    execgroup: { keyfp: string[] }[]
  }
  return list.execgroup[0]?.keyfp ?? assert.fail()
}

function fingerprintsOf(...keys: readonly TestKey[]): string[] {
  return keys.map(({ fingerprint }) => fingerprint).sort()
}
