/**
 * The disk of the images is full, has no inodes, is read-only or is not there: nobody loses anything,
 * what needs no room still works, and pushes go on as soon as there is room. Real file systems, so
 * that it takes root.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import type { TestContext } from 'node:test'

import { assertProblem, sha256 } from '../support/client.ts'
import type { Client } from '../support/client.ts'
import { freePort } from '../support/free-port.ts'
import { signInAs, startProcess } from '../support/process.ts'
import type { ServerProcess } from '../support/process.ts'
import { eventually } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const MiB = 2 ** 20

/** False, or why the tests are skipped. */
function withoutMounts(): false | string {
  if (process.getuid?.() !== 0) return 'only root can mount file systems'
  const directory = mkdtempSync(join(tmpdir(), 'berth-mount-'))
  try {
    mount('none', directory, 'size=1m')
    execFileSync('umount', [directory])
    return false
  } catch (error) {
    return `no file system can be mounted here: ${(error as Error).message}`
  } finally {
    rmSync(directory, { recursive: true })
  }
}

function mount(source: string, directory: string, options: string): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, source, directory], { stdio: 'pipe' })
}

interface Site {
  readonly dataDir: string
  readonly store: string
  readonly config: string
  readonly port: number
  readonly server: ServerProcess
  readonly admin: Client
}

/** A site whose images, or whose database, have a disk of their own. */
async function siteOn(
  t: TestContext,
  { disk, options }: { disk: 'store' | 'postgres'; options: string },
): Promise<Site> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-disk-'))
  const dataDir = join(directory, 'data')
  const mountPoint = join(dataDir, disk)
  mkdirSync(mountPoint, { recursive: true, mode: 0o700 })
  mount('none', mountPoint, options)
  let server: ServerProcess | undefined
  t.after(async () => {
    // Before its directory goes: without that it waits for its PostgreSQL to come back.
    if (server?.child.exitCode === null) await server.end('SIGTERM')
    // A test may have taken it away.
    for (const flag of [[], ['-l']]) {
      try {
        execFileSync('umount', [...flag, mountPoint], { stdio: 'pipe' })
        break
      } catch {
        continue
      }
    }
    rmSync(directory, { recursive: true, force: true })
  })
  const config = join(directory, 'berth.toml')
  writeFileSync(config, '[storage]\nkeep_free = "8 MiB"\n')
  const port = await freePort()
  server = await startProcess({ dataDir, port, config })
  const admin = await signInAs(server.url, 'admin', server.password ?? '')
  return { dataDir, store: join(dataDir, 'store'), config, port, server, admin }
}

function freeBytes(directory: string): number {
  const { bavail, bsize } = statfsSync(directory)
  return bavail * bsize
}

/** Somebody else's file, which leaves about this much, while others write as well. */
function fill(directory: string, leave: number): string {
  const file = join(directory, 'somebody-elses')
  for (let tries = 0; ; tries += 1) {
    const size = String(Math.max(freeBytes(directory) - leave, 4096))
    try {
      execFileSync('fallocate', ['-l', size, file], { stdio: 'pipe' })
      return file
    } catch (error) {
      if (tries === 20) throw error
    }
  }
}

async function pushed(admin: Client, name: string, bytes: number): Promise<Buffer> {
  const sif = makeSif({ seed: name, payload: bytes })
  const reply = await admin.push(`admin/disk/${name}`, 'latest', sif)
  assert.equal(reply.status, 200, reply.body.toString())
  return sif
}

async function assertPull(admin: Client, name: string, sif: Buffer): Promise<void> {
  const pulled = await admin.get(`/v1/imagefile/admin/disk/${name}:latest?arch=amd64`)
  assert.equal(sha256(pulled.body), sha256(sif))
}

async function taken(admin: Client): Promise<readonly number[]> {
  const [{ usedBytes, reservedBytes }] = (await admin.get('/api/v1/usage')).json.data
  assert.equal(typeof usedBytes, 'number')
  return [usedBytes, reservedBytes]
}

const skip = withoutMounts()

test(
  'a disk that becomes full: 507 before the body, everything else works',
  { skip },
  async (t) => {
    const { store, admin } = await siteOn(t, { disk: 'store', options: 'size=96m' })
    const kept = await pushed(admin, 'kept', 4 * MiB)
    await pushed(admin, 'goes', 4 * MiB)
    const file = fill(store, 10 * MiB)
    const late = makeSif({ seed: 'late', payload: 6 * MiB })
    const id = await admin.announce('admin/disk/late', late)
    const refused = await admin.post(`/v2/imagefile/${id}`, { filesize: late.length })
    assertProblem(refused, 507, /no room/)
    await assertPull(admin, 'kept', kept)
    assert.equal((await admin.delete('/v1/images/admin/disk/goes:latest?arch=amd64')).status, 200)
    assert.equal((await admin.get('/readyz')).status, 200)
    rmSync(file)
    assert.equal((await admin.push('admin/disk/late', 'latest', late)).status, 200)
    await assertPull(admin, 'late', late)
  },
)

