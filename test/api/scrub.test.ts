/** The scrub finds every damage and nothing else, in one pass, wherever it is interrupted. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import { listAlarms } from '../../server/alarms.ts'
import { sql } from '../../server/database.ts'
import { assertProblem, libraryHash, sha256 } from '../support/client.ts'
import type { Client } from '../support/client.ts'
import {
  emptyConfig,
  ensureBlob,
  imageManifest,
  pushBlob,
  putManifest,
} from '../support/oci-push.ts'
import { Random } from '../support/random.ts'
import { startServer } from '../support/server.ts'
import type { TestServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const never = new AbortController().signal
const fast = { storage: { keep_free: 0, scrub_rate: '10 GiB' } }

const scrubAll = async ({ appliance }: TestServer) =>
  await appliance.scrub.whole({ fromStart: true, closing: never })

const found = async ({ appliance }: TestServer) =>
  (await appliance.scrub.status()).damaged.map(({ digest, fault }) => [digest, fault])

const digestOf = (bytes: Buffer): string => `sha256:${sha256(bytes)}`

function fileOf({ dataDir }: TestServer, bytes: Buffer): string {
  return join(dataDir, 'store/blobs/sha256', sha256(bytes).slice(0, 2), sha256(bytes))
}

const sorted = (pairs: readonly (readonly string[])[]): string[] =>
  pairs.map((pair) => pair.join(' ')).toSorted()

function flipBit(file: string, bit: number): void {
  const bytes = readFileSync(file)
  const place = bit >> 3
  bytes[place] = (bytes[place] ?? 0) ^ (1 << (bit & 7))
  writeFileSync(file, bytes)
}

async function pushMany(user: Client, count: number): Promise<Buffer[]> {
  const sifs = Array.from({ length: count }, (_, number) => makeSif({ seed: `scrubbed ${number}` }))
  for (const [number, sif] of sifs.entries()) {
    const pushed = await user.push(`${user.name}/demo/tool${number}`, 'v1', sif)
    assert.equal(pushed.status, 200, pushed.body.toString())
  }
  return sifs
}

test('all flips, cuts and losses are found in one pass, and nothing else', async (t) => {
  const server = await startServer(t, { settings: fast })
  const user = await server.user('alice')
  const sifs = await pushMany(user, 24)
  const random = new Random(7)
  const faults: Readonly<Record<string, (file: string, size: number) => void>> = {
    content: (file, size) => flipBit(file, Math.floor(random.next() * size * 8)),
    length: (file, size) => truncateSync(file, Math.floor(random.next() * size)),
    missing: (file) => rmSync(file),
  }
  const kinds = ['content', 'content', 'content', 'length', 'length', 'missing', 'missing']
  const expected = kinds.map((kind, index) => {
    const sif = sifs[index * 3] ?? Buffer.alloc(0)
    faults[kind]?.(fileOf(server, sif), sif.length)
    return [digestOf(sif), kind]
  })
  // The ends of a file, and a file of nothing.
  for (const [index, damage] of [
    [1, (file: string) => flipBit(file, 0)],
    [4, (file: string, size: number) => flipBit(file, size * 8 - 1)],
  ] as const) {
    const sif = sifs[index] ?? Buffer.alloc(0)
    damage(fileOf(server, sif), sif.length)
    expected.push([digestOf(sif), 'content'])
  }
  const empty = sifs[7] ?? Buffer.alloc(0)
  truncateSync(fileOf(server, empty), 0)
  expected.push([digestOf(empty), 'length'])

  const result = await scrubAll(server)
  assert.deepEqual([result.blobsRead, result.damaged, result.finished], [24, expected.length, true])
  assert.deepEqual(sorted(await found(server)), sorted(expected))
  for (const sif of sifs) {
    const isDamaged = expected.some(([digest]) => digest === digestOf(sif))
    assert.equal(existsSync(fileOf(server, sif)), !isDamaged)
  }
  const aside = readdirSync(join(server.dataDir, 'store/quarantine'))
  assert.equal(aside.length, expected.filter(([, fault]) => fault !== 'missing').length)
  // Once more: the same is damaged, and nothing is new.
  const again = await scrubAll(server)
  assert.equal(again.damaged, expected.length)
  assert.equal(readdirSync(join(server.dataDir, 'store/quarantine')).length, aside.length)
  const audited = await server.db.query(sql`select 1 from audit where action = 'blob.quarantine'`)
  assert.equal(audited.length, expected.length)
})

test('what is damaged is never served, the alarm names the images, and a push heals', async (t) => {
  const settings = { ...fast, library: { redirect_from: '100 KiB' } }
  const server = await startServer(t, { settings })
  const user = await server.user('alice')
  const [small, large] = [makeSif({ seed: 's' }), makeSif({ seed: 'l', payload: 200_000 })]
  const whole = makeSif({ seed: 'whole' })
  await user.push('alice/demo/small', 'v1', small)
  await user.push('alice/demo/large', 'v2', large)
  await user.push('alice/demo/whole', 'v3', whole)
  for (const sif of [small, large]) flipBit(fileOf(server, sif), 300_000 % (sif.length * 8))
  await scrubAll(server)

  assertProblem(await user.get('/v1/imagefile/alice/demo/small:v1'), 404, /pushed again/)
  const { headers } = await user.get('/v1/imagefile/alice/demo/large:v2')
  const address = new URL(String(headers['location'])).pathname
  await assert.rejects(user.get(address), { code: 'ECONNRESET' })
  for (const sif of [small, large]) {
    const place = sif === small ? 'small' : 'large'
    const blob = `/v2/alice/demo/${place}/blobs/${digestOf(sif)}`
    for (const method of ['HEAD', 'GET']) assert.equal((await user.send(method, blob)).status, 404)
  }
  assert.deepEqual((await user.get('/v1/imagefile/alice/demo/whole:v3')).body, whole)
  const [alarm, ...others] = await listAlarms(server.db)
  assert.deepEqual(others, [])
  assert.match(alarm?.message ?? '', /^2 stored files are lost or damaged/)
  assert.match(alarm?.message ?? '', /alice\/demo\/large:v2, alice\/demo\/small:v1\./)

  // Through the one door and the other.
  assert.equal((await user.push('alice/demo/small', 'v1', small)).status, 200)
  assert.deepEqual((await user.get('/v1/imagefile/alice/demo/small:v1')).body, small)
  assert.match((await listAlarms(server.db))[0]?.message ?? '', /^1 stored file is/)
  assert.equal((await pushBlob(user, 'alice/demo/large', large)).status, 201)
  assert.deepEqual((await user.get(address)).body, large)
  assert.deepEqual(await listAlarms(server.db), [])
  assert.deepEqual(await found(server), [])
  assert.equal((await scrubAll(server)).damaged, 0)
})

test('layers and configurations of the registry are read too, and the image is named', async (t) => {
  const server = await startServer(t, { settings: fast })
  const user = await server.user('alice')
  const name = 'alice/demo/oci'
  const layer = Buffer.from('a layer')
  for (const blob of [emptyConfig, layer]) await ensureBlob(user, name, blob)
  const image = imageManifest(emptyConfig, [layer])
  await putManifest(user, name, 'v1', image)
  flipBit(fileOf(server, layer), 5)
  await scrubAll(server)
  assert.deepEqual(await found(server), [[digestOf(layer), 'content']])
  assert.match((await listAlarms(server.db))[0]?.message ?? '', /alice\/demo\/oci:v1/)
  // A client that looks first sends it again.
  await ensureBlob(user, name, layer)
  assert.deepEqual((await user.get(`/v2/${name}/blobs/${digestOf(layer)}`)).body, layer)
  assert.deepEqual(await listAlarms(server.db), [])
})

test('a file that somebody put back by hand is whole again', async (t) => {
  const server = await startServer(t, { settings: fast })
  const user = await server.user('alice')
  const [sif] = await pushMany(user, 1)
  assert.ok(sif)
  rmSync(fileOf(server, sif))
  await scrubAll(server)
  writeFileSync(fileOf(server, sif), sif)
  await scrubAll(server)
  assert.deepEqual([await found(server), await listAlarms(server.db)], [[], []])
  const pulled = await user.get(`/v1/imagefile/alice/demo/tool0:${libraryHash(sif)}`)
  assert.deepEqual(pulled.body, sif)
})

test('interrupted in the middle, the next one goes on at the cursor, in another process too', async (t) => {
  let server = await startServer(t, { settings: fast })
  const user = await server.user('alice')
  const sifs = await pushMany(user, 12)
  const inOrder = sifs.toSorted((one, other) => (digestOf(one) < digestOf(other) ? -1 : 1))
  const [early, late] = [inOrder[2], inOrder[9]]
  assert.ok(early && late)
  const stop = new AbortController()
  const first = await server.appliance.scrub.whole({
    fromStart: true,
    closing: stop.signal,
    onProgress: ({ blobsRead }) => {
      if (blobsRead === 5) stop.abort()
    },
  })
  assert.deepEqual([first.blobsRead, first.finished], [5, false])
  const { pass } = await server.appliance.scrub.status()
  assert.equal(pass.cursor, digestOf(inOrder[4] ?? Buffer.alloc(0)))
  // What was read already is not read again in this pass: that tells where it went on.
  for (const sif of [early, late]) flipBit(fileOf(server, sif), 99)
  server = await server.restart()
  const rest = await server.appliance.scrub.whole({ fromStart: false, closing: never })
  assert.deepEqual([rest.blobsRead, rest.damaged, rest.finished], [7, 1, true])
  assert.deepEqual(await found(server), [[digestOf(late), 'content']])
  await scrubAll(server)
  assert.equal((await found(server)).length, 2)
})

test('a portion reads what is due by now, and a pass begins when its days are over', async (t) => {
  const server = await startServer(t, { settings: fast })
  const { db } = server
  const { scrub } = server.appliance
  await pushMany(await server.user('alice'), 10)
  const age = async (days: number): Promise<void> => {
    await db.query(sql`update scrub set began_at = now() - make_interval(secs => ${days * 86_400})`)
  }
  // A moment after the beginning one file is due at most.
  assert.ok((await scrub.portion(never)).blobsRead <= 1)
  await age(7 * 0.9 * 0.45)
  assert.equal((await scrub.portion(never)).finished, false)
  assert.equal((await scrub.status()).pass.blobsRead, 5)
  assert.equal((await scrub.portion(never)).blobsRead, 0)
  await age(7)
  const rest = await scrub.portion(never)
  assert.deepEqual([rest.blobsRead, rest.finished], [5, true])
  // It began a week ago: the next one begins at once. One that began now waits.
  await db.query(sql`update scrub set finished_began_at = now()`)
  await scrub.portion(never)
  assert.equal((await scrub.status()).pass.beganAt, null)
  await db.query(sql`update scrub set finished_began_at = now() - interval '7 days'`)
  await scrub.portion(never)
  const { pass } = await scrub.status()
  assert.deepEqual([pass.pass, pass.beganAt !== null], [2, true])
})

test('a store that is not there is not a store of lost files', async (t) => {
  const server = await startServer(t, { settings: fast })
  await pushMany(await server.user('alice'), 1)
  const marker = join(server.dataDir, 'store/store.json')
  const text = readFileSync(marker)
  rmSync(marker)
  await assert.rejects(scrubAll(server), /is the disk mounted/)
  assert.deepEqual(await found(server), [])
  writeFileSync(marker, text)
})

test('pushes of the same bytes while it reads are never taken for damage', async (t) => {
  const server = await startServer(t, { settings: fast })
  const user = await server.user('alice')
  const sifs = await pushMany(user, 4)
  const over = new AbortController()
  const scrubbing = (async () => {
    let damaged = 0
    while (!over.signal.aborted) damaged += (await scrubAll(server)).damaged
    return damaged
  })()
  for (let turn = 0; turn < 4; turn += 1) {
    await Promise.all(
      sifs.map(async (sif, number) => await pushBlob(user, `alice/demo/tool${number}`, sif)),
    )
  }
  over.abort()
  assert.equal(await scrubbing, 0)
  assert.deepEqual(await found(server), [])
})
