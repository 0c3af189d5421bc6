/** berthctl on a host whose server runs: the clock, the trash, the rules, the scrub, the ledger. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { libraryHash, sha256 } from '../support/client.ts'
import { signInAs } from '../support/process.ts'
import { makeSif } from '../support/sif.ts'
import { assertDone, assertRefused, run } from './command.ts'
import type { Outcome } from './command.ts'
import { makeHost } from './host.ts'

const host = await makeHost({ after })
const server = await host.start()
const admin = await signInAs(server.url, 'admin', server.password ?? '')

const berthctl = async (...args: string[]): Promise<Outcome> =>
  await run('berthctl', args, { env: host.env })

function fileOf(bytes: Buffer): string {
  const hex = sha256(bytes)
  return join(host.dataDir, 'store/blobs/sha256', hex.slice(0, 2), hex)
}

test('status shows each job with its last run and the next', async () => {
  assertDone(await berthctl('sweep'))
  const status = await berthctl('status')
  assertDone(status)
  assert.match(
    status.stdout,
    /^database and store: ready\ndisk: .*\nalarms: none\n\nJob +Last run \(UTC\)/,
  )
  assert.match(status.stdout, /\nsweep +\d{4}-\d\d-\d\dT\d\d:\d\d done +\d{4}-/)
  assert.match(status.stdout, /\nquota recount /)
  const json = JSON.parse((await berthctl('status', '--json')).stdout)
  const sweep = json.jobs.find(({ name }: { name: string }) => name === 'sweep')
  assert.deepEqual([sweep.isLate, sweep.lastRun.error], [false, null])
  assert.equal(sweep.lastRun.result.blobsRemoved, 0)
  assert.ok(new Date(sweep.nextDueAt) > new Date())
})

test('a deleted image is listed, restored, and given up', async () => {
  assert.equal((await berthctl('image', 'deleted')).stdout, 'No deleted image can be restored.\n')
  const sif = makeSif({ seed: 'deleted' })
  await admin.push('admin/demo/tool', 'v1', sif)
  await admin.delete(`/v1/images/admin/demo/tool:${libraryHash(sif)}`)
  const listed = await berthctl('image', 'deleted')
  assertDone(listed)
  assert.match(listed.stdout, /^Number Image +Size .*\n\d+ +admin\/demo\/tool:v1 .* admin\n$/)
  const [image] = JSON.parse((await berthctl('image', 'deleted', 'admin', '--json')).stdout)
  assert.deepEqual([image.path, image.tags], ['admin/demo/tool', ['v1']])

  const restored = await berthctl('image', 'restore', String(image.id))
  assertDone(restored)
  assert.match(restored.stdout, /^admin\/demo\/tool@sha256:[0-9a-f]+ is back, with v1\.\n$/)
  assert.deepEqual((await admin.get('/v1/imagefile/admin/demo/tool:v1')).body, sif)

  await admin.delete(`/v1/images/admin/demo/tool:${libraryHash(sif)}`)
  assertRefused(
    await berthctl('image', 'purge'),
    1,
    /restore 1 deleted images of .* then\. Add --yes/,
  )
  const purged = await berthctl('image', 'purge', '--yes')
  assertDone(purged)
  assert.match(purged.stdout, /^1 deleted images of .* were given up/)
  assertRefused(await berthctl('image', 'restore', String(image.id)), 1, /no deleted image/)
})

test('image is called rightly or not at all', async () => {
  assertRefused(await berthctl('image'), 2, /list, show, delete, deleted, restore, purge/)
  assertRefused(await berthctl('image', 'restore'), 2, /image restore NUMBER/)
  assertRefused(await berthctl('image', 'restore', 'v1'), 2, /number of an image/)
  assertRefused(await berthctl('image', 'deleted', 'nobody'), 1, /no entity "nobody"/)
  assertRefused(await berthctl('image', 'purge', 'nobody', '--yes'), 1, /no entity "nobody"/)
})

test('a rule is set, shown, switched on, and removed', async () => {
  assert.equal(
    (await berthctl('retention', 'list')).stdout,
    'There is no rule: everything is kept.\n',
  )
  const sifs = ['first', 'second'].map((seed) => makeSif({ seed }))
  for (const sif of sifs) await admin.push('admin/demo/kept', undefined, sif)
  const set = await berthctl('retention', 'set', 'admin/demo/kept', '--keep', '1')
  assertDone(set)
  assert.match(
    set.stdout,
    /^admin\/demo\/kept keeps the last 1, what has a tag\.\nIt would delete 1 image of .* now:\n/,
  )
  const preview = JSON.parse(
    (await berthctl('retention', 'preview', 'admin/demo/kept', '--json')).stdout,
  )
  assert.deepEqual(
    preview.images.map(({ digest }: { digest: string }) => digest),
    [`sha256:${sha256(sifs[0] ?? Buffer.alloc(0))}`],
  )
  const place = 'admin/demo/kept'
  assertRefused(
    await berthctl('retention', 'set', place, '--active').then(withoutPreview),
    2,
    /--yes/,
  )
  const on = await berthctl('retention', 'set', place, '--active', '--yes')
  assertDone(on)
  assert.match((await berthctl('retention', 'list')).stdout, /\nadmin\/demo\/kept .* active\n$/)
  assert.equal(JSON.parse((await berthctl('retention', 'list', '--json')).stdout)[0].active, true)
  assertDone(await berthctl('retention', 'remove', place))
  assertRefused(await berthctl('retention', 'preview', place), 1, /no rule of its own/)
  assertRefused(await berthctl('retention', 'set', place), 2, /--keep or --days/)
  assertRefused(await berthctl('retention', 'set', place, '--keep', '0'), 2, /number from 1/)
  assertRefused(await berthctl('retention', 'set', 'nobody', '--keep', '1'), 1, /no entity/)
  assertRefused(await berthctl('retention', 'preview'), 2, /Say "berthctl retention preview PLACE/)
})

/** What the rule would do stands before the refusal. */
function withoutPreview(outcome: Outcome): Outcome {
  const lines = outcome.stderr.trimEnd().split('\n')
  assert.match(lines[0] ?? '', /keeps the last 1/)
  return { ...outcome, stderr: `${lines.at(-1)}\n` }
}

