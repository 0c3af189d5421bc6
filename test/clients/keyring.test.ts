/** The real Apptainer on a host that has the files of `berthctl keyring export`. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import type { TestContext } from 'node:test'

import { revokeKey } from 'openpgp'

import { assertDone, run } from '../admin/command.ts'
import { publishKey } from '../support/published-key.ts'
import type { TestServer } from '../support/server.ts'
import { makeKey } from '../support/signed-sif.ts'
import type { TestKey } from '../support/signed-sif.ts'
import { buildHello } from './apptainer-build.ts'
import type { Apptainer } from './apptainer-root.ts'
import {
  assertVerified,
  copyEtc,
  done,
  failed,
  openSite,
  putImage,
  retire,
  withoutSigning,
} from './signing-site.ts'

const skip = withoutSigning

test('keys of the global keyring are known without the keystore', { skip }, async (t) => {
  const { alice, node, server, newMachine } = await openSite(t)
  const etc = copyEtc(t)
  const createdAt = new Date(Date.now() - 7_200_000)
  const [ed25519, rsa, subkey, revoked, stranger] = await Promise.all([
    makeKey('alice'),
    makeKey('alice', { type: 'rsa' }),
    makeKey('alice', { signingSubkey: true }),
    makeKey('alice', { createdAt }),
    makeKey('eve'),
  ])
  for (const key of [ed25519, rsa, subkey, revoked]) await publishKey(alice, key.publicKey)
  const keys = [ed25519, rsa, subkey, revoked, stranger]
  for (const [index, key] of keys.entries()) await signImage(node, `${index}.sif`, key, index)
  await retire(alice, rsa.fingerprint)
  const gone = await revokeKey({ key: revoked.privateKey, format: 'object' })
  await publishKey(alice, gone.publicKey)
  await exportKeyring(t, server, etc)

  const host = newMachine(etc)
  const listed = await done(host, 'key', 'list', '--global')
  for (const { fingerprint } of [ed25519, rsa, subkey, revoked]) {
    assert.match(listed.stdout, new RegExp(`Fingerprint: +${fingerprint}\\n`))
  }
  for (const [index, key] of [ed25519, rsa, subkey].entries()) {
    const outcome = await host.run('verify', '--local', `${index}.sif`)
    assertVerified(outcome, 'GLOBAL', 'alice <alice@example.org>', key.fingerprint)
  }
  assert.match(
    (await failed(host, 'verify', '--local', '3.sif')).stderr,
    /signature made by revoked key/,
  )
  assert.match((await failed(host, 'verify', '--local', '4.sif')).stderr, /unknown entity/)
})

test('the control list lets run what a live key of the list has signed', { skip }, async (t) => {
  const { alice, node, server, newMachine } = await openSite(t)
  const bob = await server.user('bob')
  const [signing, retired, ofBob] = await Promise.all([
    makeKey('alice'),
    makeKey('alice'),
    makeKey('bob'),
  ])
  await publishKey(alice, signing.publicKey)
  await publishKey(alice, retired.publicKey)
  await publishKey(bob, ofBob.publicKey)
  await buildHello(node, 'plain.sif')
  await done(node, 'build', 'signed.sif', 'plain.sif')
  await done(node, 'build', 'retired.sif', 'plain.sif')
  await done(node, 'build', 'bob.sif', 'plain.sif')
  await sign(node, 'signed.sif', signing, 0)
  await sign(node, 'retired.sif', retired, 1)
  await sign(node, 'bob.sif', ofBob, 2)
  await retire(alice, retired.fingerprint)

  const etc = copyEtc(t)
  const accounts = join(newDirectory(t), 'accounts')
  writeFileSync(accounts, 'alice # makes the images\n')
  await exportKeyring(t, server, etc, '--accounts', accounts)
  const host = newMachine(etc)
  assert.equal((await done(host, 'run', 'signed.sif')).stdout, 'hello from a container\n')
  const notSigned = /while checking container image with ECL: .*signature not found/
  assert.match((await failed(host, 'run', 'plain.sif')).stderr, notSigned)
  const notByThem = /while checking container image with ECL: image not signed by required entities/
  assert.match((await failed(host, 'run', 'retired.sif')).stderr, notByThem)
  // Its key is not in the keyring of these accounts either.
  assert.match((await failed(host, 'run', 'bob.sif')).stderr, /checking container image with ECL/)

  await exportKeyring(t, server, etc)
  const later = newMachine(etc)
  assert.equal((await done(later, 'run', 'bob.sif')).stdout, 'hello from a container\n')
  // Nobody's list lets nothing run, and is still a list that the client takes.
  await server.user('carol')
  writeFileSync(accounts, 'carol\n')
  await exportKeyring(t, server, etc, '--accounts', accounts)
  assert.match((await failed(newMachine(etc), 'run', 'signed.sif')).stderr, /with ECL/)
  assert.equal((await done(newMachine(), 'run', 'plain.sif')).stdout, 'hello from a container\n')
})

async function exportKeyring(
  t: TestContext,
  server: TestServer,
  directory: string,
  ...options: readonly string[]
): Promise<void> {
  const file = join(newDirectory(t), 'berth.toml')
  const url = server.appliance.config.database?.url
  writeFileSync(file, `data_dir = "${server.dataDir}"\n[database]\nurl = "${url}"\n`)
  const env = { BERTH_CONFIG: file }
  assertDone(await run('berthctl', ['keyring', 'export', directory, ...options], { env }))
}

function newDirectory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'berth-keyring-'))
  t.after(() => rmSync(path, { recursive: true, force: true }))
  return path
}

async function signImage(who: Apptainer, file: string, key: TestKey, index: number): Promise<void> {
  putImage(who, file, file)
  await sign(who, file, key, index)
}

/** `index` is that of the key among the secret ones of the machine, once it is there. */
async function sign(who: Apptainer, file: string, key: TestKey, index: number): Promise<void> {
  writeFileSync(join(who.work, 'secret.asc'), key.privateKey.armor())
  await done(who, 'key', 'import', 'secret.asc')
  await done(who, 'sign', '--keyidx', String(index), file)
}
