/**
 * From the release before to this one and back, twice, on data that the release itself has made
 * (test/fixtures/release-…: written once by that release's own code, and kept). What is pushed on the
 * way is there at the end; tokens, keys and digests are what they were.
 */
import assert from 'node:assert/strict'
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { gunzipSync } from 'node:zlib'

import { BlobStore } from '../../server/content/blob-store.ts'
import { parseDigest } from '../../server/content/names.ts'
import { loadDump, readDumpIndex } from '../../server/database-dump.ts'
import { openDatabase, sql } from '../../server/database.ts'
import type { Database } from '../../server/database.ts'
import { fsck } from '../../server/fsck.ts'
import { createLog } from '../../server/log.ts'
import { migrate, migrationsDirectory, migrationStates, stepBack } from '../../server/migrate.ts'
import { packageRoot } from '../../server/package-root.ts'
import { assertDone, assertRefused } from '../admin/command.ts'
import { Client, sha256 } from '../support/client.ts'
import { lookup } from '../support/hkp.ts'
import { digestOf } from '../support/oci-push.ts'
import { signInAs } from '../support/process.ts'
import { startServer } from '../support/server.ts'
import type { Lifetime, TestServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { lastFirst, makeEmptyHost } from './site.ts'
import type { EmptyHost } from './site.ts'

const fixture = join(packageRoot, 'test/fixtures/release-0007')
const last = '0007-builds.sql'

interface Expected {
  readonly tokens: Readonly<Record<string, string>>
  readonly passwords: Readonly<Record<string, string>>
  readonly images: readonly {
    path: string
    tag: string
    arch: string
    by: string
    digest: string
  }[]
  readonly manifests: readonly {
    path: string
    tag: string
    by: string
    digest: string
    blobs: string[]
  }[]
  readonly build: { readonly id: string; readonly by: string; readonly output: string }
  readonly key: { readonly fingerprint: string; readonly armored: string }
}

const expected = JSON.parse(readFileSync(join(fixture, 'expected.json'), 'utf8')) as Expected

/** The host of that release, as its own processes left it. */
async function oldHost(life: Lifetime): Promise<EmptyHost> {
  const host = await makeEmptyHost(life)
  const dump = join(fixture, 'database')
  const { migrations } = await readDumpIndex(dump)
  await inDatabase(host, async (database) => {
    const old = oldMigrations(life)
    await migrate(database, { directory: old, only: migrations.map(({ name }) => name) })
    await loadDump({ url: host.databaseUrl }, dump, async () => {})
    // As its program made it: without what this release adds to the table.
    await database.query(sql`drop table migrations_aside`)
    await database.query(sql`alter table migrations drop column expands`)
    const [row] = await database.query<{ id: string }>(sql`select id from store`)
    const store = await BlobStore.recreate(join(host.dataDir, 'store'), row?.id ?? '')
    for (const name of readdirSync(join(fixture, 'blobs'))) {
      const bytes = gunzipSync(
        Buffer.from(readFileSync(join(fixture, 'blobs', name), 'utf8'), 'base64'),
      )
      const digest = parseDigest(name.replace(/\..*$/, '').replace('-', ':'))
      assert.equal(digestOf(bytes), digest)
      await store.readmit(digest, async (path) => writeFileSync(path, bytes))
    }
  })
  const { id, output } = expected.build
  const outputs = join(host.dataDir, 'builds/output', id.slice(0, 2))
  mkdirSync(outputs, { recursive: true })
  writeFileSync(join(outputs, `${id}.log`), output)
  return host
}

/** The migrations that the release before came with. */
function oldMigrations(life: Lifetime): string {
  const directory = mkdtempSync(join(tmpdir(), 'berth-old-'))
  life.after(async () => rmSync(directory, { recursive: true, force: true }))
  for (const name of readdirSync(migrationsDirectory).filter((one) => one <= last)) {
    copyFileSync(join(migrationsDirectory, name), join(directory, name))
  }
  return directory
}

async function inDatabase(host: EmptyHost, work: (database: Database) => Promise<void>) {
  const database = openDatabase({ url: host.databaseUrl }, createLog('silent'))
  try {
    await work(database)
  } finally {
    await database.close()
  }
}

async function assertEverything(server: TestServer): Promise<void> {
  const as = (name: string): Client => {
    const token = expected.tokens[name] ?? ''
    return new Client(server.url, { name, accountId: '', token, tokenId: '' })
  }
  for (const { path, tag, arch, by, digest } of expected.images) {
    const reply = await as(by).get(`/v1/imagefile/${path}:${tag}?arch=${arch}`)
    assert.equal(reply.status, 200, `${path} ${reply.body.toString().slice(0, 200)}`)
    assert.equal(digestOf(reply.body), digest)
  }
  assert.equal(
    (await as('bert').get('/v1/imagefile/anna/private/secret:latest?arch=amd64')).status,
    404,
  )
  for (const { path, tag, by, digest, blobs } of expected.manifests) {
    const manifest = await as(by).get(`/v2/${path}/manifests/${tag}`)
    assert.equal(digestOf(manifest.body), digest)
    for (const blob of blobs) {
      assert.equal(digestOf((await as(by).get(`/v2/${path}/blobs/${blob}`)).body), blob)
    }
  }
  const face = await as('anna').get('/v2/anna/tools/solver/manifests/v1')
  assert.equal((face.json as { manifests: unknown[] }).manifests.length, 2)
  const key = await lookup(server.anonymous, `0x${expected.key.fingerprint}`)
  assert.equal(key.body.toString(), expected.key.armored)
  for (const [name, password] of Object.entries(expected.passwords)) {
    const fresh = await signInAs(server.url, name, password)
    assert.equal((await fresh.get('/v1/token-status')).status, 200)
  }
  const parts = {
    database: server.appliance.database,
    blobs: server.appliance.blobs,
    dataDir: server.dataDir,
  }
  assert.deepEqual(await fsck(parts, { deep: true, repairBy: undefined, onProgress: () => {} }), [])
}

test('the data of the release before work with this one', async (t) => {
  const life = lastFirst(t)
  const host = await oldHost(life)
  const plan = await host.berthctl('migrate', '--plan')
  assertDone(plan)
  assert.match(plan.stdout, /^0010-backup\.sql: adds/m)
  const before = await host.berthctl('migrate', 'status')
  assert.match(before.stdout, /^0010-backup\.sql\s+adds\s+pending/m)
  const server = await startServer(life, { settings: host.settings })
  await assertEverything(server)
  const after = await host.berthctl('migrate', 'status')
  assertDone(after)
  assert.doesNotMatch(after.stdout, /pending/)
})

test('N-1, N, N-1, N: nothing is lost on the way', async (t) => {
  const life = lastFirst(t)
  const host = await oldHost(life)
  const old = oldMigrations(life)
  const sif = makeSif({ seed: 'between', payload: 900 })
  let server = await startServer(life, { settings: host.settings })
  const by = (one: TestServer): Client =>
    new Client(one.url, {
      name: 'anna',
      accountId: '',
      token: expected.tokens['anna'] ?? '',
      tokenId: '',
    })
  assert.equal((await by(server).push('anna/tools/new', 'v1', sif)).status, 200)

  await inDatabase(host, async (database) => {
    const states = await migrationStates(database)
    const hard = states.filter(({ name, expands }) => name > last && !expands)
    assert.deepEqual(hard, [], 'a migration since the release before leaves no way back to it')
    const aside = await stepBack(database, last)
    assert.ok(aside.includes('0010-backup.sql'))
    // What the old program asks at its start, and refuses over: every name must be its own.
    const rows = await database.query<{ name: string }>(
      sql`select name from migrations order by name`,
    )
    assert.deepEqual(
      rows.map(({ name }) => name),
      readdirSync(old).sort(),
    )
    // It writes, as it always did: without a word of what is new.
    await database.query(sql`
      insert into entities (name, owner_id) select 'between', id from accounts where name = 'bert'`)
  })
  server = await server.restart()
  await assertEverything(server)
  const pulled = await by(server).get('/v1/imagefile/anna/tools/new:v1?arch=amd64')
  assert.equal(sha256(pulled.body), sha256(sif))
  const rows = await server.db.query(sql`
    select (select count(*) from migrations_aside) as "aside",
      (select count(*) from entities where name = 'between') as "between"`)
  assert.deepEqual(rows, [{ aside: 0, between: 1 }])
})

test('a newer schema is taken when it only adds, and refused with the fix when it does more', async (t) => {
  const life = lastFirst(t)
  const host = await makeEmptyHost(life)
  await startServer(life, { settings: host.settings })
  await inDatabase(host, async (database) => {
    await database.query(sql`
      insert into migrations (name, checksum, expands) values ('9998-more.sql', 'x', true)`)
    assert.deepEqual(await migrate(database), [])
    await database.query(sql`
      insert into migrations (name, checksum, expands) values ('9999-other.sql', 'y', false)`)
    await assert.rejects(migrate(database), /newer Berth \(9999-other\.sql\): install that version/)
  })
  const status = await host.berthctl('migrate', 'status')
  assert.equal(status.code, 1)
  assert.match(status.stdout, /^9998-more\.sql\s+adds\s+ahead/m)
  assert.match(status.stdout, /^9999-other\.sql\s+changes\s+too-new/m)
  assertRefused(await host.berthctl('migrate'), 1, /newer Berth/)
  assertRefused(await host.berthctl('migrate', 'back', last, '--yes'), 1, /newer Berth/)
})

test('the way back is refused where a migration did more than add', async (t) => {
  const life = lastFirst(t)
  const host = await makeEmptyHost(life)
  await startServer(life, { settings: host.settings })
  assertRefused(
    await host.berthctl('migrate', 'back', '0006-image-policy.sql', '--yes'),
    1,
    /0007-builds/,
  )
  assertRefused(await host.berthctl('migrate', 'back', last), 1, /Add --yes/)
})
