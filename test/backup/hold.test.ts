/** Nothing that a backup is copying is taken away from under it, whoever dies meanwhile. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import { createBackup } from '../../server/backup/create.ts'
import { findBackup, listBackups } from '../../server/backup/layout.ts'
import { lastGoodBackup } from '../../server/backup/records.ts'
import { verifyBackup } from '../../server/backup/verify.ts'
import { holdDeletions } from '../../server/content/deletion-hold.ts'
import { sql } from '../../server/database.ts'
import { assertDone, pathOf } from '../admin/command.ts'
import { libraryHash, sha256 } from '../support/client.ts'
import { eventually } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { lastFirst, makeSite } from './site.ts'
import type { Site } from './site.ts'

const sif = makeSif({ seed: 'held', payload: 5000 })

async function pushed(site: Site): Promise<string> {
  const anna = await site.server.user('anna')
  assert.equal((await anna.push('anna/demo/tool', 'v1', sif)).status, 200)
  return join(site.dataDir, 'store/blobs/sha256', sha256(sif).slice(0, 2), sha256(sif))
}

async function deleteAndSweep(site: Site): Promise<void> {
  const anna = await site.server.signIn('anna')
  const reply = await anna.delete(`/v1/images/anna/demo/tool:${libraryHash(sif)}`)
  assert.equal(reply.status, 200)
  await site.server.appliance.sweep()
  await site.server.appliance.sweep()
}

test('the sweep leaves bytes alone while somebody holds them, and takes them afterwards', async (t) => {
  const site = await makeSite(lastFirst(t))
  const file = await pushed(site)
  const hold = await holdDeletions(site.server.appliance.database, 'a test')
  await deleteAndSweep(site)
  assert.ok(existsSync(file))
  await hold.release()
  await site.server.appliance.sweep()
  assert.ok(!existsSync(file))
})

test('a hold that ran out is no hold, and its holder hears of it', async (t) => {
  const site = await makeSite(lastFirst(t))
  const file = await pushed(site)
  const { database } = site.server.appliance
  const hold = await holdDeletions(database, 'a test', { renewMs: 20 })
  await database.query(sql`update deletion_holds set until = now() - interval '1 second'`)
  await eventually(async () => hold.lost.aborted, 'the holder is told')
  await deleteAndSweep(site)
  assert.ok(!existsSync(file))
  await assert.rejects(hold.release(), /ended before the work under it/)
})

test('an image that is deleted between the rows and the bytes of a backup is in it', async (t) => {
  const site = await makeSite(lastFirst(t))
  const file = await pushed(site)
  const { database, databaseAddress, blobs, config } = site.server.appliance
  let deletion: Promise<void> | undefined
  // It says so when it has read the rows, before the first file.
  const manifest = await createBackup(
    {
      database,
      databaseAddress,
      blobs,
      dataDir: site.dataDir,
      configFile: '/nonexistent',
      publicUrl: config.publicUrl,
    },
    {
      directory: site.backups,
      encryption: undefined,
      hardLinks: false,
      onProgress: ({ doing }) => {
        if (doing === 'images') deletion ??= deleteAndSweep(site)
      },
    },
  )
  await deletion
  assert.deepEqual(manifest.damage, [])
  assert.ok(existsSync(join(site.backups, 'blobs/sha256', sha256(sif))))
  const problems = await verifyBackup(site.backups, manifest, {
    signal: new AbortController().signal,
    onProgress: () => {},
  })
  assert.deepEqual(problems, [])
  await site.server.appliance.sweep()
  assert.ok(!existsSync(file), 'the hold ended with the backup')
})

test('a backup that is killed holds nothing for long, and the next one goes on from it', async (t) => {
  const site = await makeSite(lastFirst(t))
  const file = await pushed(site)
  const { database } = site.server.appliance
  // A context of a build that never ends to be read: the backup has copied the images by then.
  const id = '0'.repeat(32)
  await database.query(sql`
    insert into build_contexts (id, account_id, digest, size, uploaded_at)
    select ${id}, id, ${`sha256:${'0'.repeat(64)}`}, 10, now() from accounts where name = 'anna'`)
  mkdirSync(join(site.dataDir, 'builds/contexts'), { recursive: true })
  const fifo = join(site.dataDir, 'builds/contexts', `${id}.tar.gz`)
  await once(spawn('mkfifo', [fifo]), 'exit')

  const args = ['backup', 'create', site.backups, '--passphrase-file', site.passphraseFile]
  const env = { PATH: process.env['PATH'], BERTH_CONFIG: site.configFile }
  const child = spawn(pathOf('berthctl'), args, { env, stdio: 'ignore' })
  const ended = once(child, 'exit')
  const copy = join(site.backups, 'blobs/sha256', sha256(sif))
  await eventually(async () => existsSync(copy), 'the image is copied', 60_000)
  child.kill('SIGKILL')
  await ended

  const [held] = await database.query<{ seconds: number }>(sql`
    select ceil(extract(epoch from until - now()))::int as "seconds" from deletion_holds`)
  assert.ok(held !== undefined && held.seconds > 0 && held.seconds <= 120)
  await deleteAndSweep(site)
  assert.ok(existsSync(file), 'the hold outlives its holder')
  const [unfinished] = await listBackups(site.backups)
  assert.equal(unfinished?.manifest, undefined)
  const listed = await site.berthctl('backup', 'list', site.backups)
  assert.match(listed.stdout, /broken off/)
  await assert.rejects(findBackup(site.backups, undefined), /no whole backup/)

  // Two minutes later.
  await database.query(sql`update deletion_holds set until = now() - interval '1 second'`)
  const anna = await site.server.signIn('anna')
  assert.equal((await anna.push('anna/demo/tool', 'v2', sif)).status, 200)
  await database.query(sql`delete from build_contexts`)
  const next = await site.backup('--json')
  assertDone(next)
  const told = JSON.parse(next.stdout) as { name: string; blobs: { count: number; copied: number } }
  assert.equal(told.blobs.count, 1)
  assert.equal(told.blobs.copied, 0, 'what the killed one had copied is not copied again')
  assert.deepEqual(readdirSync(join(site.backups, 'backups')), [told.name])
  assert.equal((await lastGoodBackup(database))?.name, told.name)
  const rows = await database.query(sql`select outcome, message from backups order by started_at`)
  assert.deepEqual(rows, [
    { outcome: 'failed', message: 'broken off' },
    { outcome: 'complete', message: '' },
  ])
})