test(
  'the last bytes go while an image arrives: 507, and nothing is left of it',
  { skip },
  async (t) => {
    const { store, admin } = await siteOn(t, { disk: 'store', options: 'size=96m' })
    const before = await taken(admin)
    const sif = makeSif({ seed: 'arriving', payload: 40 * MiB })
    const url = new URL(await admin.openWhole('admin/disk/arriving', sif))
    let file = ''
    const status = await new Promise<number>((resolve, reject) => {
      const sent = request(
        url,
        { method: 'PUT', headers: { 'content-length': sif.length } },
        (res) => {
          res.resume()
          resolve(res.statusCode ?? 0)
        },
      )
      sent.on('error', reject)
      sent.write(sif.subarray(0, 8 * MiB), () => {
        file = fill(store, 2 * MiB)
        sent.end(sif.subarray(8 * MiB))
      })
    })
    assert.equal(status, 507)
    await eventually(
      async () => readdirSync(join(store, 'incoming')).length === 0,
      'no file is left',
    )
    assert.deepEqual(await taken(admin), before)
    rmSync(file)
    assert.equal((await admin.push('admin/disk/arriving', 'latest', sif)).status, 200)
    await assertPull(admin, 'arriving', sif)
  },
)

test('no inode is left: 507, and pulls work', { skip }, async (t) => {
  const { store, admin } = await siteOn(t, { disk: 'store', options: 'size=96m,nr_inodes=2000' })
  const kept = await pushed(admin, 'kept', MiB)
  const others = join(store, 'others')
  mkdirSync(others)
  for (let number = 0; statfsSync(store).ffree > 0; number += 1) {
    writeFileSync(join(others, String(number)), '')
  }
  const sif = makeSif({ seed: 'one-more', payload: MiB })
  const reply = await admin.push('admin/disk/one-more', 'latest', sif)
  assertProblem(reply, 507, /full/)
  await assertPull(admin, 'kept', kept)
  rmSync(others, { recursive: true })
  assert.equal((await admin.push('admin/disk/one-more', 'latest', sif)).status, 200)
})

test(
  'a disk that takes no changes any more: 503 with the reason, pulls work',
  { skip },
  async (t) => {
    const { store, admin } = await siteOn(t, { disk: 'store', options: 'size=96m' })
    const kept = await pushed(admin, 'kept', MiB)
    execFileSync('mount', ['-o', 'remount,ro', store])
    const sif = makeSif({ seed: 'one-more', payload: MiB })
    assertProblem(await admin.push('admin/disk/one-more', 'latest', sif), 503, /takes no changes/)
    await assertPull(admin, 'kept', kept)
    execFileSync('mount', ['-o', 'remount,rw', store])
    assert.equal((await admin.push('admin/disk/one-more', 'latest', sif)).status, 200)
    await assertPull(admin, 'one-more', sif)
  },
)

test('a disk that is not mounted, and the disk of another site: no start', { skip }, async (t) => {
  const { store, server, dataDir, port, config, admin } = await siteOn(t, {
    disk: 'store',
    options: 'size=96m',
  })
  await pushed(admin, 'kept', MiB)
  await server.end('SIGTERM')
  execFileSync('umount', [store])
  await assert.rejects(startProcess({ dataDir, port, config }), /is the disk mounted\?/)
  mkdirSync(join(store, 'incoming'), { recursive: true })
  writeFileSync(join(store, 'store.json'), '{"storeId":"another","layout":1}')
  await assert.rejects(
    startProcess({ dataDir, port, config }),
    /\(another\) does not belong to this database/,
  )
})

test(
  'the disk of the database is full: 503, no end, and back when there is room',
  { skip },
  async (t) => {
    const { dataDir, server, admin } = await siteOn(t, { disk: 'postgres', options: 'size=400m' })
    let exited = false
    server.child.on('exit', () => (exited = true))
    const stored = new Map([['kept', await pushed(admin, 'kept', MiB)]])
    const file = fill(join(dataDir, 'postgres'), 0)
    let refused = 0
    for (let number = 0; number < 400 && refused < 5; number += 1) {
      const name = `full-${number}`
      const sif = makeSif({ seed: name, payload: 20_000 })
      const { status } = await admin.push(`admin/disk/${name}`, 'latest', sif).catch(refusal)
      if (status === 200) stored.set(name, sif)
      else refused += 1
      assert.ok(status === 200 || status === 503 || status === 507, `status ${status}`)
    }
    rmSync(file)
    await eventually(
      async () => {
        const sif = makeSif({ seed: 'after', payload: 20_000 })
        const { status } = await admin.push('admin/disk/after', 'latest', sif).catch(refusal)
        return status === 200
      },
      'pushes work again',
      10_000,
    )
    assert.equal(exited, false)
    for (const [name, sif] of stored) await assertPull(admin, name, sif)
  },
)

/** `announce` asserts its own status: what it saw is in the message. */
function refusal(error: unknown): { status: number } {
  const { actual } = error as { actual?: number }
  return { status: actual ?? 0 }
}
