/**
 * Many clients push, tag, mount, pull and delete in the same repositories through both doors, while
 * the sweep runs without a pause and without a grace time. What a pusher was told to be there is
 * there when his manifest comes, nothing fails on our side, and what is left at the end is whole.
 * BERTH_RACE_OPERATIONS sets how many operations each of the ten clients does (20 by default),
 * BERTH_RACE_SECONDS (with a larger BERTH_TEST_SECONDS) when they stop at the latest, and
 * BERTH_RACE_SWEEP_SECONDS how long the sweep rests between two runs (not at all by default).
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { after } from 'node:test'
import { setTimeout } from 'node:timers/promises'

import { sql } from '../../server/database.ts'
import { libraryHash, sha256 } from '../support/client.ts'
import type { Client, Reply } from '../support/client.ts'
import {
  digestOf,
  emptyConfig,
  ensureBlob,
  imageManifest,
  indexManifest,
  pushBlob,
  putManifest,
  sessionPath,
  sifManifest,
} from '../support/oci-push.ts'
import type { Manifest } from '../support/oci-push.ts'
import { Random } from '../support/random.ts'
import { assertLedger, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const perClient = Number(process.env['BERTH_RACE_OPERATIONS'] ?? 20)
const clients = 10
const seconds = Number(process.env['BERTH_RACE_SECONDS'] ?? 600)
const restSeconds = Number(process.env['BERTH_RACE_SWEEP_SECONDS'] ?? 0)

const settings = {
  library: { undelete_days: 0 },
  storage: { keep_free: 0, grace_hours: 0 },
}
const server = await startServer({ after }, { settings })

const containers = ['race/one', 'race/two']
const tags = ['v1', 'v2', 'latest']
const sifs = (['amd64', 'arm64', 'amd64'] as const).map((arch, number) =>
  makeSif({ arch, seed: `churn${number}` }),
)
const configs = [emptyConfig, ...[1, 2].map((number) => Buffer.from(`{"config":${number}}`))]
const layers = [1, 2, 3, 4].map((number) => Buffer.alloc(number * 5000, `layer${number}`))
const known = new Map([...sifs, ...configs, ...layers].map((bytes) => [digestOf(bytes), bytes]))

interface Turn {
  readonly user: Client
  readonly random: Random
  readonly path: string
  /** No other client has these bytes: they come and go with this turn. */
  readonly own: Buffer
}

type Operation = (turn: Turn) => Promise<void>

const counts = new Map<string, number>()
const wrong: string[] = []

/** Counts a reply; one that nothing explains is remembered. */
function expect(what: string, reply: Reply, statuses: readonly number[]): boolean {
  const key = `${what} ${reply.status}`
  counts.set(key, (counts.get(key) ?? 0) + 1)
  if (statuses.includes(reply.status)) return true
  if (wrong.length < 20) wrong.push(`${key} ${reply.body.toString().slice(0, 300)}`)
  return false
}

/** Everything was acknowledged, so that the manifest must be taken. */
async function pushAll(turn: Turn, manifest: Manifest, blobs: readonly Buffer[]): Promise<boolean> {
  const { user, random, path } = turn
  for (const blob of blobs) {
    const send = random.chance(0.3) ? pushBlob : ensureBlob
    if (!expect('blob', await send(user, path, blob), [200, 201])) return false
  }
  const reference = random.chance(0.5) ? random.of(tags) : manifest.digest
  return expect('manifest', await putManifest(user, path, reference, manifest), [201])
}

