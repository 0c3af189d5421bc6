/**
 * The rehearsal: a backup is made while people push through both doors, tag and delete, and while the
 * sweep removes at once what no image has. Restored onto an empty host, everything that was
 * acknowledged before the backup began is there, byte by byte.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import { assertDone } from '../admin/command.ts'
import { Client, libraryHash } from '../support/client.ts'
import { added, fingerprintOf, keyOf, lookup } from '../support/hkp.ts'
import { digestOf, emptyConfig, imageManifest, pushManifest } from '../support/oci-push.ts'
import type { Manifest } from '../support/oci-push.ts'
import { assertLedger, eventually, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { lastFirst, makeEmptyHost, makeSite } from './site.ts'

interface Pushed {
  readonly path: string
  /** Of an image of the library. */
  readonly sif?: Buffer
  /** Of an image of the registry. */
  readonly manifest?: Manifest
  readonly layer?: Buffer
  /** A deletion has been asked for: from then on both answers are right. */
  deleting: boolean
}

const workers = 4

test('a backup under load is restored onto an empty host', { timeout: 300_000 }, async (t) => {
  const life = lastFirst(t)
  const site = await makeSite(life)
  const { server, backups, passphraseFile } = site
  const users = await Promise.all(['anna', 'bert'].map(async (name) => await server.user(name)))
  const [anna] = users
  assert.ok(anna?.credentials)
  const key = await keyOf('anna')
  await added(anna, key)
  const pushed: Pushed[] = []
  const counts = { pushes: 0, deletions: 0, sweeps: 0 }
  const over = new AbortController()

  const work = Array.from({ length: workers }, async (_, worker) => {
    const user = users[worker % users.length]
    assert.ok(user)
    for (let turn = 0; !over.signal.aborted; turn += 1) {
      const mine = `${user.name}/load/w${worker}-`
      const path = `${mine}${turn}`
      pushed.push(turn % 2 === 0 ? await pushSif(user, path) : await pushOci(user, path))
      counts.pushes += 1
      const victim = pushed.find((one) => !one.deleting && one.path.startsWith(mine))
      if (turn % 3 !== 2 || victim === undefined) continue
      victim.deleting = true
      await remove(user, victim)
      counts.deletions += 1
    }
  })
  const sweeping = (async () => {
    while (!over.signal.aborted) {
      await server.appliance.sweep()
      counts.sweeps += 1
    }
  })()

  await eventually(async () => counts.pushes >= 40 && counts.deletions >= 8, 'some load', 60_000)
  const acknowledged = pushed.filter(({ deleting }) => !deleting)
  const before = { ...counts }
  const made = await site.backup()
  const pushes = counts.pushes - before.pushes
  const deletions = counts.deletions - before.deletions
  over.abort()
  for (const result of await Promise.allSettled([...work, sweeping])) {
    assert.equal(result.status, 'fulfilled', String((result as { reason?: unknown }).reason))
  }
  assertDone(made)
  t.diagnostic(`${made.stdout.trim()}; meanwhile ${pushes} pushes and ${deletions} deletions`)
  assert.ok(pushes > 0)

  assertDone(await site.berthctl('backup', 'verify', backups))
  const host = await makeEmptyHost(life)
  const passphrase = ['--passphrase-file', passphraseFile]
  const restored = await host.berthctl('restore', backups, '--yes', ...passphrase)
  assertDone(restored)
  t.diagnostic(restored.stdout.trim().replaceAll('\n', ' '))
  assert.match(restored.stdout, /It took \d+\.\d s\./)
  assertDone(await host.berthctl('fsck', '--deep'))

  const second = await startServer(life, { settings: host.settings })
  await assertLedger(second.db)
  let pulled = 0
  for (const image of acknowledged) {
    // With the tokens that the first server has issued.
    const owner = users.find(({ name }) => image.path.startsWith(`${name}/`))
    const isThere = await pull(new Client(second.url, owner?.credentials), image)
    assert.ok(isThere || image.deleting, `${image.path} is lost`)
    if (isThere) pulled += 1
  }
  t.diagnostic(
    `${pulled} of ${acknowledged.length} pulled and compared; the rest was deleted later`,
  )
  assert.ok(pulled > 0)

  const search = `0x${fingerprintOf(key)}`
  const [now, then] = [
    await lookup(second.anonymous, search),
    await lookup(server.anonymous, search),
  ]
  assert.equal(now.status, 200)
  assert.deepEqual(now.body, then.body)
  const secrets = readdirSync(join(site.dataDir, 'secrets'))
  assert.ok(secrets.length > 1)
  for (const name of secrets) {
    const file = join('secrets', name)
    assert.deepEqual(readFileSync(join(host.dataDir, file)), readFileSync(join(site.dataDir, file)))
  }
  // And life goes on: what was restored takes pushes.
  await pushSif(new Client(second.url, anna.credentials), 'anna/load/after')
})

async function pushSif(user: Client, path: string): Promise<Pushed> {
  const sif = makeSif({ seed: path, payload: 20_000 })
  const reply = await user.push(path, 'latest', sif)
  assert.equal(reply.status, 200, reply.body.toString())
  return { path, sif, deleting: false }
}

async function pushOci(user: Client, path: string): Promise<Pushed> {
  const layer = Buffer.alloc(30_000, path)
  const manifest = imageManifest(emptyConfig, [layer])
  await pushManifest(user, path, 'latest', manifest, [emptyConfig, layer])
  return { path, manifest, layer, deleting: false }
}

async function remove(user: Client, { path, sif, manifest }: Pushed): Promise<void> {
  const reply = sif
    ? await user.delete(`/v1/images/${path}:${libraryHash(sif)}`)
    : await user.delete(`/v2/${path}/manifests/${manifest?.digest}`)
  assert.ok(reply.status < 300, reply.body.toString())
}

/** False when it is not there; wrong bytes end the test. */
async function pull(user: Client, { path, sif, manifest, layer }: Pushed): Promise<boolean> {
  if (sif) {
    const reply = await user.get(`/v1/imagefile/${path}:latest?arch=amd64`)
    if (reply.status === 404) return false
    assert.equal(reply.status, 200, reply.body.toString())
    assert.equal(libraryHash(reply.body), libraryHash(sif), path)
    return true
  }
  const found = await user.get(`/v2/${path}/manifests/latest`)
  if (found.status === 404) return false
  assert.equal(digestOf(found.body), manifest?.digest)
  for (const bytes of [emptyConfig, layer ?? emptyConfig]) {
    const blob = await user.get(`/v2/${path}/blobs/${digestOf(bytes)}`)
    assert.deepEqual(blob.body, bytes, path)
  }
  return true
}
