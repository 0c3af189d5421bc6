/**
 * Races at the registry, each brought about on purpose: the same blob from many clients, deletions
 * under running pulls, tags that move while they are read, and two ends of one upload.
 * With BERTH_RACE_OPERATIONS the sizes are those of large images.
 */
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { sql } from '../../server/database.ts'
import { sha256 } from '../support/client.ts'
import type { Client, Reply } from '../support/client.ts'
import {
  digestOf,
  emptyConfig,
  imageManifest,
  pushBlob,
  pushManifest,
  putManifest,
  sessionPath,
  sifManifest,
} from '../support/oci-push.ts'
import { assertLedger, startServer } from '../support/server.ts'
import type { TestServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const large = process.env['BERTH_RACE_OPERATIONS'] !== undefined
const noGrace = {
  settings: { library: { undelete_days: 0 }, storage: { keep_free: 0, grace_hours: 0 } },
}
const server = await startServer({ after }, noGrace)

test('50 clients push the same blob at once: one file, charged once for each entity', async () => {
  const users = [await server.user('one'), await server.user('two')]
  const blob = makeSif({ seed: 'same', payload: (large ? 64 : 2) << 20 })
  const pushes = Array.from({ length: 50 }, async (_, number) => {
    const user = users[number % 2]
    assert.ok(user)
    return await pushBlob(user, `${user.name}/race/tool${number % 5}`, blob)
  })
  const statuses = (await Promise.all(pushes)).map((reply) => reply.status)
  assert.deepEqual(statuses, Array(50).fill(201))
  assert.deepEqual(readdirSync(join(server.dataDir, 'store/incoming')), [])
  const [prefix, hex] = [sha256(blob).slice(0, 2), sha256(blob)]
  const files = readdirSync(join(server.dataDir, 'store/blobs/sha256', prefix))
  assert.deepEqual(files, [hex])
  for (const { name } of users) assert.equal(await usedBytes(name), blob.length)
})

test('pulls that began before a deletion end with the right bytes, and new ones find nothing', async () => {
  const user = await server.user('pulled')
  // More than the buffers of both sockets hold, so that it is still on its way.
  const layer = makeSif({ seed: 'pulled', payload: 24 << 20 })
  const manifest = imageManifest(emptyConfig, [layer])
  await pushManifest(user, 'pulled/race/tool', 'latest', manifest, [emptyConfig, layer])
  const path = `/v2/pulled/race/tool/blobs/${digestOf(layer)}`
  const ranges = ['bytes=0-', `bytes=${5 << 20}-`, `bytes=${1 << 20}-${(20 << 20) - 1}`]
  const pulls = await Promise.all(
    Array.from({ length: large ? 20 : 6 }, async (_, number) => {
      const range = ranges[number % ranges.length] ?? ''
      return { range, response: await beginGet(user, path, { range }) }
    }),
  )
  const deleted = await user.delete(`/v2/pulled/race/tool/manifests/${manifest.digest}`)
  assert.equal(deleted.status, 202)
  await sweepUntilGone(server, layer)
  assert.equal((await user.get(path)).status, 404)
  assert.equal((await user.get('/v2/pulled/race/tool/manifests/latest')).status, 404)
  for (const { range, response } of pulls) {
    const [first, last] = range.slice('bytes='.length).split('-')
    const end = last === '' ? layer.length : Number(last) + 1
    assert.equal(response.statusCode, 206)
    assert.ok((await bytesOf(response)).equals(layer.subarray(Number(first), end)), range)
  }
})

test('addresses for parallel ranges work on after a deletion through the registry', async (t) => {
  const settings = { library: { redirect_from: '1MiB' }, storage: { keep_free: 0 } }
  const server = await startServer(t, { settings })
  const user = await server.user('ranges')
  const sif = makeSif({ seed: 'ranges', payload: 11 << 20 })
  await user.push('ranges/race/tool', 'latest', sif)
  const found = await user.get('/v1/imagefile/ranges/race/tool:latest?arch=amd64')
  const { pathname } = new URL(String(found.headers['location']))
  const part = async (first: number): Promise<Buffer> => {
    const range = `bytes=${first}-${Math.min(first + (5 << 20), sif.length) - 1}`
    return (await server.anonymous.get(pathname, { range })).body
  }
  const begun = await part(0)
  const digest = (await user.get('/v2/ranges/race/tool/manifests/latest')).headers[
    'docker-content-digest'
  ]
  const deleted = await user.delete(`/v2/ranges/race/tool/manifests/${String(digest)}`)
  assert.equal(deleted.status, 202)
  await server.appliance.sweep()
  await server.appliance.sweep()
  assert.equal((await user.get('/v1/images/ranges/race/tool:latest?arch=amd64')).status, 404)
  const rest = await Promise.all([part(5 << 20), part(10 << 20)])
  assert.ok(Buffer.concat([begun, ...rest]).equals(sif))
})

interface Interval {
  readonly from: number
  readonly to: number
  readonly value: string
}

test('a tag that four clients move reads as a value that it had during the read', async () => {
  const user = await server.user('moved')
  const name = 'moved/race/tool'
  const images = ['a', 'b', 'c', 'd'].map((seed) => makeSif({ seed, payload: 500 }))
  for (const sif of images) {
    await pushManifest(user, name, 'start', sifManifest(sif), [emptyConfig, sif])
  }
  const writes: Interval[] = []
  const reads: Interval[] = []
  const timed = async (into: Interval[], work: () => Promise<string>): Promise<void> => {
    const from = performance.now()
    const value = await work()
    into.push({ from, to: performance.now(), value })
  }
  const turns = large ? 250 : 15
  const over = new AbortController()
  let writing = images.length
  const writers = images.map(async (sif, number) => {
    const manifest = sifManifest(sif)
    for (let turn = 0; turn < turns; turn += 1) {
      await timed(writes, async () => {
        if (number % 2 === 0) await user.tag(name, 'moving', sif)
        else assert.equal((await putManifest(user, name, 'moving', manifest)).status, 201)
        return manifest.digest
      })
    }
    writing -= 1
    if (writing === 0) over.abort()
  })
  const isSet = await firstWrite(user, name)
  const readers = Array.from({ length: 20 }, async () => {
    while (!over.signal.aborted) {
      await timed(reads, async () => {
        const reply = await user.get(`/v2/${name}/manifests/moving`)
        assert.equal(reply.status, 200, reply.body.toString())
        return digestOf(reply.body)
      })
    }
  })
  await Promise.all([...writers, ...readers])
  assert.ok(isSet && reads.length > 20)
  const stale = reads.filter((read) => !wasCurrent(read, writes))
  assert.deepEqual(stale, [])
})

test('a tag of several architectures is there at every moment while one of them moves', async () => {
  const user = await server.user('faces')
  const name = 'faces/race/tool'
  const other = makeSif({ seed: 'arm', arch: 'arm64', payload: 500 })
  const images = ['x', 'y'].map((seed) => makeSif({ seed, payload: 500 }))
  for (const sif of images) await user.push(name, 'latest', sif)
  await user.push(name, undefined, other)
  await user.tag(name, 'latest', other, 'arm64')
  const over = new AbortController()
  const readers = Array.from({ length: 8 }, async () => {
    const seen = new Set<string>()
    while (!over.signal.aborted) {
      const reply = await user.get(`/v2/${name}/manifests/latest`)
      assert.equal(reply.status, 200, reply.body.toString())
      seen.add(digestOf(reply.body))
      assert.equal(reply.json.manifests.length, 2)
    }
    return seen.size
  })
  const moves = (async () => {
    for (let turn = 0; turn < (large ? 400 : 30); turn += 1) {
      for (const sif of images) await user.tag(name, 'latest', sif)
    }
  })().finally(() => over.abort())
  const [, ...seen] = await Promise.all([moves, ...readers])
  for (const count of seen) assert.ok(count <= 2)
})

test('of two ends of one upload exactly one happens', async () => {
  const user = await server.user('ends')
  for (let round = 0; round < (large ? 200 : 15); round += 1) {
    const name = `ends/race/tool${round}`
    const blob = Buffer.from(`blob of round ${round}`)
    const opened = await user.send('POST', `/v2/${name}/blobs/uploads/`)
    const path = sessionPath(opened)
    const sent = await user.send('PATCH', path, { body: blob })
    assert.equal(sent.status, 202)
    const finish = async () => await user.send('PUT', `${path}?digest=${digestOf(blob)}`)
    const cancel = async () => await user.delete(path)
    const ends = await Promise.all([finish(), round % 2 === 0 ? finish() : cancel()])
    const [done, ...others] = ends.filter(({ status }) => status < 300)
    assert.ok(done && others.length === 0, ends.map(({ status }) => status).join(' '))
    for (const { status } of ends) assert.ok([201, 204, 404, 409].includes(status), `${status}`)
    const found = await user.get(`/v2/${name}/blobs/${digestOf(blob)}`)
    assert.equal(found.status, done.status === 201 ? 200 : 404)
    assert.equal((await user.get(path)).status, 404)
  }
  await assertLedger(server.db)
})

test('a blob that was mounted is there, whatever is deleted and swept where it came from', async () => {
  const [from, to] = [await server.user('source'), await server.user('target')]
  const layer = Buffer.alloc(3000, 'mounted')
  const manifest = imageManifest(emptyConfig, [layer])
  const mounted: Reply[] = []
  for (let round = 0; round < (large ? 150 : 12); round += 1) {
    const [source, target] = [`source/race/t${round}`, `target/race/t${round}`]
    await pushManifest(from, source, 'latest', manifest, [emptyConfig, layer])
    const query = `mount=${digestOf(layer)}&from=${source}`
    const [mount, gone] = await Promise.all([
      to.send('POST', `/v2/${target}/blobs/uploads/?${query}`),
      from.delete(`/v2/${source}/manifests/${manifest.digest}`),
      server.appliance.sweep(),
    ])
    assert.equal(gone.status, 202)
    if (mount.status === 201) {
      await server.appliance.sweep()
      const found = await to.get(`/v2/${target}/blobs/${digestOf(layer)}`)
      assert.ok(found.body.equals(layer))
      mounted.push(mount)
      await to.delete(`/v2/${target}/blobs/${digestOf(layer)}`)
    } else {
      assert.equal(mount.status, 202, mount.body.toString())
      assert.equal((await to.delete(sessionPath(mount))).status, 204)
    }
  }
  assert.ok(mounted.length > 0)
  await assertLedger(server.db)
})

async function usedBytes(entity: string): Promise<number> {
  const rows = await server.db.query<{ used: number }>(
    sql`select used_bytes as "used" from entities where name = ${entity}`,
  )
  return rows[0]?.used ?? 0
}

/** Answers with the head; no byte of the body is read before `bytesOf`. */
async function beginGet(
  { url, credentials }: Client,
  path: string,
  headers: Readonly<Record<string, string>>,
): Promise<IncomingMessage> {
  const authorization = `Bearer ${credentials?.token ?? ''}`
  return await new Promise((resolve, reject) => {
    const options = { agent: false, headers: { ...headers, authorization } }
    request(`${url}${path}`, options, resolve).on('error', reject).end()
  })
}

async function bytesOf(response: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of response) pieces.push(piece as Buffer)
  return Buffer.concat(pieces)
}

async function sweepUntilGone({ appliance, dataDir }: TestServer, blob: Buffer): Promise<void> {
  const hex = sha256(blob)
  for (let turn = 0; turn < 3; turn += 1) await appliance.sweep()
  const left = readdirSync(join(dataDir, 'store/blobs/sha256', hex.slice(0, 2)))
  assert.ok(!left.includes(hex), 'the sweep left the file')
}

async function firstWrite(user: Client, name: string): Promise<boolean> {
  for (;;) {
    const reply = await user.get(`/v2/${name}/manifests/moving`)
    if (reply.status === 200) return true
    assert.equal(reply.status, 404)
  }
}

/** Some write of the value began before the read ended and was not surely overwritten before it. */
function wasCurrent(read: Interval, writes: readonly Interval[]): boolean {
  return writes.some(
    (write) =>
      write.value === read.value &&
      write.from <= read.to &&
      !writes.some((later) => later.from > write.to && later.to < read.from),
  )
}
