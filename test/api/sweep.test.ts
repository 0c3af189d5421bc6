import assert from 'node:assert/strict'
import { existsSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import { sql } from '../../server/database.ts'
import { libraryHash, sha256 } from '../support/client.ts'
import { eventually, startServer } from '../support/server.ts'
import type { TestServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

// What is deleted is gone: trash.test.ts has the rest.
const library = { undelete_days: 0 }
const noUndelete = { settings: { library } }
const noGrace = { settings: { library, storage: { keep_free: 0, grace_hours: 0 } } }

test('the bytes of a deleted image stay for the grace time, and go after it', async (t) => {
  const server = await startServer(t, noUndelete)
  const user = await server.user('alice')
  const sif = makeSif({ seed: 'deleted' })
  await user.push('alice/demo/tool', 'latest', sif)
  await user.delete('/v1/images/alice/demo/tool:latest?arch=amd64')
  const first = await server.appliance.sweep()
  assert.equal(first.blobsCondemned, 1)
  assert.equal(first.blobsRemoved, 0)
  await server.db.query(sql`update blobs set condemned_at = now() - interval '23 hours'`)
  assert.equal((await server.appliance.sweep()).blobsRemoved, 0)
  assert.ok(existsSync(fileOf(server, sif)))
  await server.db.query(sql`update blobs set condemned_at = now() - interval '25 hours'`)
  const last = await server.appliance.sweep()
  assert.equal(last.blobsRemoved, 1)
  assert.equal(last.bytesFreed, sif.length)
  assert.equal(existsSync(fileOf(server, sif)), false)
  assert.deepEqual(await server.db.query(sql`select 1 from blobs`), [])
  assert.equal((await user.push('alice/demo/tool', 'latest', sif)).status, 200)
})

test('what an image needs is never touched', async (t) => {
  const server = await startServer(t, noGrace)
  const user = await server.user('alice')
  const sif = makeSif({ seed: 'kept' })
  await user.push('alice/demo/one', 'latest', sif)
  await user.announce('alice/demo/two', sif)
  await user.delete('/v1/images/alice/demo/one:latest?arch=amd64')
  for (let turn = 0; turn < 3; turn += 1) {
    const { blobsCondemned, blobsRemoved, orphansRemoved } = await server.appliance.sweep()
    assert.deepEqual([blobsCondemned, blobsRemoved, orphansRemoved], [0, 0, 0])
  }
  const pulled = await user.get(`/v1/imagefile/alice/demo/two:${libraryHash(sif)}`)
  assert.deepEqual(pulled.body, sif)
})

test('a condemned blob that is pushed again lives, with a new grace time', async (t) => {
  const server = await startServer(t, noUndelete)
  const user = await server.user('alice')
  const sif = makeSif({ seed: 'again' })
  await user.push('alice/demo/tool', 'latest', sif)
  await user.delete('/v1/images/alice/demo/tool:latest?arch=amd64')
  await server.appliance.sweep()
  await server.db.query(sql`update blobs set condemned_at = now() - interval '1 year'`)
  await user.push('alice/demo/tool', 'latest', sif)
  await server.appliance.sweep()
  assert.deepEqual((await user.get('/v1/imagefile/alice/demo/tool:latest')).body, sif)
  await user.delete('/v1/images/alice/demo/tool:latest?arch=amd64')
  await server.appliance.sweep()
  assert.ok(existsSync(fileOf(server, sif)))
})

test('a blob that is linked again while the sweep condemns keeps its grace time for later', async (t) => {
  const server = await startServer(t, noUndelete)
  const { database } = server.appliance
  const user = await server.user('alice')
  const sif = makeSif({ seed: 'linked' })
  await user.push('alice/demo/tool', 'latest', sif)
  const links = await database.query<{ link: unknown }>(
    sql`delete from repository_blobs l returning to_json(l) as "link"`,
  )
  const sweeping = await database.transaction(async (tx) => {
    // What linking does, up to the commit.
    await tx.query(sql`update blobs set condemned_at = null`)
    await tx.query(sql`
      insert into repository_blobs
      select * from json_populate_record(null::repository_blobs, ${JSON.stringify(links[0]?.link)})`)
    const sweep = server.appliance.sweep()
    await eventually(async () => {
      const waiting = await database.query(sql`
        select 1 from pg_stat_activity
        where wait_event_type = 'Lock' and datname = current_database()`)
      return waiting.length > 0
    }, 'the sweep waits for the commit')
    return { sweep }
  })
  await sweeping.sweep
  await database.query(sql`
    update blobs set condemned_at = now() - interval '1 year' where condemned_at is not null`)
  await user.delete('/v1/images/alice/demo/tool:latest?arch=amd64')
  await server.appliance.sweep()
  assert.ok(existsSync(fileOf(server, sif)), 'removed without grace')
})

test('pushes, deletions and sweeps without grace at the same time lose no image', async (t) => {
  const server = await startServer(t, noGrace)
  const user = await server.user('alice')
  const sifs = Array.from({ length: 3 }, (_, number) => makeSif({ seed: `busy${number}` }))
  const over = new AbortController()
  const sweeping = (async () => {
    while (!over.signal.aborted) await server.appliance.sweep()
  })()
  const workers = sifs.map(async (sif, number) => {
    const path = `alice/demo/tool${number}`
    for (let turn = 0; turn < 10; turn += 1) {
      const pushed = await user.push(path, 'latest', sif)
      assert.equal(pushed.status, 200, pushed.body.toString())
      assert.deepEqual((await user.get(`/v1/imagefile/${path}:latest`)).body, sif)
      const gone = await user.delete(`/v1/images/${path}:latest?arch=amd64`)
      assert.equal(gone.status, 200, gone.body.toString())
    }
  })
  await Promise.all(workers).finally(() => over.abort())
  await sweeping
})

test('files without a row go after the grace time, and other files stay', async (t) => {
  const server = await startServer(t, noGrace)
  const orphan = makeSif({ seed: 'orphan' })
  const strange = join(server.dataDir, 'store/blobs/sha256/00/README')
  const incoming = join(server.dataDir, 'store/incoming', 'f'.repeat(32))
  for (const file of [fileOf(server, orphan), strange, incoming]) writeFileSync(file, orphan)
  const { orphansRemoved } = await server.appliance.sweep()
  assert.equal(orphansRemoved, 1)
  assert.equal(existsSync(fileOf(server, orphan)), false)
  assert.equal(existsSync(incoming), false)
  assert.ok(existsSync(strange))
})

test('a fresh file without a row stays: an upload may be about to name it', async (t) => {
  const server = await startServer(t, noUndelete)
  const orphan = makeSif({ seed: 'fresh' })
  writeFileSync(fileOf(server, orphan), orphan)
  // The time of change, which nobody can set, decides: not that of modification.
  utimesSync(fileOf(server, orphan), 0, 0)
  assert.equal((await server.appliance.sweep()).orphansRemoved, 0)
  assert.ok(existsSync(fileOf(server, orphan)))
})

test('a quiet upload ends after the configured time, and gives everything back', async (t) => {
  const server = await startServer(t, { settings: { library, uploads: { expire_hours: 2 } } })
  const user = await server.user('alice')
  const [parts, whole] = [makeSif({ seed: 'parts' }), makeSif({ seed: 'whole' })]
  const upload = await user.openParts('alice/demo/parts', parts)
  await user.sendPart(upload, 1)
  await user.upload(await user.openWhole('alice/demo/whole', whole), whole)
  const wait = async (hours: number): Promise<number> => {
    await server.db.query(sql`
      update uploads set active_at = now() - make_interval(hours => ${hours})`)
    return (await server.appliance.sweep()).uploadsEnded
  }
  assert.equal(await wait(1), 0)
  assert.equal(await wait(3), 2)
  assert.deepEqual(await server.db.query(sql`select name from entities`), [])
  assert.deepEqual(await server.db.query(sql`select 1 from upload_parts`), [])
})

test('an upload whose token was revoked ends with the next sweep', async (t) => {
  const server = await startServer(t, noUndelete)
  const user = await server.user('alice')
  const upload = await user.openParts('alice/demo/tool', makeSif({ seed: 'revoked' }))
  await user.sendPart(upload, 1)
  await user.delete(`/api/v1/tokens/${user.credentials?.tokenId}`)
  assert.equal((await server.appliance.sweep()).uploadsEnded, 1)
  assert.deepEqual(await server.db.query(sql`select name from entities`), [])
})

test('places that a broken push left empty disappear, and those in use stay', async (t) => {
  const server = await startServer(t, noUndelete)
  const user = await server.user('alice')
  await user.announce('alice/broken/tool', makeSif({ seed: 'never' }))
  await user.push('alice/used/tool', 'latest', makeSif({ seed: 'used' }))
  await user.announce('alice/used/empty', makeSif({ seed: 'neither' }))
  await user.post('/v1/collections', { entity: 'alice', name: 'hidden', private: true })
  const names = async (): Promise<string[]> => {
    const rows = await server.db.query<{ path: string }>(
      sql`select path from repositories order by path`,
    )
    return rows.map((row) => row.path)
  }
  await server.appliance.sweep()
  assert.equal((await names()).length, 3)
  await server.db.query(sql`update images set created_at = now() - interval '2 days'`)
  await server.db.query(sql`update repositories set updated_at = now() - interval '2 days'`)
  await server.appliance.sweep()
  assert.deepEqual(await names(), ['alice/used/tool'])
  const collections = (await user.get('/v1/entities/alice')).json.data.collections
  assert.deepEqual(collections, ['alice/hidden', 'alice/used'])
})

function fileOf(server: TestServer, sif: Buffer): string {
  const hex = sha256(sif)
  return join(server.dataDir, 'store/blobs/sha256', hex.slice(0, 2), hex)
}
