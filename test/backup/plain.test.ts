/** A backup is read with plain tools, as its README.txt says: without Berth and without Node. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  existsSync,
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

import { generateKey } from 'openpgp'

import { assertDone } from '../admin/command.ts'
import { sha256 } from '../support/client.ts'
import { emptyConfig, imageManifest, pushManifest } from '../support/oci-push.ts'
import { createTestDatabase } from '../support/postgres.ts'
import { makeSif } from '../support/sif.ts'
import { lastFirst, makeSite } from './site.ts'

const life = lastFirst({ after })
const site = await makeSite(life)
const { backups } = site
const sif = makeSif({ seed: 'plain', payload: 4000 })
const layer = Buffer.from('a layer of an image')
const manifest = imageManifest(emptyConfig, [layer])
const anna = await site.server.user('anna')
assert.equal((await anna.push('anna/tools/solver', 'v1', sif)).status, 200)
await pushManifest(anna, 'anna/tools/web', 'v1', manifest, [emptyConfig, layer])
assertDone(await site.backup())
const [name = ''] = readdirSync(join(backups, 'backups'))
const own = join(backups, 'backups', name)

function lines(file: string): string[][] {
  const [, ...rows] = readFileSync(join(own, file), 'utf8').trimEnd().split('\n')
  return rows.map((row) => row.split('\t'))
}

/** Says so by name where a program is missing; .ci/run installs all of them. */
function lacks(program: string): string | false {
  const isThere = spawnSync(program, ['--version'], { stdio: 'ignore' }).error === undefined
  if (!isThere && process.env['CI'] === 'true') return false
  return isThere ? false : `${program} is not installed`
}

test('the index says which file an image is, and the file is the image', () => {
  const row = lines('images.tsv').find(([reference]) => reference === 'anna/tools/solver:v1')
  assert.deepEqual(row?.slice(1, 7), [
    'amd64',
    'sif',
    `sha256:${sha256(sif)}`,
    String(sif.length),
    'anna',
    'public',
  ])
  assert.deepEqual(readFileSync(join(backups, row?.[7] ?? '')), sif)
})

test('every file of the pool is in the list and has the name of its content', () => {
  const listed = lines('blobs.tsv').map(([digest]) => digest?.slice('sha256:'.length))
  const files = readdirSync(join(backups, 'blobs/sha256'))
  assert.deepEqual(new Set(files), new Set(listed))
  assert.equal(files.length, listed.length)
  for (const file of files) {
    assert.equal(sha256(readFileSync(join(backups, 'blobs/sha256', file))), file)
  }
  assert.ok(listed.includes(manifest.digest.slice('sha256:'.length)))
})

test('the newest backup is an OCI image layout', { skip: lacks('skopeo') }, () => {
  const shown = execFileSync('skopeo', ['inspect', '--raw', `oci:${backups}:anna/tools/web:v1`])
  assert.equal(sha256(shown), manifest.digest.slice('sha256:'.length))
})

test('nobody else on the host can read it', () => {
  for (const path of [
    own,
    join(own, 'database'),
    join(own, 'backup.json'),
    join(own, 'secrets.tar.gpg'),
  ]) {
    assert.equal(statSync(path).mode & 0o077, 0, path)
  }
})

test('gpg decrypts the secrets, which are nowhere in clear', { skip: lacks('gpg') }, (t) => {
  const home = mkdtempSync(join(tmpdir(), 'berth-gpg-'))
  t.after(() => rmSync(home, { recursive: true, force: true }))
  const options = ['--homedir', home, '--batch', '--quiet', '--pinentry-mode', 'loopback']
  const archive = join(own, 'secrets.tar.gpg')
  const passphrase = ['--passphrase-file', site.passphraseFile]
  const tar = execFileSync('gpg', [...options, ...passphrase, '--decrypt', archive], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const listed = execFileSync('tar', ['-t'], { input: tar }).toString().trim().split('\n')
  const made = readdirSync(join(site.dataDir, 'secrets')).map((one) => `data/secrets/${one}`)
  assert.deepEqual(listed.sort(), [...made, 'config/berth.toml'].sort())
  const key = readFileSync(join(site.dataDir, 'secrets/capability-key'), 'utf8').trim()
  assert.ok(tar.includes(key))
  const found = spawnSync('grep', ['-rl', '--', key, backups])
  assert.equal(found.stdout.toString(), '')
})

test('psql makes the database of the files', { skip: lacks('psql') }, async (t) => {
  const database = await createTestDatabase()
  t.after(async () => await database.drop())
  const url = new URL(database.url)
  const at = ['-h', url.searchParams.get('host') ?? '', '-U', 'berth', '-d', url.pathname.slice(1)]
  const options = { cwd: join(own, 'database'), stdio: 'pipe' } as const
  execFileSync('psql', ['--no-psqlrc', '-q', ...at, '-f', 'load.sql'], options)
  const counted = execFileSync('psql', [...at, '-Atc', 'select path from repositories order by 1'])
  assert.equal(counted.toString(), 'anna/tools/solver\nanna/tools/web\n')
})

test('a recipient needs no passphrase on the host, and restores with what gpg gives', async (t) => {
  const { publicKey } = await generateKey({ userIDs: [{ name: 'backup' }] })
  const file = join(mkdtempSync(join(tmpdir(), 'berth-key-')), 'backup.asc')
  writeFileSync(file, publicKey)
  t.after(() => rmSync(join(file, '..'), { recursive: true, force: true }))
  const made = await site.berthctl('backup', 'create', backups, '--recipient', file, '--json')
  assertDone(made)
  const told = JSON.parse(made.stdout) as { secrets: string; blobs: { copied: number } }
  assert.equal(told.secrets, 'recipient')
  assert.equal(told.blobs.copied, 0, 'nothing is copied twice')
  assert.ok(existsSync(join(backups, 'backups', name, 'COMPLETE')))
})
