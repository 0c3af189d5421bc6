import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { assertProblem, libraryHash } from '../support/client.ts'
import { eventually, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after })
const absentHash = `sha256.${'0'.repeat(64)}`

test('an image tells what its bytes say', async () => {
  const user = await server.user('facts')
  const fingerprint = '0123456789abcdef0123456789abcdef01234567'
  const uuid = '6f2c8d7a-1b3e-4c5d-8e9f-a0b1c2d3e4f5'
  const sif = makeSif({
    seed: 'facts',
    arch: 'arm64',
    uuid,
    signatures: [{ fingerprint }],
    encrypted: true,
  })
  const path = 'facts/demo/tool'
  const announce = { hash: libraryHash(sif), container: path, description: 'A tool' }
  assert.equal((await user.post('/v1/images', announce)).json.data.uploaded, false)
  await user.push(path, undefined, sif)
  await user.tag(path, 'v1', sif, 'arm64')
  await user.tag(path, 'latest', sif, 'arm64')
  for (const reference of ['v1?arch=arm64', 'v1', libraryHash(sif), `sif.${uuid}`]) {
    const reply = await server.anonymous.get(`/v1/images/${path}:${reference}`)
    assert.equal(reply.status, 200, reply.body.toString())
    const { createdAt, updatedAt, fingerprints, signers, signatureReason, ...image } =
      reply.json.data
    assert.ok(Date.parse(createdAt) <= Date.parse(updatedAt))
    assert.equal(fingerprints.length, 1)
    assert.equal(signers.length, 1)
    assert.match(signatureReason, /verify --key/)
    assert.equal(String(fingerprints[0]).toLowerCase(), fingerprint)
    assert.deepEqual(image, {
      id: `${path}:${libraryHash(sif)}`,
      hash: libraryHash(sif),
      size: sif.length,
      uploaded: true,
      signed: true,
      verified: false,
      signatureState: 'dsse',
      encrypted: true,
      arch: 'arm64',
      tags: ['latest', 'v1'],
      description: 'A tool',
      owner: 'facts',
      createdBy: user.credentials?.accountId,
      container: path,
      containerName: 'tool',
      collection: 'facts/demo',
      collectionName: 'demo',
      entity: 'facts',
      entityName: 'facts',
      containerDescription: '',
      containerStars: 0,
      containerDownloads: 0,
      customData: '',
      deleted: false,
    })
  }
})

test('a container tells its images, tags, size and downloads', async () => {
  const user = await server.user('counts')
  const path = 'counts/demo/tool'
  const [one, two] = [makeSif({ seed: 'one' }), makeSif({ seed: 'two', arch: 'arm64' })]
  await user.push(path, 'latest', one)
  await user.push(path, undefined, two)
  await user.tag(path, 'latest', two, 'arm64')
  await server.anonymous.get(`/v1/imagefile/${path}:latest?arch=amd64`)
  await server.anonymous.get(`/v1/imagefile/${path}:${libraryHash(two)}`)
  await server.anonymous.send('HEAD', `/v1/imagefile/${path}:latest`)
  await server.anonymous.get(`/v1/imagefile/${path}:none`)
  const container = async () => (await server.anonymous.get(`/v1/containers/${path}`)).json.data
  await eventually(async () => (await container()).downloadCount >= 2, 'downloads are counted')
  const data = await container()
  const [idOne, idTwo] = [`${path}:${libraryHash(one)}`, `${path}:${libraryHash(two)}`]
  assert.deepEqual(data.images.toSorted(), [idOne, idTwo].toSorted())
  assert.deepEqual(data.archTags, { amd64: { latest: idOne }, arm64: { latest: idTwo } })
  assert.deepEqual(data.imageTags, { latest: idTwo })
  assert.equal(data.size, one.length + two.length)
  assert.equal(data.downloadCount, 2)
})

test('text that JSON columns cannot hold does not stop a push', async () => {
  const user = await server.user('odd')
  const sif = makeSif({
    seed: 'odd',
    definition: 'Bootstrap: x\0\n\u{fffd}',
    labels: { 'a\0b': 'c\0d', lone: '\ud800x' },
  })
  const reply = await user.push('odd/demo/tool', 'latest', sif)
  assert.equal(reply.status, 200, reply.body.toString())
  const described = { hash: libraryHash(sif), container: 'odd/demo/two', description: 'a\0b\ud800' }
  const announced = await user.post('/v1/images', described)
  assert.equal(announced.status, 200, announced.body.toString())
})

