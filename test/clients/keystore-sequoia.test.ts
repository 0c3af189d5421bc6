/** The real Sequoia, `sq`, on the keystore. Debian 12 has 0.27, Debian 13 has 1.x with other words. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import type { TestContext } from 'node:test'

import { readKey } from 'openpgp'

import { publishKey } from '../support/published-key.ts'
import { startServer } from '../support/server.ts'
import { makeKey } from '../support/signed-sif.ts'
import { finish } from './apptainer-root.ts'
import type { Outcome } from './apptainer-root.ts'

const knows = (...words: string[]): boolean => spawnSync('sq', [...words, '--help']).status === 0
const isOld = knows('keyserver')
const skip =
  isOld || knows('network', 'keyserver') || process.env['CI'] === 'true'
    ? false
    : 'sq is not installed'

interface Sequoia {
  /** Writes what is found to standard output. */
  find(query: string): Promise<Outcome>
  publish(file: string): Promise<Outcome>
}

test('certificates are found by fingerprint, key ID and mail address', { skip }, async (t) => {
  const server = await startServer(t)
  const alice = await server.user('alice')
  const key = await makeKey('alice')
  await publishKey(alice, key.publicKey)
  const sq = openSequoia(t, server.url)
  for (const query of [key.fingerprint, key.fingerprint.slice(-16), 'alice@example.org']) {
    const found = await sq.find(query)
    assert.equal(found.status, 0, found.stderr)
    const certificate = await readKey({ armoredKey: found.stdout })
    assert.deepEqual(certificate.write(), key.publicKey.write(), query)
  }
  const unknown = await sq.find('F'.repeat(40))
  assert.notEqual(unknown.status, 0)
  assert.match(unknown.stderr, /not found|No cert found/i)
})

test('sq, which has no token, publishes nothing but news of known keys', { skip }, async (t) => {
  const key = await makeKey('alice')
  const directory = makeDirectory(t)
  const file = join(directory, 'alice.asc')
  writeFileSync(file, key.publicKey.armor())

  const closed = await startServer(t)
  const refused = await openSequoia(t, closed.url).publish(file)
  assert.notEqual(refused.status, 0)
  // Neither shows what the server says, and 0.27 not even the status.
  assert.match(refused.stderr, /401 Unauthorized|Error communicating with server/)
  const path = `/pks/lookup?op=get&search=0x${key.fingerprint}`
  assert.equal((await closed.anonymous.get(path)).status, 404)

  const open = await startServer(t, { settings: { keystore: { anonymous_updates: true } } })
  const sq = openSequoia(t, open.url)
  assert.notEqual((await sq.publish(file)).status, 0)
  await publishKey(await open.user('alice'), key.publicKey)
  const taken = await sq.publish(file)
  assert.equal(taken.status, 0, taken.stderr)
})

function openSequoia(t: TestContext, url: string): Sequoia {
  const home = makeDirectory(t)
  const server = url.replace(/^http:/, 'hkp:')
  const env = { PATH: process.env['PATH'], HOME: home }
  const sq = async (...args: string[]): Promise<Outcome> => await finish('sq', args, 60, env)
  if (isOld) {
    const words = ['keyserver', '--policy', 'insecure', '--server', server]
    return {
      find: async (query) => await sq(...words, 'get', query),
      publish: async (file) => await sq(...words, 'send', file),
    }
  }
  const words = ['--home', home, '--batch', 'network', 'keyserver']
  return {
    find: async (query) => await sq(...words, 'search', '--server', server, '--output', '-', query),
    publish: async (file) => await sq(...words, 'publish', '--server', server, '--cert-file', file),
  }
}

function makeDirectory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'berth-sequoia-'))
  t.after(() => rmSync(path, { recursive: true, force: true }))
  return path
}