const operations: readonly Operation[] = [
  async (turn) => {
    const { random } = turn
    const config = random.of(configs)
    const parts: Buffer[] = [...new Set([random.of(layers), random.of(layers)])]
    if (random.chance(0.3)) parts.push(turn.own)
    await pushAll(turn, imageManifest(config, parts), [config, ...parts])
  },
  async (turn) => {
    const sif = turn.random.of(sifs)
    await pushAll(turn, sifManifest(sif), [emptyConfig, sif])
  },
  async (turn) => {
    const entries = [sifs[0], sifs[1]].map((sif, number) => {
      assert.ok(sif)
      return { sif, manifest: sifManifest(sif), arch: ['amd64', 'arm64'][number] ?? '' }
    })
    for (const { sif, manifest } of entries) await pushAll(turn, manifest, [emptyConfig, sif])
    const index = indexManifest(entries)
    const { user, path, random } = turn
    // Somebody may have deleted one of the images meanwhile.
    expect('index', await putManifest(user, path, random.of(tags), index), [201, 400])
  },
  async ({ user, path, random }) => {
    const sif = random.of(sifs)
    const announced = await user.post('/v1/images', { hash: libraryHash(sif), container: path })
    if (!expect('announce', announced, [200])) return
    const id = announced.json.data.id as string
    if (announced.json.data.uploaded !== true) {
      const opened = await user.post(`/v2/imagefile/${id}`, { filesize: sif.length })
      // The announcement of a rival that was refused takes the announced image along.
      if (!expect('open', opened, [200, 404]) || opened.status === 404) return
      if (!expect('send', await user.upload(opened.json.data.uploadURL, sif), [200])) return
      const completed = await user.put(`/v2/imagefile/${id}/_complete`, {})
      // Or somebody else's push of the same image was complete before, and the image deleted.
      if (!expect('complete', completed, [200, 404])) return
    }
    const Arch = sif === sifs[1] ? 'arm64' : 'amd64'
    const tag = { Arch, Tag: random.of(tags), ImageID: id }
    expect('library tag', await user.post(`/v2/tags/${path}`, tag), [200, 404])
  },
  async ({ user, path, random }) => {
    const reply = await user.delete(`/v2/${path}/manifests/${random.of(tags)}`)
    expect('delete tag', reply, [202, 404])
  },
  async ({ user, path, random }) => {
    const found = await user.send('HEAD', `/v2/${path}/manifests/${random.of(tags)}`)
    if (!expect('look', found, [200, 404]) || found.status === 404) return
    const digest = String(found.headers['docker-content-digest'])
    expect('delete manifest', await user.delete(`/v2/${path}/manifests/${digest}`), [202, 404])
  },
  async ({ user, path, random }) => {
    const arch = random.of(['amd64', 'arm64'])
    const reply = await user.delete(`/v1/images/${path}:${random.of(tags)}?arch=${arch}`)
    expect('library delete', reply, [200, 404])
  },
  async ({ user, path, random }) => {
    const reply = await user.delete(`/v1/images/${path}:${libraryHash(random.of(sifs))}`)
    expect('library delete', reply, [200, 404])
  },
  async (turn) => {
    const { user, random, path } = turn
    const layer = random.of(layers)
    const from = `${random.of(['anna', 'bert'])}/${random.of(containers)}`
    const query = `mount=${digestOf(layer)}&from=${from}`
    const mounted = await user.send('POST', `/v2/${path}/blobs/uploads/?${query}`)
    if (!expect('mount', mounted, [201, 202])) return
    if (mounted.status === 202) {
      const end = `${sessionPath(mounted)}?digest=${digestOf(layer)}`
      if (!expect('blob', await user.send('PUT', end, { body: layer }), [201])) return
    }
    const manifest = imageManifest(emptyConfig, [layer])
    await pushAll(turn, manifest, [emptyConfig])
  },
  async ({ user, path, random }) => {
    const found = await user.get(`/v2/${path}/manifests/${random.of(tags)}`)
    if (!expect('pull', found, [200, 404]) || found.status === 404) return
    for (const digest of blobsOf(found)) {
      const blob = await user.get(`/v2/${path}/blobs/${digest}`)
      // Whoever deletes an image that is being pulled has taken the rest away from the puller.
      if (!expect('pull blob', blob, [200, 404]) || blob.status === 404) continue
      if (digestOf(blob.body) !== digest) wrong.push(`${digest} has other bytes`)
    }
  },
  async ({ user, path, random }) => {
    const reply = await user.get(`/v1/imagefile/${path}:${random.of(tags)}?arch=amd64`)
    // 400: the tag is an OCI image, which the library does not serve.
    if (!expect('library pull', reply, [200, 400, 404]) || reply.status !== 200) return
    if (!known.has(digestOf(reply.body))) wrong.push('the library sent other bytes')
  },
]

