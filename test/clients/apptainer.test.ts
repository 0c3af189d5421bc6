import assert from 'node:assert/strict'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import { sql } from '../../server/database.ts'
import { packageRoot } from '../../server/package-root.ts'
import { libraryHash } from '../support/client.ts'
import type { Client } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import type { TestServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { build, buildHello } from './apptainer-build.ts'
import { findApptainerRoot, openApptainer, withoutApptainer } from './apptainer-root.ts'
import type { Apptainer } from './apptainer-root.ts'

const root = findApptainerRoot()
const skip = withoutApptainer(root)

const unverified = 'WARNING: Skipping container verification\n'
const unsigned = `WARNING: integrity: signature not found for object group 1\n${unverified}`

test('remote login verifies the token, and remote status says who one is', { skip }, async (t) => {
  const server = await startServer(t)
  const token = tokenOf(await server.account('alice'))
  const node = openApptainer(t, { root })
  node.useRemote(server.url)
  writeFileSync(join(node.work, 'token'), `${token}\n`)

  assert.deepEqual(await node.run('remote', 'login', '--tokenfile', 'token', 'site'), {
    status: 0,
    stdout: '',
    stderr:
      'INFO:    Access Token Verified!\n' +
      'INFO:    Token stored in /home/user/.apptainer/remote.yaml\n',
  })
  const status = await node.run('remote', 'status')
  assert.equal(status.status, 0, status.stderr)
  const [head, ...services] = table(status.stdout.split('\n\n')[0] ?? '')
  assert.deepEqual(head, ['SERVICE', 'STATUS', 'VERSION', 'URI'])
  assert.deepEqual(
    services.map(([name, state, , uri]) => [name, state, uri]),
    ['Builder', 'Consent', 'Keyserver', 'Library', 'Token'].map((name) => [name, 'OK', server.url]),
  )
  assert.match(status.stdout, /^Logged in as: alice /m)
  assert.match(status.stdout, /^Valid authentication token set \(logged in\)\.$/m)
})

test('remote login with a wrong token says so and stores nothing', { skip }, async (t) => {
  const server = await startServer(t)
  const node = openApptainer(t, { root })
  node.useRemote(server.url)
  // Shorter than 200 characters, the client would not even send it.
  writeFileSync(join(node.work, 'token'), 'x'.repeat(300))

  assert.deepEqual(await node.run('remote', 'login', '--tokenfile', 'token', 'site'), {
    status: 255,
    stdout: '',
    stderr: 'FATAL:   while verifying token: error response from server: Invalid Credentials\n',
  })
  const status = await node.run('remote', 'status')
  assert.match(status.stdout, /^No authentication token set \(logged out\)\.$/m)
})

test('remote status says that a revoked token is not valid any more', { skip }, async (t) => {
  const server = await startServer(t)
  const { alice, node } = await signIn(t, server)
  const { tokenId } = alice.credentials ?? assert.fail()
  assert.equal((await alice.delete(`/api/v1/tokens/${tokenId}`)).status, 200)

  const status = await node.run('remote', 'status')
  assert.notEqual(status.status, 0)
  const told = status.stdout + status.stderr
  assert.match(told, /Authentication token is invalid \(please login again\)\./)
})

test('remote status says when a token is about to end', { skip }, async (t) => {
  const server = await startServer(t)
  const { alice, node } = await signIn(t, server)
  const { tokenId } = alice.credentials ?? assert.fail()
  const identity = async (): Promise<string> => {
    const { status, stdout, stderr } = await node.run('remote', 'status')
    assert.equal(status, 0, stderr)
    return /^Logged in as: .*$/m.exec(stdout)?.[0] ?? stdout
  }
  const endsIn = async (days: number): Promise<string> => {
    const end = new Date(Date.now() + days * 86_400_000)
    await server.db.query(sql`update tokens set expires_at = ${end} where id = ${tokenId}`)
    return end.toISOString().slice(0, 10)
  }
  await endsIn(31)
  assert.match(await identity(), /^Logged in as: alice\b(?!.*ends)/)
  const day = await endsIn(29)
  assert.match(
    await identity(),
    new RegExp(`alice .*your access token ends on ${day}, get a new one`),
  )
})

test('a pushed image runs on another machine without login, and is cached', { skip }, async (t) => {
  const server = await startServer(t)
  const { node } = await signIn(t, server)
  const image = await buildHello(node, 'hello.sif')

  const pushed = await node.run('push', '-U', 'hello.sif', 'library://alice/demo/hello:v1')
  assert.equal(pushed.status, 0, pushed.stderr)
  const used = (image.length / 2 ** 20).toFixed(2)
  assert.equal(
    pushed.stdout,
    `\nLibrary storage: using ${used} MiB out of 100.00 GiB quota (0.0% used)\n` +
      `Container URL: ${server.url}/library/alice/demo/hello\n`,
  )

  const other = openApptainer(t, { root, work: node.work })
  other.useRemote(server.url)
  const pulled = await other.run('pull', 'pulled.sif', 'library://alice/demo/hello:v1')
  assert.equal(pulled.status, 0, pulled.stderr)
  assert.match(pulled.stderr, new RegExp(`Downloaded ${image.length} bytes`))
  assert.deepEqual(readFileSync(join(node.work, 'pulled.sif')), image)

  assert.deepEqual(await other.run('pull', 'again.sif', 'library://alice/demo/hello:v1'), {
    status: 0,
    stdout: '',
    stderr: `INFO:    Using cached image\n${unsigned}`,
  })
  const run = await other.run('run', 'library://alice/demo/hello:v1')
  assert.deepEqual([run.status, run.stdout], [0, 'hello from a container\n'], run.stderr)
})

test('pull without cache, of the default tag and by digest, is byte-exact', { skip }, async (t) => {
  const server = await startServer(t)
  const { node } = await signIn(t, server)
  const image = await buildHello(node, 'hello.sif')
  await push(node, 'hello.sif', 'library://alice/demo/hello:v1,latest')

  for (const tag of ['', ':v1', `:${libraryHash(image)}`]) {
    const reference = `library://alice/demo/hello${tag}`
    const pulled = await node.run('pull', '--disable-cache', '--force', 'pulled.sif', reference)
    assert.equal(pulled.status, 0, pulled.stderr)
    assert.deepEqual(readFileSync(join(node.work, 'pulled.sif')), image, reference)
  }
})

test('pushing an image that is there already sends no bytes', { skip }, async (t) => {
  const server = await startServer(t)
  const { node } = await signIn(t, server)
  await buildHello(node, 'hello.sif')
  await push(node, 'hello.sif', 'library://alice/demo/hello:v1')
  const before = requests(server).length

  const again = await node.run('push', '-U', 'hello.sif', 'library://alice/demo/hello:v2')
  assert.deepEqual(again, { status: 0, stdout: '', stderr: unverified })
  const sent = requests(server).slice(before)
  assert.deepEqual(
    sent.filter((line) => /imagefile|\/ul\//.test(line)),
    [],
  )
  const found = await node.run('search', 'hello')
  assert.match(found.stdout, /^\tlibrary:\/\/alice\/demo\/hello:v1,v2$/m)
})

test('search lists what matches, or says that nothing does', { skip }, async (t) => {
  const server = await startServer(t)
  const { node } = await signIn(t, server)
  await buildHello(node, 'hello.sif')
  await push(node, 'hello.sif', 'library://alice/demo/hello:v1')

  assert.deepEqual(await node.run('search', '--arch', 'amd64', 'hell'), {
    status: 0,
    stdout:
      'Found 1 container images for amd64 matching "hell":\n\n' +
      '\tlibrary://alice/demo/hello:v1\n\n',
    stderr: '',
  })
  assert.deepEqual(await node.run('search', '--arch', 'amd64', 'nothing'), {
    status: 0,
    stdout: 'No container images found for amd64 matching "nothing".\n\n',
    stderr: '',
  })
})

test('one tag holds an image for each architecture', { skip }, async (t) => {
  const server = await startServer(t)
  const { node } = await signIn(t, server)
  const images = { amd64: busybox('amd64'), arm64: busybox('arm64') }
  for (const [arch, image] of Object.entries(images)) {
    writeFileSync(join(node.work, `${arch}.sif`), image)
    await push(node, `${arch}.sif`, 'library://alice/demo/busybox:latest')
  }

  for (const [arch, image] of Object.entries(images)) {
    const reference = 'library://alice/demo/busybox:latest'
    const pulled = await node.run('pull', '--force', '--arch', arch, 'pulled.sif', reference)
    assert.equal(pulled.status, 0, pulled.stderr)
    assert.deepEqual(readFileSync(join(node.work, 'pulled.sif')), image, arch)
  }
  assert.deepEqual(
    await node.run('pull', '--arch', 's390x', 'none.sif', 'library://alice/demo/busybox'),
    {
      status: 255,
      stdout: '',
      stderr: missing('alice/demo/busybox:latest (s390x)'),
    },
  )
})

test('delete removes the image of one architecture', { skip }, async (t) => {
  const server = await startServer(t)
  const { node } = await signIn(t, server)
  for (const arch of ['amd64', 'arm64'] as const) {
    writeFileSync(join(node.work, `${arch}.sif`), busybox(arch))
    await push(node, `${arch}.sif`, 'library://alice/demo/busybox:latest')
  }
  const reference = 'library://alice/demo/busybox:latest'

  assert.deepEqual(await node.run('delete', '-F', '--arch', 'arm64', reference), {
    status: 0,
    stdout: '',
    stderr: 'INFO:    Image alice/demo/busybox:latest (arm64) deleted.\n',
  })
  assert.deepEqual(await node.run('pull', '--arch', 'arm64', 'none.sif', reference), {
    status: 255,
    stdout: '',
    stderr: missing('alice/demo/busybox:latest (arm64)'),
  })
  assert.deepEqual(await node.run('delete', '-F', '--arch', 'arm64', reference), {
    status: 255,
    stdout: '',
    stderr:
      "FATAL:   Unable to delete image from library: couldn't delete requested image: not found\n",
  })
  const left = await node.run('pull', '--arch', 'amd64', 'left.sif', reference)
  assert.equal(left.status, 0, left.stderr)
})

test('more than 64 MiB travel in parts and come back in ranges', { skip }, async (t) => {
  const server = await startServer(t, { settings: { library: { part_size: '16 MiB' } } })
  const { node } = await signIn(t, server)
  const image = await build(node, 'big.sif', [
    'head -c 80000000 /dev/urandom > ${APPTAINER_ROOTFS}/noise',
  ])
  assert.ok(image.length > 64 * 2 ** 20)

  const pushed = await node.run('push', '-U', 'big.sif', 'library://alice/demo/big:latest')
  assert.equal(pushed.status, 0, pushed.stderr)
  assert.match(pushed.stdout, /using 76\.\d\d MiB out of 100\.00 GiB quota/)
  const parts = requests(server).filter((line) => line === 'PUT /ul/- 200')
  assert.equal(parts.length, Math.ceil(image.length / (16 * 2 ** 20)))

  for (const cache of [[], ['--disable-cache']]) {
    const pulled = await node.run('pull', ...cache, '--force', 'p.sif', 'library://alice/demo/big')
    assert.equal(pulled.status, 0, pulled.stderr)
    assert.ok(readFileSync(join(node.work, 'p.sif')).equals(image), 'the bytes differ')
  }
  assert.ok(requests(server).includes('GET /v1/imagefile/alice/demo/big:latest 303'))
  assert.ok(requests(server).includes('GET /dl/- 206'))
})

test('a push over the quota is refused with a sentence that helps', { skip }, async (t) => {
  const server = await startServer(t, { settings: { quota: { default: '500 KiB' } } })
  const { node } = await signIn(t, server)
  await buildHello(node, 'hello.sif')

  const refused = await node.run('push', '-U', 'hello.sif', 'library://alice/demo/hello:latest')
  assert.equal(refused.status, 255)
  assert.equal(refused.stdout, '')
  assert.match(
    refused.stderr,
    /^FATAL: {3}Unable to push image to library: request did not succeed: quota exceeded: .* \(403 Forbidden\)$/m,
  )
  assert.ok(!requests(server).some((line) => line.startsWith('PUT /ul/')), 'bytes were sent')
})

test('more than 64 MiB over the quota are refused before a byte is sent', { skip }, async (t) => {
  const server = await startServer(t, { settings: { quota: { default: '500 KiB' } } })
  const { node } = await signIn(t, server)
  // Nobody reads what follows the last object of a SIF, so that any size is quickly made.
  writeFileSync(join(node.work, 'big.sif'), makeSif({ padding: 65 * 2 ** 20 }))

  const refused = await node.run('push', '-U', 'big.sif', 'library://alice/demo/big:latest')
  assert.equal(refused.status, 255)
  assert.match(refused.stderr, /quota exceeded: .* \(403 Forbidden\)$/m)
  assert.ok(!requests(server).some((line) => line.startsWith('PUT /ul/')), 'bytes were sent')
})

test("nobody pushes to, or deletes in, somebody else's entity", { skip }, async (t) => {
  const server = await startServer(t)
  const { node } = await signIn(t, server)
  await buildHello(node, 'hello.sif')
  await push(node, 'hello.sif', 'library://alice/demo/hello:latest')
  const bob = openApptainer(t, { root, work: node.work })
  bob.useRemote(server.url, tokenOf(await server.account('bob')))

  for (const reference of ['library://alice/demo/hello:evil', 'library://alice/new/hello:evil']) {
    const refused = await bob.run('push', '-U', 'hello.sif', reference)
    assert.equal(refused.status, 255)
    assert.match(
      refused.stderr,
      /^FATAL: {3}Unable to push image to library: .*\balice\b.* \(403 Forbidden\)$/m,
    )
  }
  const kept = await bob.run('delete', '-F', 'library://alice/demo/hello:latest')
  assert.equal(kept.status, 255)
  assert.match(kept.stderr, /^FATAL: {3}Unable to delete image from library: .*403 Forbidden/m)
  const found = await bob.run('search', 'hello')
  assert.match(found.stdout, /^\tlibrary:\/\/alice\/demo\/hello:latest$/m)
})

test('without login, or after it was revoked, nothing is pushed', { skip }, async (t) => {
  const server = await startServer(t)
  const { alice, node } = await signIn(t, server)
  await buildHello(node, 'hello.sif')
  const { tokenId } = alice.credentials ?? assert.fail()
  assert.equal((await alice.delete(`/api/v1/tokens/${tokenId}`)).status, 200)

  const revoked = await node.run('push', '-U', 'hello.sif', 'library://alice/demo/hello')
  assert.equal(revoked.status, 255)
  assert.match(revoked.stderr, /^FATAL: {3}Unable to push image to library: .*401 Unauthorized/m)

  node.useRemote(server.url)
  assert.deepEqual(await node.run('push', '-U', 'hello.sif', 'library://alice/demo/hello'), {
    status: 255,
    stdout: '',
    stderr:
      'FATAL:   Cannot push image to library: no authentication token, log in with `apptainer remote login`\n',
  })
})

test('what is not a SIF is refused by the client itself', { skip }, async (t) => {
  const server = await startServer(t)
  const { node } = await signIn(t, server)
  writeFileSync(join(node.work, 'not.sif'), 'a text\n')

  const refused = await node.run('push', '-U', 'not.sif', 'library://alice/demo/not:latest')
  assert.equal(refused.status, 255)
  assert.match(refused.stderr, /^FATAL: {3}Unable to push image to library: unable to open: /m)
  assert.ok(!requests(server).some((line) => line.startsWith('POST ')), 'something was made')
})

/** alice, and a login node where she is logged in. */
async function signIn(
  t: test.TestContext,
  server: TestServer,
): Promise<{ alice: Client; node: Apptainer }> {
  const alice = await server.account('alice')
  const node = openApptainer(t, { root })
  node.useRemote(server.url, tokenOf(alice))
  return { alice, node }
}

function tokenOf(client: Client): string {
  assert.ok(client.credentials)
  return client.credentials.token
}

async function push(node: Apptainer, file: string, reference: string): Promise<void> {
  const pushed = await node.run('push', '-U', file, reference)
  assert.equal(pushed.status, 0, pushed.stderr)
}

/** A real image where the machine has it, otherwise one made for the test. */
function busybox(arch: 'amd64' | 'arm64'): Buffer {
  const real = join(packageRoot, `../shared/testdata/busybox_${arch}.sif`)
  return existsSync(real) ? readFileSync(real) : makeSif({ arch, seed: arch })
}

/** What the server answered so far, as "METHOD path status". */
function requests(server: TestServer): string[] {
  const lines = server.log().split('\n')
  const entries = lines.filter((line) => line !== '').map((line) => JSON.parse(line) as LogLine)
  return entries
    .filter((entry) => entry['request.method'] !== undefined)
    .map((entry) =>
      [entry['request.method'], entry['request.path'], entry['response.status']].join(' '),
    )
}

interface LogLine {
  readonly 'request.method'?: string
  readonly 'request.path'?: string
  readonly 'response.status'?: number
}

function table(text: string): string[][] {
  return text.split('\n').map((line) => line.trim().split(/ {2,}/))
}

function missing(image: string): string {
  return `FATAL:   While pulling library image: error fetching image: image does not exist in the library: ${image}\n`
}
