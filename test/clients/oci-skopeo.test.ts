/** skopeo: signing in, copying there and back without a changed byte, listing, deleting, syncing. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import {
  digestOf,
  dockerTypes,
  makeImage,
  makeIndex,
  readLayout,
  types,
  writeDirectory,
  writeLayout,
} from '../support/oci-image.ts'
import type { Stored } from '../support/oci-image.ts'
import { assertLedger, startServer } from '../support/server.ts'
import type { TestServer } from '../support/server.ts'
import { openRegistryShell, without } from './registry-shell.ts'
import type { RegistryShell } from './registry-shell.ts'

const skip = without('skopeo')

test('skopeo login takes an access token and nothing else', { skip }, async (t) => {
  const server = await startServer(t)
  const shell = openRegistryShell(t, await server.account('alice'))
  const login = `skopeo login --tls-verify=false --password-stdin ${shell.host}`

  for (const line of [`echo wrong | ${login} -u alice`, `${login} -u bob < token`]) {
    const refused = await shell.attempt(line)
    assert.notEqual(refused.status, 0, line)
    assert.match(refused.stderr, /invalid username\/password/)
  }
  assert.equal(await shell.type(`${login} -u alice < token`), 'Login Succeeded!\n')
  assert.equal(await shell.type(`skopeo login --get-login ${shell.host}`), 'alice\n')
  await shell.type(`skopeo logout ${shell.host}`)
})

test('an image comes back byte by byte, for everybody', { skip }, async (t) => {
  const { server, shell, name } = await signIn(t)
  const image = makeImage({ layers: [{ 'etc/one': 'one' }, { 'etc/two': 'two' }] })
  writeLayout(join(shell.work, 'layout'), { hello: image })
  await shell.type(copyTo('oci:layout:hello', `${name}:v1`))
  await shell.type(copyTo(`oci:layout:hello`, `${name}:v2`))

  const read = `--tls-verify=false docker://${name}`
  assert.deepEqual(JSON.parse(await shell.type(`skopeo list-tags ${read}`)), {
    Repository: name,
    Tags: ['v1', 'v2'],
  })
  const told = JSON.parse(await shell.type(`skopeo inspect ${read}:v1`))
  assert.deepEqual(
    [told.Name, told.Digest, told.RepoTags, told.Architecture, told.Layers],
    [name, image.digest, ['v1', 'v2'], 'amd64', image.layerDigests],
  )
  const raw = await shell.type(`skopeo inspect --raw ${read}@${image.digest}`)
  assert.equal(raw, image.bytes.toString())

  await shell.type(`skopeo logout ${shell.host}`)
  await shell.type(copyFrom(`${name}:v1`, 'oci:back:hello'))
  assertSame(shell, 'back:hello', image)
  const refused = await shell.attempt(copyTo('oci:layout:hello', `${name}:v3`))
  assert.notEqual(refused.status, 0)
  assert.match(refused.stderr, /authentication required|unauthorized/)
  await assertLedger(server.db)
})

test('an index goes there and back with all its images', { skip }, async (t) => {
  const { shell, name } = await signIn(t)
  const images = ['amd64', 'arm64', 'riscv64'].map((arch) => makeImage({ arch }))
  const index = makeIndex(images)
  assert.equal(index.mediaType, types.index)
  writeLayout(join(shell.work, 'layout'), { all: index })
  await shell.type(copyTo('oci:layout:all', `${name}:v1`, '--all'))
  await shell.type(copyFrom(`${name}:v1`, 'oci:back:all', '--all'))
  assertSame(shell, 'back:all', index)

  for (const { arch, layerDigests, digest } of images) {
    const override = `skopeo --override-arch ${arch} inspect --tls-verify=false`
    const told = JSON.parse(await shell.type(`${override} docker://${name}:v1`))
    assert.deepEqual([told.Architecture, told.Layers], [arch, layerDigests])
    const one = await shell.type(`${override} --raw docker://${name}@${digest}`)
    assert.equal(digestOf(Buffer.from(one)), digest)
  }
})

test("images and lists of Docker's media types stay what they are", { skip }, async (t) => {
  const { shell, name } = await signIn(t)
  const images = ['amd64', 'arm64'].map((arch) => makeImage({ arch, docker: true }))
  const list = makeIndex(images)
  assert.equal(list.mediaType, dockerTypes.index)
  const [image] = images
  assert.ok(image)
  writeDirectory(join(shell.work, 'one'), image)
  writeDirectory(join(shell.work, 'all'), list, images)
  await shell.type(copyTo('dir:one', `${name}:one`))
  await shell.type(copyTo('dir:all', `${name}:all`, '--all'))

  for (const [tag, pushed] of [['one', image] as const, ['all', list] as const]) {
    await shell.type(copyFrom(`${name}:${tag}`, `dir:back-${tag}`, '--all'))
    const manifest = readFileSync(join(shell.work, `back-${tag}/manifest.json`))
    assert.deepEqual(manifest, pushed.bytes)
    for (const digest of image.layerDigests) {
      const blob = readFileSync(join(shell.work, `back-${tag}`, digest.replace('sha256:', '')))
      assert.equal(digestOf(blob), digest)
    }
  }
})

test('what skopeo deletes is gone, and nothing else is', { skip }, async (t) => {
  const { server, shell, name } = await signIn(t)
  const [kept, unwanted] = [makeImage({ arch: 'amd64' }), makeImage({ arch: 'arm64' })]
  writeLayout(join(shell.work, 'layout'), { kept, unwanted })
  await shell.type(copyTo('oci:layout:kept', `${name}:kept`))
  await shell.type(copyTo('oci:layout:unwanted', `${name}:unwanted`))

  // It asks for the digest of the tag and deletes by that.
  await shell.type(`skopeo delete --tls-verify=false docker://${name}:unwanted`)
  const listed = await shell.type(`skopeo list-tags --tls-verify=false docker://${name}`)
  assert.deepEqual(JSON.parse(listed).Tags, ['kept'])
  for (const reference of [`${name}:unwanted`, `${name}@${unwanted.digest}`]) {
    const gone = await shell.attempt(`skopeo inspect --tls-verify=false docker://${reference}`)
    assert.notEqual(gone.status, 0)
    assert.match(gone.stderr, /manifest unknown|MANIFEST_UNKNOWN/i)
  }
  await shell.type(copyFrom(`${name}:kept`, 'oci:back:kept'))
  assertSame(shell, 'back:kept', kept)
  await assertLedger(server.db)
})

test('sync moves all tags of a repository, to a disk and to another one', { skip }, async (t) => {
  const { shell, name } = await signIn(t)
  const images = { v1: makeImage({ arch: 'amd64' }), v2: makeImage({ arch: 'arm64' }) }
  writeLayout(join(shell.work, 'layout'), images)
  for (const tag of Object.keys(images)) {
    await shell.type(copyTo(`oci:layout:${tag}`, `${name}:${tag}`))
  }
  const sync = 'skopeo sync --src-tls-verify=false --dest-tls-verify=false --all'
  await shell.type(`${sync} --src docker --dest dir ${name} mirror`)
  await shell.type(`${sync} --src docker --dest docker ${name} ${shell.host}/alice/mirror`)

  const base = name.split('/').at(-1)
  for (const [tag, image] of Object.entries(images)) {
    const manifest = readFileSync(join(shell.work, `mirror/${base}:${tag}/manifest.json`))
    assert.deepEqual(manifest, image.bytes)
    const copied = `docker://${shell.host}/alice/mirror/${base}:${tag}`
    const raw = await shell.type(`skopeo inspect --tls-verify=false --raw ${copied}`)
    assert.equal(raw, image.bytes.toString())
  }
})

test('names of two and of five segments belong to the first of them', { skip }, async (t) => {
  const { server, shell } = await signIn(t)
  const image = makeImage()
  writeLayout(join(shell.work, 'layout'), { hello: image })
  const places = {
    'alice/img': { collection: 'alice/default', container: 'img' },
    'alice/tools/genome/align/bwa': { collection: 'alice/tools', container: 'genome/align/bwa' },
  }
  for (const [path, { collection, container }] of Object.entries(places)) {
    await shell.type(copyTo('oci:layout:hello', `${shell.host}/${path}:v1`))
    const listed = JSON.parse(
      await shell.type(`skopeo list-tags --tls-verify=false docker://${shell.host}/${path}`),
    )
    assert.deepEqual(listed, { Repository: `${shell.host}/${path}`, Tags: ['v1'] })
    await shell.type(copyFrom(`${shell.host}/${path}:v1`, `oci:back:${container}`))
    assert.equal(readLayout(join(shell.work, 'back'), container).digest, image.digest)

    const found = await server.anonymous.get(`/v1/collections/${collection}/_containers`)
    assert.equal(found.status, 200, found.body.toString())
    assert.deepEqual(
      found.json.data.map((one: { name: string; entityName: string }) => [
        one.entityName,
        one.name,
      ]),
      [['alice', container]],
    )
  }
  // The same container by its whole name.
  const whole = await shell.type(
    `skopeo inspect --raw --tls-verify=false docker://${shell.host}/alice/default/img:v1`,
  )
  assert.equal(whole, image.bytes.toString())
})

test('over the quota, or for somebody else, the reason reaches the user', { skip }, async (t) => {
  const { server, shell, name } = await signIn(t, { quota: { default: '10 KiB' } })
  await server.account('bob')
  const noise = randomBytes(40_000)
  writeLayout(join(shell.work, 'layout'), { big: makeImage({ layers: [{ noise }] }) })

  const over = await shell.attempt(copyTo('oci:layout:big', `${name}:v1`))
  assert.notEqual(over.status, 0)
  assert.match(over.stderr, /quota exceeded: .* used of 10\.00 KiB/)
  const alien = await shell.attempt(copyTo('oci:layout:big', `${shell.host}/bob/demo/img:v1`))
  assert.notEqual(alien.status, 0)
  assert.match(alien.stderr, /not allow to push .*bob\/demo\/img.*: ask the owner of .*bob/)
  await shell.type(`skopeo logout ${shell.host}`)
  const unsigned = await shell.attempt(copyTo('oci:layout:big', `${name}:v1`))
  assert.notEqual(unsigned.status, 0)
  assert.match(unsigned.stderr, /Sign in with your user name and an access token/)
})

interface SignedIn {
  readonly server: TestServer
  readonly shell: RegistryShell
  /** Where alice puts her images, with the host. */
  readonly name: string
}

/** alice, signed in. */
async function signIn(
  t: test.TestContext,
  settings: Readonly<Record<string, unknown>> = {},
): Promise<SignedIn> {
  const server = await startServer(t, { settings })
  const shell = openRegistryShell(t, await server.account('alice'))
  const login = 'skopeo login --tls-verify=false -u alice --password-stdin'
  await shell.type(`${login} ${shell.host} < token`)
  return { server, shell, name: `${shell.host}/alice/demo/hello` }
}

function copyTo(source: string, name: string, flag = ''): string {
  return `skopeo copy --preserve-digests --dest-tls-verify=false ${flag} ${source} docker://${name}`
}

function copyFrom(name: string, target: string, flag = ''): string {
  return `skopeo copy --preserve-digests --src-tls-verify=false ${flag} docker://${name} ${target}`
}

function assertSame(shell: RegistryShell, target: string, { digest, content }: Stored): void {
  const [layout = '', reference = ''] = target.split(':')
  const back = readLayout(join(shell.work, layout), reference)
  assert.equal(back.digest, digest)
  for (const [name, bytes] of content) assert.deepEqual(back.blob(name), bytes, name)
}
