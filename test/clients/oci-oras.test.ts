/** oras: files as an artifact, and what refers to it. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import { assertLedger, startServer } from '../support/server.ts'
import { openRegistryShell, without } from './registry-shell.ts'

// Debian has no package of it: run where it is installed, in CI too.
const skip = without('oras', false)

test('oras pushes files, attaches to them, lists and deletes', { skip }, async (t) => {
  const server = await startServer(t)
  const shell = openRegistryShell(t, await server.account('alice'))
  const name = `${shell.host}/alice/data/genome`
  writeFileSync(join(shell.work, 'reads.txt'), 'ACGT\n')
  writeFileSync(join(shell.work, 'notes.txt'), 'about the reads\n')
  const login = `oras login --plain-http -u alice --password-stdin ${shell.host}`
  const wrong = await shell.attempt(`echo wrong | ${login}`)
  assert.notEqual(wrong.status, 0)
  await shell.type(`${login} < token`)

  const type = '--artifact-type application/vnd.example.reads'
  await shell.type(`oras push --plain-http ${type} ${name}:v1 reads.txt:text/plain`)
  await shell.type(
    `oras attach --plain-http --artifact-type application/vnd.example.notes ${name}:v1 notes.txt:text/plain`,
  )
  const digest = (await shell.type(`oras resolve --plain-http ${name}:v1`)).trim()
  const referrers = await server.anonymous.get(`/v2/alice/data/genome/referrers/${digest}`)
  const [notes] = referrers.json.manifests
  assert.equal(notes.artifactType, 'application/vnd.example.notes')
  const tree = await shell.type(`oras discover --plain-http ${name}:v1`)
  assert.ok(tree.includes(notes.digest), tree)

  await shell.type(`oras tag --plain-http ${name}:v1 v2`)
  assert.equal(await shell.type(`oras repo tags --plain-http ${name}`), 'v1\nv2\n')
  await shell.type(`oras logout ${shell.host}`)
  await shell.type(`oras pull --plain-http -o pulled ${name}:v2`)
  assert.equal(readFileSync(join(shell.work, 'pulled/reads.txt'), 'utf8'), 'ACGT\n')

  await shell.type(`${login} < token`)
  await shell.type(`oras manifest delete --plain-http --force ${name}@${notes.digest}`)
  const left = await server.anonymous.get(`/v2/alice/data/genome/referrers/${digest}`)
  assert.deepEqual(left.json.manifests, [])
  await shell.type(
    `oras cp --from-plain-http --to-plain-http ${name}:v1 ${shell.host}/alice/copy:v1`,
  )
  const copied = await shell.type(`oras resolve --plain-http ${shell.host}/alice/copy:v1`)
  assert.equal(copied.trim(), digest)
  await assertLedger(server.db)
})
