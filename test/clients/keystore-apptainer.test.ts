/** The real Apptainer on the keystore: `key` with its verbs, `sign` and `verify`. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import { generateKey, revokeKey } from 'openpgp'

import { publishKey } from '../support/published-key.ts'
import { makeKey } from '../support/signed-sif.ts'
import type { Apptainer } from './apptainer-root.ts'
import { keysIn } from './key-table.ts'
import {
  assertVerified,
  done,
  failed,
  newpair,
  onlyKey,
  openSite,
  person,
  putImage,
  retire,
  withoutSigning,
} from './signing-site.ts'

const skip = withoutSigning
const nothingFound = /no matching keys found for fingerprint\n$/

test('a key that is made and pushed at once is found in both lists', { skip }, async (t) => {
  const { node, other } = await openSite(t)
  const made = await newpair(node, 'work', '--push')
  const fingerprint = await onlyKey(node)
  assert.equal(
    made.stdout,
    'Generating Entity and OpenPGP Key Pair... done\nKey successfully pushed to keystore\n',
  )
  assert.equal(made.stderr, `INFO:    Key server response: Key ${fingerprint} added.\n`)

  const short = await done(other, 'key', 'search', 'alice')
  assert.deepEqual(short.stdout.trimEnd().split('\n'), [
    'Showing 1 results',
    '',
    'KEY ID    BITS  NAME/EMAIL',
    `${fingerprint.slice(-8)}  4096  alice (work) <alice>`,
  ])
  const [key = assert.fail()] = keysIn((await done(other, 'key', 'search', '-l', 'alice')).stdout)
  const { created, ...facts } = key
  assert.deepEqual(facts, {
    fingerprint,
    algorithm: 'RSA',
    bits: 4096,
    expires: undefined,
    status: 'enabled',
    userIds: ['alice (work) <alice>'],
  })
  assert.ok(Math.abs(Date.now() - created.getTime()) < 300_000, created.toISOString())
  for (const name of [fingerprint, fingerprint.slice(-16), fingerprint.slice(-8), 'WORK', 'lice']) {
    const found = await done(other, 'key', 'search', '-l', name)
    assert.deepEqual(keysIn(found.stdout), [key], name)
  }
})

test(
  'a key that was kept back is pushed later, and pulled by whoever wants it',
  { skip },
  async (t) => {
    const { node, other, newMachine } = await openSite(t)
    const made = await newpair(node, 'work', '--push=false')
    assert.equal(made.stdout, 'Generating Entity and OpenPGP Key Pair... done\n')
    const fingerprint = await onlyKey(node)
    assert.match((await failed(other, 'key', 'search', 'alice')).stderr, nothingFound)

    for (const outcome of ['added', 'unchanged']) {
      const pushed = await done(node, 'key', 'push', fingerprint)
      assert.equal(pushed.stdout, `public key \`${fingerprint}' pushed to server successfully\n`)
      assert.equal(pushed.stderr, `INFO:    Key server response: Key ${fingerprint} ${outcome}.\n`)
    }
    for (const [machine, name] of [
      [other, fingerprint],
      [newMachine(), fingerprint.slice(-8)],
    ] as const) {
      const pulled = await done(machine, 'key', 'pull', name)
      assert.match(pulled.stdout, /^1 key\(s\) added to keyring of trust \S+\/keys\/pgp-public\n$/)
      const again = await done(machine, 'key', 'pull', name)
      assert.match(again.stdout, /^0 key\(s\) added to keyring of trust /)
      assert.equal(await onlyKey(machine), fingerprint)
    }
  },
)

interface Kind {
  readonly name: string
  /** As `key search` shows it: the client has no name for EdDSA. */
  readonly algorithm: string
  readonly bits: number
  readonly make: (node: Apptainer) => Promise<void>
}
const kinds: readonly Kind[] = [
  {
    name: 'RSA with 4096 bits',
    algorithm: 'RSA',
    bits: 4096,
    make: async (node) => {
      await newpair(node, 'signing', '--push=false')
    },
  },
  {
    name: 'Ed25519 of GnuPG',
    algorithm: 'unknown',
    bits: 256,
    make: async (node) => await importFromGnupg(node, 'ed25519'),
  },
  {
    name: 'NIST P-256 of GnuPG',
    algorithm: 'ECDSA',
    bits: 256,
    make: async (node) => await importFromGnupg(node, 'nistp256'),
  },
]
for (const { name, algorithm, bits, make } of kinds) {
  test(`signed by ${name}, an image is verified wherever it is pulled`, { skip }, async (t) => {
    const { alice, node, other } = await openSite(t)
    await make(node)
    const fingerprint = await onlyKey(node)
    await done(node, 'key', 'push', fingerprint)
    const [key = assert.fail()] = keysIn((await done(other, 'key', 'search', '-l', 'alice')).stdout)
    assert.deepEqual(
      [key.fingerprint, key.algorithm, key.bits, key.status],
      [fingerprint, algorithm, bits, 'enabled'],
    )

    putImage(node, 'hello.sif', name)
    assert.match(
      (await done(node, 'sign', '--keyidx', '0', 'hello.sif')).stderr,
      /Signature created and applied to image 'hello\.sif'\n$/,
    )
    const pushed = await done(node, 'push', 'hello.sif', 'library://alice/demo/hello:v1')
    assert.doesNotMatch(pushed.stderr, /WARNING/)
    const image = (await alice.get('/v1/images/alice/demo/hello:v1')).json.data as {
      readonly verified: boolean
      readonly fingerprints: readonly string[]
    }
    assert.deepEqual([image.verified, image.fingerprints], [true, [fingerprint]])

    // Without --allow-unsigned a pull verifies, and fails where that does.
    const pulled = await done(other, 'pull', 'pulled.sif', 'library://alice/demo/hello:v1')
    assert.doesNotMatch(pulled.stderr, /WARNING/)
    assertVerified(await other.run('verify', 'pulled.sif'), 'REMOTE', key.userIds[0], fingerprint)
    assert.match(
      (await failed(other, 'verify', '--local', 'pulled.sif')).stderr,
      /signature made by unknown entity/,
    )
    await done(other, 'key', 'pull', fingerprint)
    assertVerified(await other.run('verify', 'pulled.sif'), 'LOCAL', key.userIds[0], fingerprint)
  })
}

