/** The same with the embedded PostgreSQL, which comes without pg_dump: process by process, as people run it. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

import { assertDone, run } from '../admin/command.ts'
import { makeHost } from '../admin/host.ts'
import { Client, sha256 } from '../support/client.ts'
import { signInAs } from '../support/process.ts'
import { makeSif } from '../support/sif.ts'

test('backup of a running Berth, restore onto an empty host', { timeout: 200_000 }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'berth-bk-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const passphraseFile = join(directory, 'passphrase')
  writeFileSync(passphraseFile, 'correct horse battery staple\n')
  const [first, second] = [await makeHost(t), await makeHost(t)]
  const server = await first.start()
  const admin = await signInAs(server.url, 'admin', server.password ?? '')
  const sif = makeSif({ seed: 'embedded', payload: 3000 })
  assert.equal((await admin.push('admin/demo/tool', 'v1', sif)).status, 200)

  const backups = join(directory, 'backups')
  const secrets = ['--passphrase-file', passphraseFile]
  const create = ['backup', 'create', backups, ...secrets, '--hard-links']
  assertDone(await run('berthctl', create, { env: first.env }))
  assert.equal(await server.end('SIGTERM'), 0)
  assertDone(await run('berthctl', ['backup', 'verify', backups], { env: {} }))

  const restore = ['restore', backups, '--yes', ...secrets]
  assertDone(await run('berthctl', restore, { env: second.env }))
  assert.deepEqual(second.postmasters(), [], 'the restore leaves no PostgreSQL behind')
  const again = await second.start()
  assert.equal(again.password, undefined, 'no first account is made')
  const same = new Client(again.url, admin.credentials)
  const pulled = await same.get('/v1/imagefile/admin/demo/tool:v1?arch=amd64')
  assert.equal(sha256(pulled.body), sha256(sif))
  await signInAs(again.url, 'admin', server.password ?? '')
  assert.equal(await again.end('SIGTERM'), 0)
})