test(
  `${clients} clients do ${perClient} operations each while the sweep runs`,
  { timeout: (seconds + 300) * 1000 },
  async (t) => {
    const users = await Promise.all(['anna', 'bert'].map(async (name) => await server.user(name)))
    const over = new AbortController()
    let sweeps = 0
    const sweeping = (async () => {
      for (; !over.signal.aborted; sweeps += 1) {
        await server.appliance.sweep()
        await setTimeout(restSeconds * 1000)
      }
    })()
    const deadline = Date.now() + seconds * 1000
    let done = 0
    const workers = Array.from({ length: clients }, async (_, worker) => {
      const random = new Random(worker + 1)
      for (let turn = 0; turn < perClient && Date.now() < deadline; turn += 1) {
        const user = users[worker % users.length]
        assert.ok(user)
        const path = `${user.name}/${random.of(containers)}`
        await random.of(operations)({ user, random, path, own: Buffer.from(`${worker} ${turn}`) })
        done += 1
      }
    })
    const results = await Promise.allSettled(workers)
    over.abort()
    await sweeping
    await server.appliance.uploads.recover()
    const told = [...counts].map(([what, count]) => `${what}: ${count}`).sort()
    t.diagnostic(`${done} operations, ${sweeps} sweeps; ${told.join(', ')}`)
    assert.deepEqual(wrong, [])
    for (const result of results) assert.equal(result.status, 'fulfilled')
    assert.ok(done > 0 && sweeps > 0)
  },
)

test('the ledger is exact after it', async () => {
  await assertLedger(server.db)
})

test('every manifest that is left has all its bytes', async () => {
  const admin = await server.user('root', { isAdmin: true })
  const rows = await server.db.query<{ path: string; digest: string }>(sql`
    select r.path, m.digest from manifests m join repositories r on r.id = m.repository_id`)
  for (const { path, digest } of rows) {
    const manifest = await admin.get(`/v2/${path}/manifests/${digest}`)
    assert.equal(manifest.status, 200)
    assert.equal(digestOf(manifest.body), digest)
    for (const part of blobsOf(manifest)) {
      const blob = await admin.get(`/v2/${path}/blobs/${part}`)
      assert.equal(blob.status, 200, `${path} ${part}`)
      assert.equal(digestOf(blob.body), part)
    }
  }
})

test('rows of blobs and files of the store are the same ones', async () => {
  await server.appliance.sweep()
  await server.appliance.sweep()
  const root = join(server.dataDir, 'store/blobs/sha256')
  const files = readdirSync(root).flatMap((prefix) =>
    readdirSync(join(root, prefix)).map((name) => join(root, prefix, name)),
  )
  const found = files.map((file) => sha256(readFileSync(file)))
  assert.deepEqual(
    found,
    files.map((file) => file.slice(-64)),
  )
  const rows = await server.db.query<{ digest: string }>(sql`select digest from blobs`)
  assert.deepEqual(found.map((hex) => `sha256:${hex}`).sort(), rows.map((row) => row.digest).sort())
})

/** The digests that a manifest names; an index names none. */
function blobsOf(manifest: Reply): string[] {
  const { config, layers } = manifest.json as {
    config?: { digest: string }
    layers?: { digest: string }[]
  }
  return config === undefined ? [] : [config, ...(layers ?? [])].map(({ digest }) => digest)
}
