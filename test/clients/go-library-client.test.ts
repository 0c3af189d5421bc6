/** The library of SingularityCE 4.5 itself, compiled into the small program go-driver/main.go. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

import { libraryHash } from '../support/client.ts'
import type { Client } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { finish } from './apptainer-root.ts'
import type { Outcome } from './apptainer-root.ts'
import { goProgram, withoutGo } from './go-program.ts'

const skip = withoutGo

test(
  'push prints the receipt, and pull brings the same bytes, as a stream too',
  { skip },
  async (t) => {
    const server = await startServer(t)
    const alice = driverFor(t, await server.account('alice'))
    const anonymous = driverFor(t, server.anonymous)
    const sif = makeSif({ seed: 1, payload: 100_000 })

    const receipt = await alice.push(sif, 'alice/demo/tool:v1,latest')
    assert.deepEqual(JSON.parse(receipt.stdout), {
      quota: { quotaTotal: 100 * 2 ** 30, quotaUsage: sif.length },
      containerUrl: 'library/alice/demo/tool',
    })
    for (const tag of ['', ':v1', `:${libraryHash(sif)}`]) {
      assert.deepEqual(await anonymous.pull(`alice/demo/tool${tag}`), sif)
      assert.deepEqual(await anonymous.pull(`alice/demo/tool${tag}`, '--stream'), sif)
    }
  },
)

test('a second push of the same image has no receipt: nothing was sent', { skip }, async (t) => {
  const server = await startServer(t)
  const alice = driverFor(t, await server.account('alice'))
  const sif = makeSif({ seed: 1 })
  await alice.push(sif, 'alice/demo/tool:v1')
  assert.equal((await alice.push(sif, 'alice/demo/tool:v2')).stdout, 'null\n')
  assert.deepEqual(await alice.pull('alice/demo/tool:v2'), sif)
})

test(
  'more than 64 MiB go up in parts, and come down in ranges or as a stream',
  { skip },
  async (t) => {
    const server = await startServer(t, { settings: { library: { part_size: '16 MiB' } } })
    const alice = driverFor(t, await server.account('alice'))
    const sif = makeSif({ seed: 2, payload: 70 * 2 ** 20 })
    const receipt = await alice.push(sif, 'alice/demo/big:latest')
    assert.match(receipt.stdout, /"containerUrl":"library\/alice\/demo\/big"/)
    assert.ok((await alice.pull('alice/demo/big')).equals(sif), 'by ranges')
    assert.ok((await alice.pull('alice/demo/big', '--stream')).equals(sif), 'as a stream')
  },
)

test(
  'search finds an image with its tags, its architecture and its description',
  { skip },
  async (t) => {
    const server = await startServer(t)
    const alice = driverFor(t, await server.account('alice'))
    const sif = makeSif({ seed: 3, arch: 'arm64' })
    await alice.push(sif, 'alice/demo/tool:v1', '--arch', 'arm64', '--description', 'a useful tool')

    const found = await alice.run('search', '--arch', 'arm64', 'tool')
    assert.equal(found.status, 0, found.stderr)
    const { image } = JSON.parse(found.stdout) as { image: Record<string, unknown>[] }
    const wanted = { hash: libraryHash(sif), arch: 'arm64', description: 'a useful tool' }
    assert.deepEqual(
      image.map(({ hash, arch, description, tags }) => ({ hash, arch, description, tags })),
      [{ ...wanted, tags: ['v1'] }],
    )
    const none = await alice.run('search', '--arch', 'amd64', 'tool')
    assert.deepEqual((JSON.parse(none.stdout) as { image: unknown[] }).image, [])
  },
)

test('a deleted image is not found any more', { skip }, async (t) => {
  const server = await startServer(t)
  const alice = driverFor(t, await server.account('alice'))
  await alice.push(makeSif({ seed: 4 }), 'alice/demo/tool:latest')
  const gone = { status: 1, stdout: '', stderr: 'FATAL: not found\n' }
  assert.equal((await alice.run('delete', 'alice/demo/tool:latest')).status, 0)
  assert.deepEqual(await alice.run('delete', 'alice/demo/tool:latest'), gone)
  assert.deepEqual(await alice.run('pull', 'alice/demo/tool:latest', '/dev/null'), gone)
})

test('what is not a SIF is refused, and the reason reaches the user', { skip }, async (t) => {
  const server = await startServer(t)
  const alice = driverFor(t, await server.account('alice'))
  for (const content of [Buffer.from('a text'), Buffer.alloc(65 * 2 ** 20)]) {
    const refused = await alice.tryPush(content, 'alice/demo/not:latest')
    assert.equal(refused.status, 1)
    assert.match(refused.stderr, /^FATAL: .*not a SIF.* \(400 Bad Request\)$/m)
  }
})

test(
  'over the quota, in one piece or in parts, the reason reaches the user',
  { skip },
  async (t) => {
    const server = await startServer(t, { settings: { quota: { default: '10 KiB' } } })
    const alice = driverFor(t, await server.account('alice'))
    for (const padding of [0, 65 * 2 ** 20]) {
      const refused = await alice.tryPush(makeSif({ seed: 5, padding }), 'alice/demo/tool:latest')
      assert.equal(refused.status, 1)
      assert.match(refused.stderr, /^FATAL: request did not succeed: quota exceeded: .*\(403 Forb/m)
    }
  },
)

test(
  "pushing logged out, or to somebody else's entity, says what is wrong",
  { skip },
  async (t) => {
    const server = await startServer(t)
    const sif = makeSif({ seed: 6 })
    await server.account('alice')
    const anonymous = await driverFor(t, server.anonymous).tryPush(sif, 'alice/demo/tool:v1')
    assert.match(anonymous.stderr, /^FATAL: request did not succeed: .+ \(401 Unauthorized\)$/m)
    const bob = driverFor(t, await server.account('bob'))
    const refused = await bob.tryPush(sif, 'alice/demo/tool:v1')
    assert.match(refused.stderr, /^FATAL: request did not succeed: .+ \(403 Forbidden\)$/m)
  },
)

interface Driver {
  /** `go-driver <command> --url … --token … <args>` */
  run(command: string, ...args: string[]): Promise<Outcome>
  tryPush(image: Buffer, reference: string, ...flags: string[]): Promise<Outcome>
  push(image: Buffer, reference: string, ...flags: string[]): Promise<Outcome>
  pull(reference: string, ...flags: string[]): Promise<Buffer>
}

function driverFor(t: test.TestContext, client: Client): Driver {
  const directory = mkdtempSync(join(tmpdir(), 'berth-go-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const file = join(directory, 'image.sif')
  const { url, credentials } = client
  const account = ['--url', url, '--token', credentials?.token ?? '']
  const driver: Driver = {
    run: async (command, ...args) =>
      await finish(goProgram('go-driver'), [command, ...account, ...args], 120),
    tryPush: async (image, reference, ...flags) => {
      writeFileSync(file, image)
      return await driver.run('push', ...flags, file, reference)
    },
    push: async (image, reference, ...flags) => {
      const pushed = await driver.tryPush(image, reference, ...flags)
      assert.equal(pushed.status, 0, pushed.stderr)
      return pushed
    },
    pull: async (reference, ...flags) => {
      const pulled = await driver.run('pull', ...flags, reference, file)
      assert.equal(pulled.status, 0, pulled.stderr)
      return readFileSync(file)
    },
  }
  return driver
}
