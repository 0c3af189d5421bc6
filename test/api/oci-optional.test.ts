/** What distribution-spec leaves open and Berth does: mounts without a source, tags that go with a manifest, blobs in use. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { Client } from '../support/client.ts'
import type { Reply } from '../support/client.ts'
import { digestOf, makeImage } from '../support/oci-image.ts'
import type { OciImage } from '../support/oci-image.ts'
import { assertLedger, startServer } from '../support/server.ts'

const server = await startServer({ after })

test('a blob that one may read anywhere is mounted without naming where', async () => {
  const [owner, other] = [await server.user('giver'), await server.user('taker')]
  const blob = Buffer.from('a blob for everybody')
  await pushBlob(owner, 'giver/open/tool', blob)

  const mounted = await mount(other, 'taker/demo/tool', digestOf(blob))
  assert.equal(mounted.status, 201, mounted.body.toString())
  assert.equal(
    mounted.headers['location'],
    `${server.url}/v2/taker/demo/tool/blobs/${digestOf(blob)}`,
  )
  const got = await other.get(`/v2/taker/demo/tool/blobs/${digestOf(blob)}`)
  assert.deepEqual([got.status, got.body], [200, blob])
  await assertLedger(server.db)
})

test('a blob of a private collection is mounted for those only who may read it', async () => {
  const [owner, other] = [await server.user('keeper'), await server.user('prying')]
  await owner.post('/v1/collections', { entity: 'keeper', name: 'hidden', private: true })
  const blob = Buffer.from('a blob for its owner')
  await pushBlob(owner, 'keeper/hidden/tool', blob)

  for (const from of [undefined, 'keeper/hidden/tool']) {
    const refused = await mount(other, 'prying/demo/tool', digestOf(blob), from)
    assert.equal(refused.status, 202, 'an upload begins instead')
    await endUpload(other, refused)
    const mounted = await mount(owner, 'keeper/demo/tool', digestOf(blob), from)
    assert.equal(mounted.status, 201)
  }
  assert.equal((await other.get(`/v2/prying/demo/tool/blobs/${digestOf(blob)}`)).status, 404)
})

test('a registry token mounts from private repositories that it names, and from no other', async () => {
  const owner = await server.user('careful')
  await owner.post('/v1/collections', { entity: 'careful', name: 'hidden', private: true })
  const blob = Buffer.from('a blob that a narrow token must not move')
  const source = 'careful/hidden/tool'
  await pushBlob(owner, source, blob)

  const narrow = await registryToken(owner, ['repository:careful/open/tool:pull,push'])
  for (const from of [undefined, source]) {
    const refused = await mount(narrow, 'careful/open/tool', digestOf(blob), from)
    assert.equal(refused.status, 202, `from ${from}`)
    await endUpload(narrow, refused)
  }
  const wide = await registryToken(owner, [
    'repository:careful/open/tool:pull,push',
    `repository:${source}:pull`,
  ])
  assert.equal((await mount(wide, 'careful/open/tool', digestOf(blob), source)).status, 201)
})

test('a blob that is nowhere, or whose digest is none, is not mounted', async () => {
  const user = await server.user('hopeful')
  const nowhere = await mount(user, 'hopeful/demo/tool', digestOf(Buffer.from('never pushed')))
  assert.equal(nowhere.status, 202)
  await endUpload(user, nowhere)
  const bad = await mount(user, 'hopeful/demo/tool', 'sha256:short')
  assert.deepEqual([bad.status, codeOf(bad)], [400, 'DIGEST_INVALID'])
  const unsigned = await mount(server.anonymous, 'hopeful/demo/tool', digestOf(Buffer.from('x')))
  assert.equal(unsigned.status, 401)
})

test('tags go with a manifest that is pushed by its digest, also one of SHA-512', async () => {
  const user = await server.user('tagger')
  const image = makeImage()
  await pushBlobs(user, 'tagger/demo/tool', image)

  for (const algorithm of ['sha256', 'sha512'] as const) {
    const digest = digestOf(image.bytes, algorithm)
    const tags = ['1.2.3', '1.2', '1'].map((tag) => `${algorithm}-${tag}`)
    const query = tags.map((tag) => `tag=${tag}`).join('&')
    const pushed = await putManifest(user, 'tagger/demo/tool', `${digest}?${query}`, image)
    assert.equal(pushed.status, 201, pushed.body.toString())
    assert.equal(pushed.headers['oci-tag'], tags.join(', '))
    for (const tag of tags) {
      const got = await user.get(`/v2/tagger/demo/tool/manifests/${tag}`)
      assert.deepEqual([got.headers['docker-content-digest'], got.body], [digest, image.bytes])
    }
  }
})

test('with a tag that is none, or too many of them, nothing is stored', async () => {
  const user = await server.user('mistagger')
  const image = makeImage()
  await pushBlobs(user, 'mistagger/demo/tool', image)
  const tooMany = Array.from({ length: 65 }, (_, index) => `tag=t${index}`).join('&')
  for (const query of ['tag=good&tag=-bad', tooMany]) {
    const at = `${image.digest}?${query}`
    const refused = await putManifest(user, 'mistagger/demo/tool', at, image)
    assert.deepEqual([refused.status, codeOf(refused)], [400, 'MANIFEST_INVALID'], query)
  }
  const none = await user.get(`/v2/mistagger/demo/tool/manifests/${image.digest}`)
  assert.equal(none.status, 404)
})

test('a blob that a manifest needs cannot be deleted, and 405 says so', async () => {
  const user = await server.user('hasty')
  const image = makeImage()
  await pushBlobs(user, 'hasty/demo/tool', image)
  const stored = await putManifest(user, 'hasty/demo/tool', 'latest', image)
  assert.equal(stored.status, 201)

  const address = `/v2/hasty/demo/tool/blobs/${image.configDigest}`
  const refused = await user.delete(address)
  assert.deepEqual([refused.status, codeOf(refused)], [405, 'DENIED'])
  assert.equal(refused.headers['allow'], 'GET, HEAD')
  assert.match(refused.json.errors[0].message, new RegExp(image.digest))

  assert.equal(
    (await user.delete(`/v2/hasty/demo/tool/manifests/${image.digest}`)).status,
    202,
    'the manifest',
  )
  assert.equal((await user.get(address)).status, 404, 'went with its manifest')
})

test('nothing refers to anything in a repository that is not there', async () => {
  const user = await server.user('referrer')
  await user.post('/v1/collections', { entity: 'referrer', name: 'hidden', private: true })
  await pushBlob(user, 'referrer/hidden/tool', Buffer.from('makes the repository'))
  const stranger = await server.user('passer')
  const subject = digestOf(Buffer.from('some manifest'))

  for (const name of ['nobody/demo/tool', 'referrer/hidden/tool']) {
    const reply = await stranger.get(`/v2/${name}/referrers/${subject}`)
    assert.equal(reply.status, 200, name)
    assert.match(String(reply.headers['content-type']), /^application\/vnd\.oci\.image\.index/)
    assert.deepEqual(reply.json.manifests, [])
    // The same for both, and for nobody the way to sign in.
    const unsigned = await server.anonymous.get(`/v2/${name}/referrers/${subject}`)
    assert.equal(unsigned.status, 401, name)
  }
})

async function pushBlobs(client: Client, name: string, image: OciImage): Promise<void> {
  for (const blob of image.content.values()) await pushBlob(client, name, blob)
}

async function pushBlob(client: Client, name: string, blob: Buffer): Promise<void> {
  const path = `/v2/${name}/blobs/uploads/?digest=${digestOf(blob)}`
  const pushed = await client.send('POST', path, { body: blob })
  assert.equal(pushed.status, 201, pushed.body.toString())
}

async function putManifest(
  client: Client,
  name: string,
  reference: string,
  { mediaType, bytes }: OciImage,
): Promise<Reply> {
  const headers = { 'content-type': mediaType }
  return await client.send('PUT', `/v2/${name}/manifests/${reference}`, { headers, body: bytes })
}

async function mount(client: Client, to: string, digest: string, from?: string): Promise<Reply> {
  const source = from === undefined ? '' : `&from=${encodeURIComponent(from)}`
  return await client.send('POST', `/v2/${to}/blobs/uploads/?mount=${digest}${source}`)
}

async function endUpload(client: Client, opened: Reply): Promise<void> {
  const { pathname } = new URL(String(opened.headers['location']))
  assert.equal((await client.delete(pathname)).status, 204)
}

/** A client whose credential is a registry token for these scopes. */
async function registryToken(client: Client, scopes: readonly string[]): Promise<Client> {
  const query = scopes.map((scope) => `scope=${encodeURIComponent(scope)}`).join('&')
  const reply = await client.get(`/registry/token?service=registry&${query}`)
  assert.equal(reply.status, 200, reply.body.toString())
  const { credentials } = client
  assert.ok(credentials)
  return new Client(client.url, {
    ...credentials,
    token: reply.json.token,
  })
}

function codeOf(reply: Reply): string {
  return reply.json.errors[0].code
}
