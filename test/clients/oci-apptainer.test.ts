/** Apptainer at the registry: SIFs by `oras://` beside `library://`, and images of `docker://`. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import { libraryHash } from '../support/client.ts'
import type { Client } from '../support/client.ts'
import { makeImage, writeLayout } from '../support/oci-image.ts'
import { assertLedger, startServer } from '../support/server.ts'
import type { TestServer, TestServerOptions } from '../support/server.ts'
import { buildHello } from './apptainer-build.ts'
import { findApptainerRoot, openApptainer, withoutApptainer } from './apptainer-root.ts'
import type { Apptainer, Outcome } from './apptainer-root.ts'

const root = findApptainerRoot()
const skip = withoutApptainer(root)

test('a SIF of either door is pulled by the other, byte by byte', { skip }, async (t) => {
  const { server, node, host } = await openNode(t)
  const image = await buildHello(node, 'hello.sif')
  const other = openApptainer(t, { root, work: node.work })
  other.useRemote(server.url)

  await signInToRegistry(node, host)
  await well(node, `apptainer push --no-https hello.sif oras://${host}/alice/demo/one:v1`)
  await well(node, `apptainer push -U hello.sif library://alice/demo/two:v1`)
  for (const [at, line] of [
    // A machine where nobody is signed in.
    `pull --no-https FILE oras://${host}/alice/demo/one:v1`,
    `pull --no-https FILE oras://${host}/alice/demo/two:v1`,
    `pull --disable-cache FILE library://alice/demo/one:v1`,
    `pull --disable-cache FILE library://alice/demo/one:${libraryHash(image)}`,
  ].entries()) {
    await well(other, `apptainer ${line.replace('FILE', `${at}.sif`)}`)
    assert.deepEqual(readFileSync(join(node.work, `${at}.sif`)), image, line)
  }
  assert.equal(
    await well(other, `apptainer run --no-https oras://${host}/alice/demo/two:v1`),
    'hello from a container\n',
  )
  const found = await well(other, 'apptainer search --arch amd64 one')
  assert.match(found, /^\tlibrary:\/\/alice\/demo\/one:v1$/m)
  await assertLedger(server.db)
})

test('registry login takes an access token, and what it stores can end', { skip }, async (t) => {
  const { alice, node, host } = await openNode(t)
  await buildHello(node, 'hello.sif')
  const login = `apptainer registry login -u alice --password-stdin oras://${host}`
  const push = `apptainer push --no-https hello.sif oras://${host}/alice/demo/hello:v1`

  await refused(node, `echo wrong | ${login}`, /UNAUTHORIZED: The user name or the token is wrong/)
  await refused(node, push, /UNAUTHORIZED: Sign in with your user name and an access token/)
  await signInToRegistry(node, host)
  assert.match(await well(node, 'apptainer registry list'), new RegExp(`oras://${host}`))
  await well(node, push)
  await refused(
    node,
    push.replace('alice/demo', 'bob/demo'),
    /UNAUTHORIZED: .*push \\?"bob\/demo\/hello\\?".*ask the owner/,
  )

  const { tokenId } = alice.credentials ?? assert.fail()
  assert.equal((await alice.delete(`/api/v1/tokens/${tokenId}`)).status, 200)
  await refused(node, push.replace('v1', 'v2'), /401|UNAUTHORIZED/)
  await well(node, `apptainer registry logout oras://${host}`)
})

test('over the quota, oras:// says how much is used and needed', { skip }, async (t) => {
  // It sends the blobs side by side; when one is refused, it leaves the upload of the other.
  const { server, node, host } = await openNode(t, {
    settings: { quota: { default: '500 KiB' } },
    leavesUploads: true,
  })
  await buildHello(node, 'hello.sif')
  await signInToRegistry(node, host)
  const push = `apptainer push --no-https hello.sif oras://${host}/alice/demo/hello:v1`
  await refused(node, push, /DENIED: quota exceeded: .* used\b.* of 500\.00 KiB, and this/)
  await assertLedger(server.db)
})

test('a private image is pulled by those who may, through oras:// too', { skip }, async (t) => {
  const { alice, node, host } = await openNode(t)
  const image = await buildHello(node, 'hello.sif')
  await alice.post('/v1/collections', { entity: 'alice', name: 'hidden', private: true })
  await signInToRegistry(node, host)
  await well(node, `apptainer push --no-https hello.sif oras://${host}/alice/hidden/hello:v1`)
  const pull = (file: string): string =>
    `apptainer pull --no-https ${file} oras://${host}/alice/hidden/hello:v1`

  await well(node, pull('mine.sif'))
  assert.deepEqual(readFileSync(join(node.work, 'mine.sif')), image)
  const other = openApptainer(t, { root, work: node.work })
  await refused(other, pull('theirs.sif'), /UNAUTHORIZED|401|NAME_UNKNOWN/)
})

test('an image that skopeo pushed is run, and built upon', { skip }, async (t) => {
  const { server, alice, node, host } = await openNode(t)
  const busybox = readFileSync(join(root ?? '', 'usr/bin/busybox'))
  const image = makeImage({
    layers: [{ 'bin/sh': busybox }, { 'etc/hello': 'hello from a layer\n' }],
    command: ['/bin/sh', '-c', 'echo hello from the registry'],
  })
  writeLayout(join(node.work, 'layout'), { hello: image })
  node.useRemote(server.url, alice.credentials?.token)
  const login = `skopeo login --authfile auth.json --tls-verify=false -u alice --password-stdin ${host}`
  const piped = await well(node, `apptainer remote get-login-password | ${login}`)
  assert.equal(piped, 'Login Succeeded!\n')
  const name = `docker://${host}/alice/demo/hello:v1`
  const to = `--authfile auth.json --preserve-digests --dest-tls-verify=false`
  await well(node, `skopeo copy ${to} oci:layout:hello ${name}`)

  const other = openApptainer(t, { root, work: node.work })
  await well(other, `apptainer pull --no-https pulled.sif ${name}`)
  assert.equal(await well(other, 'apptainer run pulled.sif'), 'hello from the registry\n')
  const read = `exec --no-https ${name} /bin/sh -c 'read line < /etc/hello; echo "$line"'`
  assert.equal(await well(other, `apptainer ${read}`), 'hello from a layer\n')
  writeFileSync(
    join(node.work, 'built.def'),
    `Bootstrap: docker\nRegistry: ${host}\nFrom: alice/demo/hello:v1\n%runscript\necho built\n`,
  )
  await well(other, 'apptainer build --no-https built.sif built.def')
  assert.equal(await well(other, 'apptainer run built.sif'), 'built\n')

  // library:// cannot give what is no SIF, and says by which address it is had.
  other.useRemote(server.url)
  await refused(other, 'apptainer pull no.sif library://alice/demo/hello:v1', /docker:\/\//)
})

interface LoginNode {
  readonly server: TestServer
  readonly alice: Client
  readonly node: Apptainer
  /** host:port of the registry. */
  readonly host: string
}

/** A node where alice is logged in to the library; `token` holds her access token. */
async function openNode(t: test.TestContext, options: TestServerOptions = {}): Promise<LoginNode> {
  const server = await startServer(t, options)
  const alice = await server.account('alice')
  const node = openApptainer(t, { root })
  const token = alice.credentials?.token ?? assert.fail()
  node.useRemote(server.url, token)
  writeFileSync(join(node.work, 'token'), token)
  return { server, alice, node, host: new URL(server.url).host }
}

async function signInToRegistry(node: Apptainer, host: string): Promise<void> {
  await well(node, `apptainer registry login -u alice --password-stdin oras://${host} < token`)
}

/** What the line printed; it has to end well. */
async function well(node: Apptainer, line: string): Promise<string> {
  const outcome = await node.type(line)
  assert.equal(outcome.status, 0, `${line}\n${outcome.stderr}`)
  return outcome.stdout
}

async function refused(node: Apptainer, line: string, reason: RegExp): Promise<Outcome> {
  const outcome = await node.type(line)
  assert.notEqual(outcome.status, 0, line)
  assert.match(outcome.stderr, reason, line)
  return outcome
}
