/** /healthz and /readyz: what whoever watches is told when a part is missing, and what he is not told. */
import assert from 'node:assert/strict'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import type { TestContext } from 'node:test'

import { sql } from '../../server/database.ts'
import { freePort } from '../support/free-port.ts'
import { startServer } from '../support/server.ts'
import type { TestServer } from '../support/server.ts'

const all = { database: 'ok', migrations: 'ok', store: 'ok', space: 'ok' }

async function assertReadiness(
  server: TestServer,
  expected: { readonly status: number; readonly word: string; readonly checks: object },
): Promise<void> {
  const { status, json, body } = await server.anonymous.get('/readyz')
  assert.deepEqual(json, { data: { status: expected.word, checks: expected.checks } })
  assert.equal(status, expected.status)
  // States only: no path, no host, no error of somebody's.
  assert.equal(body.includes(server.dataDir), false)
  assert.doesNotMatch(body.toString(), /127\.0\.0\.1|Error|\/tmp/)
  // The process lives whatever it lacks.
  assert.equal((await server.anonymous.get('/healthz')).status, 200)
}

/** Each with a server of its own, because answers are shared for a second. */
async function withFault(
  t: TestContext,
  part: keyof typeof all,
  inject: (server: TestServer) => unknown,
): Promise<void> {
  const server = await startServer(t, { leavesUploads: true })
  await inject(server)
  const checks = { ...all, [part]: 'failed' }
  await assertReadiness(server, { status: 503, word: 'not ready', checks })
  assert.match(server.log(), new RegExp(`"check.name":"${part}"`))
}

test('a site that is well is ready, check by check', async (t) => {
  const server = await startServer(t)
  await assertReadiness(server, { status: 200, word: 'ready', checks: all })
})

test('the disk of the images is not mounted any more', async (t) => {
  await withFault(t, 'store', ({ dataDir }) => {
    const marker = join(dataDir, 'store/store.json')
    renameSync(marker, `${marker}.aside`)
  })
})

test('the disk of another site is mounted', async (t) => {
  await withFault(t, 'store', ({ dataDir }) => {
    writeFileSync(join(dataDir, 'store/store.json'), '{"storeId":"another","layout":1}')
  })
})

test('the marker is no JSON', async (t) => {
  await withFault(t, 'store', ({ dataDir }) => {
    writeFileSync(join(dataDir, 'store/store.json'), 'nothing')
  })
})

test('a migration is missing', async (t) => {
  await withFault(t, 'migrations', async ({ db }) => {
    await db.query(sql`delete from migrations where name = (select max(name) from migrations)`)
  })
})

test('a newer Berth has changed the schema', async (t) => {
  await withFault(t, 'migrations', async ({ db }) => {
    await db.query(sql`insert into migrations (name, checksum) values ('9999-later.sql', 'x')`)
  })
})

test('less is free on the disk than the reserve', async (t) => {
  const server = await startServer(t, { settings: { storage: { keep_free: '8000 TiB' } } })
  const checks = { ...all, space: 'failed' }
  await assertReadiness(server, { status: 503, word: 'not ready', checks })
})

test('the store is gone altogether', async (t) => {
  const server = await startServer(t, { leavesUploads: true })
  rmSync(join(server.dataDir, 'store'), { recursive: true })
  const checks = { ...all, store: 'failed', space: 'failed' }
  await assertReadiness(server, { status: 503, word: 'not ready', checks })
})

test('without its directory a site is ready all the same, and says that it lacks something', async (t) => {
  const url = `http://127.0.0.1:${await freePort()}/login`
  const portal = { provider: 'portal', url, allow_plain: true, format: 'json', success_field: 'ok' }
  const server = await startServer(t, { settings: { directory: portal } })
  const checks = { ...all, directory: 'degraded' }
  await assertReadiness(server, { status: 200, word: 'degraded', checks })
})

test('those who ask at once share one look', async (t) => {
  const server = await startServer(t)
  let questions = 0
  const { database } = server.appliance
  const query = database.query.bind(database)
  t.mock.method(database, 'query', async (statement: Parameters<typeof query>[0]) => {
    questions += 1
    return await query(statement)
  })
  await Promise.all(Array.from({ length: 20 }, async () => await server.anonymous.get('/readyz')))
  assert.ok(questions < 20, `${questions} questions`)
})
