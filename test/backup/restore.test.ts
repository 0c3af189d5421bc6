/** What a backup and a restore refuse, and what they say of bytes that are lost. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import { checkBackupAge } from '../../server/backup/records.ts'
import { markRestore } from '../../server/backup/restore-marker.ts'
import { sql } from '../../server/database.ts'
import { assertDone, assertRefused } from '../admin/command.ts'
import { Client, sha256 } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { lastFirst, makeEmptyHost, makeSite } from './site.ts'
import type { Site } from './site.ts'

const sif = makeSif({ seed: 'restore', payload: 4000 })
const other = makeSif({ seed: 'other', payload: 4000 })

async function filled(site: Site): Promise<Client> {
  const anna = await site.server.user('anna')
  assert.equal((await anna.push('anna/demo/tool', 'v1', sif)).status, 200)
  assert.equal((await anna.push('anna/demo/other', 'v1', other)).status, 200)
  return anna
}

function storedPath(site: Site, bytes: Buffer): string {
  const hex = sha256(bytes)
  return join(site.dataDir, 'store/blobs/sha256', hex.slice(0, 2), hex)
}

test('a restore refuses a host that is not empty, and whoever does not mean it', async (t) => {
  const life = lastFirst(t)
  const site = await makeSite(life)
  await filled(site)
  assertDone(await site.backup())
  const { backups, passphraseFile } = site
  const yes = ['--yes', '--passphrase-file', passphraseFile]

  assertRefused(await site.berthctl('restore', backups, ...yes), 1, /data is not empty/)
  const host = await makeEmptyHost(life)
  assertRefused(
    await host.berthctl('restore', backups, '--passphrase-file', passphraseFile),
    1,
    /Add --yes/,
  )
  assertRefused(await host.berthctl('restore', backups, '--yes'), 2, /--passphrase-file/)
  const wrong = join(host.configFile, '../wrong')
  writeFileSync(wrong, 'some other passphrase')
  assertRefused(
    await host.berthctl('restore', backups, '--yes', '--passphrase-file', wrong),
    1,
    /another passphrase/,
  )
  assertRefused(await host.berthctl('restore', `${backups}/nothing`, ...yes), 1, /no whole backup/)
  assert.ok(!existsSync(host.dataDir), 'nothing was begun')

  // The other's database with an empty directory.
  rmSync(join(host.configFile, '../data'), { recursive: true, force: true })
  const text = readFileSync(site.configFile, 'utf8').replace(site.dataDir, host.dataDir)
  writeFileSync(host.configFile, text)
  assertRefused(await host.berthctl('restore', backups, ...yes), 1, /database is not empty/)
})

test('an interrupted restore opens nothing, and goes on when it is called again', async (t) => {
  const life = lastFirst(t)
  const site = await makeSite(life)
  const anna = await filled(site)
  assertDone(await site.backup())
  const [name = ''] = readdirSync(join(site.backups, 'backups'))
  const host = await makeEmptyHost(life)
  mkdirSync(host.dataDir)
  await markRestore(host.dataDir, name)
  assertRefused(await host.berthctl('status'), 1, /restore of \w+ into .* has not ended well/)
  await assert.rejects(startServer(lastFirst(t), { settings: host.settings }), /has not ended well/)
  const again = await host.berthctl(
    'restore',
    site.backups,
    '--yes',
    '--passphrase-file',
    site.passphraseFile,
  )
  assertDone(again)
  const second = await startServer(life, { settings: host.settings })
  const pulled = await new Client(second.url, anna.credentials).get(
    '/v1/imagefile/anna/demo/tool:v1?arch=amd64',
  )
  assert.equal(sha256(pulled.body), sha256(sif))
})

test('bytes that the store has lost are told, and the rest is saved and restored', async (t) => {
  const life = lastFirst(t)
  const site = await makeSite(life)
  await filled(site)
  const bytes = readFileSync(storedPath(site, sif))
  bytes[500] = (bytes[500] ?? 0) ^ 1
  writeFileSync(storedPath(site, sif), bytes)
  const made = await site.backup()
  assert.equal(made.code, 1)
  assert.match(made.stdout, new RegExp(`LOST sha256:${sha256(sif)}: its bytes are other ones`))
  assert.ok(!existsSync(join(site.backups, 'blobs/sha256', sha256(sif))))
  assert.match((await site.berthctl('backup', 'list', site.backups)).stdout, /damaged/)
  const host = await makeEmptyHost(life)
  const restored = await host.berthctl(
    'restore',
    site.backups,
    '--yes',
    '--passphrase-file',
    site.passphraseFile,
  )
  assert.equal(restored.code, 1)
  assert.match(restored.stdout, /LOST sha256:[^]*The check found nothing else/)
  // Brought back by hand, it is in the next one.
  writeFileSync(storedPath(site, sif), sif)
  assertDone(await site.backup())
})

test('a bad backup is found out, and is not restored', async (t) => {
  const life = lastFirst(t)
  const site = await makeSite(life)
  await filled(site)
  assertDone(await site.backup())
  const blob = join(site.backups, 'blobs/sha256', sha256(sif))
  const bytes = readFileSync(blob)
  bytes[700] = (bytes[700] ?? 0) ^ 1
  writeFileSync(blob, bytes)
  const verified = await site.berthctl('backup', 'verify', site.backups)
  assert.equal(verified.code, 1)
  assert.match(verified.stdout, new RegExp(`${sha256(sif)}: its bytes are other ones`))
  const host = await makeEmptyHost(life)
  const restored = await host.berthctl(
    'restore',
    site.backups,
    '--yes',
    '--passphrase-file',
    site.passphraseFile,
  )
  assert.notEqual(restored.code, 0)
  assert.equal((await host.berthctl('status')).code, 1)
})

test('old backups go with the bytes that they alone needed', async (t) => {
  const site = await makeSite(lastFirst(t))
  const anna = await filled(site)
  assertDone(await site.backup())
  assert.equal((await anna.delete('/v1/images/anna/demo/tool:v1?arch=amd64')).status, 200)
  await site.server.appliance.sweep()
  await site.server.appliance.sweep()
  assert.ok(!existsSync(storedPath(site, sif)))
  assertDone(await site.backup())
  const copy = join(site.backups, 'blobs/sha256', sha256(sif))
  assert.ok(existsSync(copy))
  assertRefused(await site.berthctl('backup', 'prune', site.backups, '--keep', '1'), 1, /Add --yes/)
  assertDone(await site.berthctl('backup', 'prune', site.backups, '--keep', '1', '--yes'))
  assert.ok(!existsSync(copy))
  assert.equal(readdirSync(join(site.backups, 'backups')).length, 1)
  assertDone(await site.berthctl('backup', 'verify', site.backups))
})

test('a backup needs to know about the secrets, and a directory of its own', async (t) => {
  const life = lastFirst(t)
  const site = await makeSite(life)
  const create = ['backup', 'create'] as const
  assertRefused(
    await site.berthctl(...create, site.backups),
    2,
    /--passphrase-file FILE or --recipient/,
  )
  assertRefused(await site.berthctl(...create, '--without-secrets'), 2, /\[backup\] directory/)
  const inside = join(site.dataDir, 'backups')
  assertRefused(
    await site.berthctl(...create, inside, '--without-secrets'),
    1,
    /in the data directory/,
  )
  assertDone(await site.backup())
  const stranger = await makeSite(life)
  const theirs = await stranger.berthctl(...create, site.backups, '--without-secrets')
  assertRefused(theirs, 1, /those of another Berth/)
})

test('[backup] of the configuration: without arguments, with an end of old ones, and an alarm', async (t) => {
  const site = await makeSite(lastFirst(t))
  await filled(site)
  const settings = `[backup]\ndirectory = "${site.backups}"\npassphrase_file = "${site.passphraseFile}"\nkeep = 1\n`
  writeFileSync(site.configFile, readFileSync(site.configFile, 'utf8') + settings)
  assertDone(await site.berthctl('backup', 'create'))
  assertDone(await site.berthctl('backup', 'create', '--json'))
  assert.equal(readdirSync(join(site.backups, 'backups')).length, 1)
  assert.match((await site.berthctl('status')).stdout, /^last good backup: 2/m)

  const { db } = site.server
  assert.equal(await checkBackupAge(db, 26), false)
  await db.query(sql`update backups set started_at = started_at - interval '27 hours'`)
  const late = await site.berthctl('status')
  assert.equal(late.code, 1)
  assert.match(late.stdout, /ALARM since .*: The last good backup is of .*26 hours are the limit/)
  assertDone(await site.berthctl('backup', 'create'))
  assertDone(await site.berthctl('status'))
  assert.equal(await checkBackupAge(db, undefined), false)
})