test('what is not there is 404, with an envelope', async () => {
  const user = await server.user('absent')
  await user.push('absent/demo/tool', 'latest', makeSif({ seed: 'absent' }))
  const none = [
    'images/absent/demo/tool:v9',
    `images/absent/demo/tool:${absentHash}`,
    'images/absent/demo/tool:sif.00000000-0000-0000-0000-000000000000',
    'images/absent/demo/none:latest',
    'images/absent/none/tool:latest',
    'images/nobody/demo/tool:latest',
    'imagefile/absent/demo/tool:v9',
    `imagefile/absent/demo/tool:${absentHash}`,
    'containers/absent/demo/none',
    'collections/absent/none',
    'entities/nobody',
    'tags/absent/demo/none',
    'oci-redirect?namespace=absent%2Fdemo%2Ftool&accessTypes=pull&mapped=1',
  ]
  for (const path of none) assertProblem(await server.anonymous.get(`/v1/${path}`), 404)
})

test('deleting a tag leaves the other architectures and the other tags', async () => {
  const user = await server.user('partial')
  const path = 'partial/demo/tool'
  const [amd64, arm64] = [makeSif({ seed: 'pa' }), makeSif({ seed: 'pb', arch: 'arm64' })]
  await user.push(path, 'latest', amd64)
  await user.tag(path, 'keep', amd64)
  await user.push(path, undefined, arm64)
  await user.tag(path, 'latest', arm64, 'arm64')
  const gone = await user.delete(`/v1/images/${path}:latest?arch=amd64`)
  assert.equal(gone.status, 200)
  assert.equal(gone.json.data.deleted, true)
  assertProblem(await user.get(`/v1/images/${path}:latest?arch=amd64`), 404)
  assert.equal((await user.get(`/v1/images/${path}:latest?arch=arm64`)).status, 200)
  assert.deepEqual((await user.get(`/v1/imagefile/${path}:keep?arch=amd64`)).body, amd64)
  // The odd query of clients 3.6.0–3.7.1.
  assert.equal((await user.delete(`/v1/images/${path}:keep?arch%3Damd64`)).status, 200)
  assertProblem(await user.get(`/v1/images/${path}:${libraryHash(amd64)}`), 404)
  assertProblem(await user.get(`/v1/imagefile/${path}:${libraryHash(amd64)}`), 404)
  assert.equal((await user.get(`/v1/images/${path}:${libraryHash(arm64)}`)).status, 200)
})

test('deleting by hash removes the image with all its tags, once', async () => {
  const user = await server.user('byhash')
  const path = 'byhash/demo/tool'
  const sif = makeSif({ seed: 'byhash' })
  await user.push(path, 'one', sif)
  await user.tag(path, 'two', sif)
  const id = `${path}:${libraryHash(sif)}`
  assert.equal((await user.delete(`/v1/images/${id}?arch=arm64`)).status, 200)
  assertProblem(await user.delete(`/v1/images/${id}`), 404)
  assert.deepEqual((await user.get(`/v2/tags/${path}`)).json, { data: {} })
  assert.equal((await user.push(path, 'one', sif)).status, 200)
  assert.equal((await user.delete(`/v1/images/${path}:one?arch=amd64`)).status, 200)
  assertProblem(await user.delete(`/v1/images/${path}:one?arch=amd64`), 404)
})

test('only the owner and an administrator delete', async () => {
  const owner = await server.user('delowner')
  const [other, admin] = [
    await server.user('delother'),
    await server.user('deladmin', { isAdmin: true }),
  ]
  await owner.push('delowner/demo/tool', 'latest', makeSif({ seed: 'delowner' }))
  const path = '/v1/images/delowner/demo/tool:latest?arch=amd64'
  assertProblem(await server.anonymous.delete(path), 401, /token/)
  assertProblem(await other.delete(path), 403, /delother/)
  assert.equal((await admin.delete(path)).status, 200)
})

test('more deletions at once than there are database connections all end, quickly', async () => {
  const user = await server.user('many')
  const sifs = Array.from({ length: 10 }, (_, number) => makeSif({ seed: `many${number}` }))
  await Promise.all(sifs.map(async (sif) => await user.push('many/demo/tool', undefined, sif)))
  const hashes = [...sifs.map(libraryHash), ...Array.from({ length: 90 }, () => absentHash)]
  const replies = await within(
    10_000,
    Promise.all(hashes.map(async (hash) => await user.delete(`/v1/images/many/demo/tool:${hash}`))),
  )
  assert.deepEqual(
    replies.map((reply) => reply.status),
    hashes.map((hash) => (hash === absentHash ? 404 : 200)),
  )
})

test('deleting one image many times at once succeeds and then says that it is gone', async () => {
  const user = await server.user('samedel')
  const sif = makeSif({ seed: 'samedel' })
  await user.push('samedel/demo/tool', 'latest', sif)
  const replies = await Promise.all(
    Array.from({ length: 6 }, async () => {
      return await user.delete(`/v1/images/samedel/demo/tool:${libraryHash(sif)}`)
    }),
  )
  assert.ok(replies.some((reply) => reply.status === 200))
  for (const { status, body } of replies) assert.ok([200, 404].includes(status), body.toString())
})

async function within<Value>(ms: number, work: Promise<Value>): Promise<Value> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms`)), ms)
  })
  return await Promise.race([work, late]).finally(() => clearTimeout(timer))
}