test('a damaged file is found, named, and healed by a push', async () => {
  const [sif, whole] = [makeSif({ seed: 'scrubbed' }), makeSif({ seed: 'whole' })]
  await admin.push('admin/demo/damaged', 'v1', sif)
  await admin.push('admin/demo/whole', 'v1', whole)
  const clean = await berthctl('scrub', '--all')
  assertDone(clean)
  assert.match(clean.stdout, /^\d+ files of .* read, all of them whole\.\n$/)
  const bytes = readFileSync(fileOf(sif))
  bytes[5000] = (bytes[5000] ?? 0) ^ 1
  writeFileSync(fileOf(sif), bytes)
  const dirty = await berthctl('scrub', '--all', '--rate', '1 GiB')
  assert.equal(dirty.code, 1, dirty.stderr)
  assert.match(dirty.stdout, /, 1 of them damaged\./)
  assert.match(dirty.stdout, /wrong content .* admin\/demo\/damaged:v1\n/)
  assert.equal(existsSync(fileOf(sif)), false)
  assert.equal(readdirSync(join(host.dataDir, 'store/quarantine')).length, 1)
  assert.equal((await admin.get('/v1/imagefile/admin/demo/damaged:v1')).status, 404)
  const status = await berthctl('status')
  assert.equal(status.code, 1)
  assert.match(status.stdout, /ALARM since .*: 1 stored file is .* admin\/demo\/damaged:v1\./)
  const json = JSON.parse((await berthctl('scrub', 'status', '--json')).stdout)
  assert.deepEqual(json.damaged[0].images, ['admin/demo/damaged:v1'])

  assert.equal((await admin.push('admin/demo/damaged', 'v1', sif)).status, 200)
  const healed = await berthctl('scrub', '--all', '--json')
  assertDone(healed)
  assert.deepEqual(JSON.parse(healed.stdout).damagedBlobs, [])
  assertDone(await berthctl('status'))
  const told = await berthctl('scrub', 'status')
  assert.match(told.stdout, /^running: +no pass is running\nlast finished: .*, 0 damaged\ndamaged/)
  assertRefused(await berthctl('scrub', 'now'), 2, /Unexpected argument 'now'/)
  assertRefused(await berthctl('scrub', '--rate', 'fast'), 2, /--rate/)
})

test('the ledger is proved', async () => {
  const counted = await berthctl('quota', 'recount')
  assertDone(counted)
  assert.match(counted.stdout, /^1 space was counted: every number is right\.\n$/)
  const json = JSON.parse((await berthctl('quota', 'recount', '--repair', '--json')).stdout)
  assert.deepEqual(json, { spaces: 1, drifted: [], repaired: false })
  assertRefused(await berthctl('quota'), 2, /reset, recount/)
})