test('a search shows what became of each key, and all of its names', { skip }, async (t) => {
  const { alice, other } = await openSite(t)
  const createdAt = new Date(Math.floor(Date.now() / 1000 - 7200) * 1000)
  const [live, year, expired, revoked, retired] = await Promise.all([
    makeKey('alice', { createdAt }),
    makeKey('alice', { createdAt, lifetimeSeconds: 31_536_000 }),
    makeKey('alice', { createdAt, lifetimeSeconds: 3600 }),
    makeKey('alice', { createdAt }),
    makeKey('alice', { createdAt, type: 'rsa' }),
  ])
  const gone = await revokeKey({ key: revoked.privateKey, format: 'object' })
  const several = await generateKey({
    type: 'ecc',
    curve: 'nistP384',
    userIDs: [
      { name: 'alice', comment: 'a+b', email: 'alice@example.org' },
      { name: 'alice', comment: 'a:b%41 ü' },
    ],
    date: createdAt,
    format: 'object',
  })
  for (const key of [live, year, expired, retired]) await publishKey(alice, key.publicKey)
  await publishKey(alice, gone.publicKey)
  await publishKey(alice, several.publicKey)
  await retire(alice, retired.fingerprint)

  const keys = keysIn((await done(other, 'key', 'search', '-l', 'alice')).stdout)
  const shown = (fingerprint: string): unknown[] => {
    const key = keys.find((one) => one.fingerprint === fingerprint) ?? assert.fail()
    assert.deepEqual(key.created, createdAt)
    const life = key.expires && (key.expires.getTime() - createdAt.getTime()) / 1000
    return [key.algorithm, key.bits, life, key.status]
  }
  assert.equal(keys.length, 6)
  assert.deepEqual(shown(live.fingerprint), ['unknown', 256, undefined, 'enabled'])
  assert.deepEqual(shown(year.fingerprint), ['unknown', 256, 31_536_000, 'enabled'])
  assert.deepEqual(shown(expired.fingerprint), ['unknown', 256, 3600, 'expired'])
  assert.deepEqual(shown(revoked.fingerprint), ['unknown', 256, undefined, 'revoked'])
  assert.deepEqual(shown(retired.fingerprint), ['RSA', 2048, undefined, 'disabled'])
  const severalNames = several.publicKey.getFingerprint().toUpperCase()
  assert.deepEqual(shown(severalNames), ['ECDSA', 384, undefined, 'enabled'])
  assert.deepEqual(keys.find(({ fingerprint }) => fingerprint === severalNames)?.userIds, [
    'alice (a+b) <alice@example.org>',
    'alice (a:b%41 ü)',
  ])
  const byOneName = keysIn((await done(other, 'key', 'search', '-l', 'a:b%41 ü')).stdout)
  assert.deepEqual(
    byOneName.map(({ fingerprint }) => fingerprint),
    [severalNames],
  )
  // All of them can be had, for the images of earlier days.
  for (const { fingerprint } of keys) {
    assert.match((await done(other, 'key', 'pull', fingerprint)).stdout, /^1 key\(s\) added/)
  }
})

