/** The real GnuPG on the keystore, by `--keyserver hkp://…`. */
import assert from 'node:assert/strict'
import test from 'node:test'
import type { TestContext } from 'node:test'

import { generateKey, readKey } from 'openpgp'

import type { Client } from '../support/client.ts'
import { publishKey } from '../support/published-key.ts'
import { startServer } from '../support/server.ts'
import type { TestServer, TestServerOptions } from '../support/server.ts'
import { makeKey } from '../support/signed-sif.ts'
import type { Outcome } from './apptainer-root.ts'
import { openGnupg, withoutGnupg } from './gnupg.ts'
import type { Gnupg } from './gnupg.ts'

const skip = withoutGnupg

test('a search shows the keys with their kinds, times and names', { skip }, async (t) => {
  const { alice, gnupg } = await openSite(t)
  const createdAt = new Date(Math.floor(Date.now() / 1000 - 7200) * 1000)
  const [ed25519, rsa, expired] = await Promise.all([
    makeKey('alice', { createdAt }),
    makeKey('alice', { createdAt, type: 'rsa', lifetimeSeconds: 31_536_000 }),
    makeKey('alice', { createdAt, lifetimeSeconds: 3600 }),
  ])
  for (const { publicKey } of [ed25519, rsa, expired]) await publishKey(alice, publicKey)
  const searched = await gnupg.run('--with-colons', '--search-keys', 'ALICE@example')
  const made = createdAt.getTime() / 1000
  const lines = searched.stdout.trim().split('\n')
  assert.equal(lines[0], 'info:1:3')
  for (const line of [
    `pub:${ed25519.fingerprint}:22:256:${made}::`,
    `pub:${rsa.fingerprint}:1:2048:${made}:${made + 31_536_000}:`,
    `pub:${expired.fingerprint}:22:256:${made}:${made + 3600}:e`,
  ]) {
    assert.ok(lines.includes(line), searched.stdout)
  }
  // Without a person who chooses, the command ends with an error after it has shown them.
  const shown = (await gnupg.run('--search-keys', ed25519.fingerprint)).stdout
  assert.match(shown, /^\(1\)\talice <alice@example\.org>\n\t +256 bit EDDSA key [0-9A-F]{16}/)
  const nothing = await gnupg.run('--search-keys', 'nobody')
  assert.notEqual(nothing.status, 0)
  assert.match(nothing.stderr, /key "nobody" not found on keyserver/)
})

test('keys of GnuPG come back as they were, by every kind of ID', { skip }, async (t) => {
  const { alice, gnupg, server } = await openSite(t)
  for (const algorithm of ['ed25519', 'nistp256', 'rsa4096']) {
    const fingerprint = await generate(gnupg, `alice (${algorithm}) <alice@example.org>`, algorithm)
    await publish(alice, gnupg, fingerprint)
    const exported = (await done(gnupg, '--armor', '--export', fingerprint)).stdout
    for (const digits of [40, 16, 8]) {
      const other = openGnupg(t, server.url)
      const received = await done(other, '--recv-keys', fingerprint.slice(-digits))
      assert.match(received.stderr, /imported: 1\n/)
      const found = await done(other, '--armor', '--export', fingerprint)
      const [theirs, ours] = await Promise.all(
        [found.stdout, exported].map(async (armoredKey) => await readKey({ armoredKey })),
      )
      assert.deepEqual(theirs?.write(), ours?.write(), `${algorithm} by ${digits} digits`)
    }
  }
  const unknown = await gnupg.run('--recv-keys', 'F'.repeat(40))
  assert.notEqual(unknown.status, 0)
  assert.match(unknown.stderr, /keyserver receive failed: (?:No data|Not found)/)
})

test('a key is located by the mail address in it, with whatever signs', { skip }, async (t) => {
  const { alice, server } = await openSite(t)
  const { publicKey } = await generateKey({
    type: 'ecc',
    curve: 'ed25519Legacy',
    userIDs: [{ name: 'alice', comment: '50% of: ü', email: 'alice+ci@example.org' }],
    format: 'object',
  })
  await publishKey(alice, publicKey)
  const gnupg = openGnupg(t, server.url)
  const locate = ['--auto-key-locate', 'clear,keyserver', '--locate-external-keys'] as const
  const located = await done(gnupg, '--with-colons', ...locate, 'alice+ci@example.org')
  assert.match(located.stdout, new RegExp(`^fpr:+${publicKey.getFingerprint()}:$`, 'im'))
  assert.match(located.stdout, /^uid:.*:alice \(50% of\\x3a ü\) <alice\+ci@example\.org>:/m)
})