test(
  'an image stays verified by a retired key, and does not by a revoked one',
  { skip },
  async (t) => {
    const { alice, node, other } = await openSite(t)
    const key = await makeKey('alice')
    writeFileSync(join(node.work, 'secret.asc'), key.privateKey.armor())
    await done(node, 'key', 'import', 'secret.asc')
    await done(node, 'key', 'push', key.fingerprint)
    putImage(node, 'hello.sif', 'retired and revoked')
    await done(node, 'sign', '--keyidx', '0', 'hello.sif')

    await retire(alice, key.fingerprint)
    assertVerified(
      await other.run('verify', 'hello.sif'),
      'REMOTE',
      key.publicKey.getUserIDs()[0],
      key.fingerprint,
    )
    const gone = await revokeKey({ key: key.privateKey, format: 'object' })
    await publishKey(alice, gone.publicKey)
    const refused = await failed(other, 'verify', 'hello.sif')
    assert.match(refused.stdout + refused.stderr, /signature made by revoked key/)
  },
)

test('what is refused is said in words, and what to do about it', { skip }, async (t) => {
  const { node, other, server } = await openSite(t)
  await server.user('bob')
  await done(node, 'key', 'newpair', ...person('mallory', 'work'), '--push=false')
  const mallory = await onlyKey(node)
  const unnamed = await failed(node, 'key', 'push', mallory)
  assert.match(
    unnamed.stderr,
    /key server did not accept PGP key: 400 Bad Request: No user ID of this key names you: put your account name "alice"/,
  )
  const foreign = await makeKey('bob')
  writeFileSync(join(node.work, 'bob.asc'), foreign.publicKey.armor())
  await done(node, 'key', 'import', 'bob.asc')
  assert.match(
    (await failed(node, 'key', 'push', foreign.fingerprint)).stderr,
    /400 Bad Request: No user ID of this key names you/,
  )
  const atMade = await newpair(node, 'mallory', '--push', 'mallory')
  assert.match(atMade.stdout + atMade.stderr, /No user ID of this key names you/)

  await done(other, 'key', 'newpair', ...person('alice', 'work'), '--push=false')
  const out = await failed(other, 'key', 'push', await onlyKey(other))
  assert.match(out.stderr, /Login to default remote with "apptainer remote login/)
  assert.match(out.stderr, /unauthorized or missing token/)

  assert.match((await failed(other, 'key', 'search', 'zz')).stderr, /Search for at least 3 char/)
  assert.match((await failed(other, 'key', 'search', 'nobody')).stderr, nothingFound)
  assert.match((await failed(other, 'key', 'pull', mallory)).stderr, nothingFound)

  putImage(node, 'hello.sif', 'nobody knows')
  await done(node, 'sign', '--keyidx', '0', 'hello.sif')
  const unknown = await failed(other, 'verify', 'hello.sif')
  assert.match(unknown.stderr, /WARNING: failed to get key material: 404 Not Found/)
  assert.match(unknown.stderr, /signature made by unknown entity/)
})

/** Made by the GnuPG of that machine, which Apptainer cannot. */
async function importFromGnupg(who: Apptainer, algorithm: string): Promise<void> {
  const quiet = "gpg --batch --quiet --pinentry-mode loopback --passphrase ''"
  for (const line of [
    `${quiet} --quick-generate-key 'alice (gnupg) <alice@example.org>' ${algorithm} sign never`,
    `${quiet} --export-secret-keys --armor > secret.asc`,
  ]) {
    const outcome = await who.type(line)
    assert.equal(outcome.status, 0, outcome.stderr)
  }
  await done(who, 'key', 'import', 'secret.asc')
}