test('a refresh brings the revocation that was published meanwhile', { skip }, async (t) => {
  const { alice, gnupg, server } = await openSite(t)
  const fingerprint = await generate(gnupg, 'alice <alice@example.org>', 'ed25519')
  await publish(alice, gnupg, fingerprint)
  const other = openGnupg(t, server.url)
  await done(other, '--recv-keys', fingerprint)
  const before = await done(other, '--refresh-keys')
  assert.match(before.stderr, /unchanged: 1\n/)
  assert.equal(await validityOf(other, fingerprint), '-')

  await revoke(gnupg, fingerprint)
  await publish(alice, gnupg, fingerprint)
  const after = await done(other, '--refresh-keys')
  assert.match(
    after.stderr,
    /"alice <alice@example\.org>" revocation certificate (?:added|imported)\n/,
  )
  assert.equal(await validityOf(other, fingerprint), 'r')
})

test('gpg, which has no token, publishes nothing', { skip }, async (t) => {
  const { alice, gnupg, server } = await openSite(t)
  const fingerprint = await generate(gnupg, 'alice <alice@example.org>', 'ed25519')
  const sent = await gnupg.run('--send-keys', fingerprint)
  assert.notEqual(sent.status, 0)
  // It shows nothing of what the server says; that is in the log for whoever looks.
  assert.match(sent.stderr, /keyserver send failed: No data/)
  assert.match(gnupg.dirmngrLog(), /\/pks\/add': http status 401\n/)
  const path = `/pks/lookup?op=get&search=0x${fingerprint}`
  assert.equal((await server.anonymous.get(path)).status, 404)
  // Not even news of a key that is known.
  await publish(alice, gnupg, fingerprint)
  assert.notEqual((await gnupg.run('--send-keys', fingerprint)).status, 0)
})

test('where the site allows it, gpg brings news of known keys', { skip }, async (t) => {
  const settings = { keystore: { anonymous_updates: true } }
  const { alice, gnupg, server } = await openSite(t, { settings })
  const fingerprint = await generate(gnupg, 'alice <alice@example.org>', 'ed25519')
  assert.notEqual((await gnupg.run('--send-keys', fingerprint)).status, 0)
  await publish(alice, gnupg, fingerprint)
  await done(gnupg, '--send-keys', fingerprint)
  await revoke(gnupg, fingerprint)
  await done(gnupg, '--send-keys', fingerprint)
  const index = await server.anonymous.get(
    `/pks/lookup?op=index&options=mr&search=0x${fingerprint}`,
  )
  assert.match(index.body.toString(), new RegExp(`^pub:${fingerprint}:22:256:\\d+::r$`, 'm'))
})

interface Site {
  readonly server: TestServer
  readonly alice: Client
  readonly gnupg: Gnupg
}

async function openSite(t: TestContext, options: TestServerOptions = {}): Promise<Site> {
  const server = await startServer(t, options)
  return { server, alice: await server.user('alice'), gnupg: openGnupg(t, server.url) }
}

async function done(gnupg: Gnupg, ...args: readonly string[]): Promise<Outcome> {
  const outcome = await gnupg.run(...args)
  assert.equal(outcome.status, 0, `${args.join(' ')}\n${outcome.stdout}${outcome.stderr}`)
  return outcome
}

async function generate(gnupg: Gnupg, userId: string, algorithm: string): Promise<string> {
  const options = ['--status-fd', '1', '--quick-generate-key', userId, algorithm, 'sign', 'never']
  const made = await done(gnupg, ...options)
  return /KEY_CREATED P ([0-9A-F]{40})/.exec(made.stdout)?.[1] ?? assert.fail(made.stdout)
}

/** As its owner does, who has a token. */
async function publish(who: Client, gnupg: Gnupg, fingerprint: string): Promise<void> {
  const armoredKey = (await done(gnupg, '--armor', '--export', fingerprint)).stdout
  await publishKey(who, await readKey({ armoredKey }))
}

/** By the certificate that gpg makes with each key, with a colon before it against accidents. */
async function revoke(gnupg: Gnupg, fingerprint: string): Promise<void> {
  const certificate = gnupg.read(`openpgp-revocs.d/${fingerprint}.rev`).replace(/^:(?=-----)/m, '')
  await done(gnupg, '--import', gnupg.file('revocation.asc', certificate))
}

/** `r` of a revoked key, `-` of one about which nothing is known. */
async function validityOf(gnupg: Gnupg, fingerprint: string): Promise<string | undefined> {
  const { stdout } = await done(gnupg, '--with-colons', '--list-keys', fingerprint)
  return /^pub:(.)/m.exec(stdout)?.[1]
}
