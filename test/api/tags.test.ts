import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { assertProblem, libraryHash } from '../support/client.ts'
import type { Client } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after })

test('a container without tags has an empty object, and setting one answers exactly 200', async () => {
  const { user, path, image, sif } = await pushed('capital')
  for (const version of ['v1', 'v2']) {
    const empty = await user.get(`/${version}/tags/${path}`)
    assert.equal(empty.status, 200)
    assert.deepEqual(empty.json, { data: {} })
  }
  const set = await user.post(`/v2/tags/${path}`, { Arch: 'amd64', Tag: 'V1.0', ImageID: image })
  assert.equal(set.status, 200)
  const v2 = await server.anonymous.get(`/v2/tags/${path}`)
  assert.deepEqual(v2.json.data, { amd64: { 'V1.0': image } })
  const v1 = await server.anonymous.get(`/v1/tags/${path}`)
  assert.deepEqual(v1.json.data, { 'V1.0': image })
  const found = await server.anonymous.get(`/v1/images/${path}:V1.0?arch=amd64`)
  assert.equal(found.json.data.hash, libraryHash(sif))
})

test('tags of old clients are set by name, or as a map', async () => {
  const { user, path, image } = await pushed('old')
  const named = await user.post(`/v1/tags/${path}`, { Tag: 'one', ImageID: image })
  assert.equal(named.status, 200)
  const map = await user.post(`/v1/tags/${path}`, { two: image, three: image })
  assert.equal(map.status, 200)
  assert.deepEqual((await user.get(`/v1/tags/${path}`)).json.data, {
    one: image,
    two: image,
    three: image,
  })
})

test('each architecture of a tag has its own image', async () => {
  const user = await server.user('archs')
  const path = 'archs/demo/tool'
  const [amd64, arm64] = [makeSif({ seed: 'a' }), makeSif({ seed: 'b', arch: 'arm64' })]
  for (const [arch, sif] of [
    ['amd64', amd64],
    ['arm64', arm64],
  ] as const) {
    await user.push(path, undefined, sif)
    await user.tag(path, 'latest', sif, arch)
  }
  const hashOf = async (query: string): Promise<string> =>
    (await server.anonymous.get(`/v1/images/${path}:latest${query}`)).json?.data?.hash
  assert.equal(await hashOf('?arch=amd64'), libraryHash(amd64))
  assert.equal(await hashOf('?arch=arm64'), libraryHash(arm64))
  assert.equal(await hashOf(''), libraryHash(arm64))
  assertProblem(await user.get(`/v1/images/${path}:latest?arch=ppc64le`), 404)
  assertProblem(await user.get(`/v1/imagefile/${path}:latest?arch=ppc64le`), 404)
  assert.deepEqual((await user.get(`/v1/imagefile/${path}:latest?arch=amd64`)).body, amd64)
  await user.tag(path, 'latest', amd64, 'amd64')
  assert.equal(await hashOf(''), libraryHash(amd64))
  // With a hash the architecture does not filter.
  const byHash = await user.get(`/v1/images/${path}:${libraryHash(arm64)}?arch=amd64`)
  assert.equal(byHash.json.data.arch, 'arm64')
})

test('setting a tag again moves it, and setting it twice at once is no error', async () => {
  const { user, path, image } = await pushed('moves')
  const next = makeSif({ seed: 'next' })
  await user.push(path, 'latest', next)
  const move = { Arch: 'amd64', Tag: 'latest', ImageID: image }
  const replies = await Promise.all(
    Array.from({ length: 20 }, async () => await user.post(`/v2/tags/${path}`, move)),
  )
  assert.deepEqual([...new Set(replies.map((reply) => reply.status))], [200])
  assert.deepEqual((await user.get(`/v2/tags/${path}`)).json.data, { amd64: { latest: image } })
  const images = await user.get(`/v1/containers/${path}/_images`)
  assert.equal(images.json.data.length, 2)
})

test('a tag for another architecture than the image has is refused', async () => {
  const { user, path, image } = await pushed('claims')
  const claim = { Arch: 'arm64', Tag: 'latest', ImageID: image }
  assertProblem(await user.post(`/v2/tags/${path}`, claim), 400, /amd64.*arm64/)
})

test('a tag is an image of its own container, by its hash', async () => {
  const { user, path, image } = await pushed('own')
  await user.push('own/demo/other', undefined, makeSif({ seed: 'elsewhere' }))
  const elsewhere = `own/demo/other:${libraryHash(makeSif({ seed: 'elsewhere' }))}`
  const absent = `${path}:sha256.${'0'.repeat(64)}`
  for (const [ImageID, status] of [
    [elsewhere, 400],
    [`${path}:latest`, 400],
    ['x', 400],
    ['', 400],
    [absent, 404],
  ] as const) {
    const body = { Arch: 'amd64', Tag: 'latest', ImageID }
    assertProblem(await user.post(`/v2/tags/${path}`, body), status)
  }
  const nowhere = { Arch: 'amd64', Tag: 'latest', ImageID: image.replace('tool', 'none') }
  assertProblem(await user.post('/v2/tags/own/demo/none', nowhere), 404)
})

test('a tag that is none is refused', async () => {
  const { user, path, image } = await pushed('names')
  const bad = [
    '',
    '.hidden',
    '-x',
    'a b',
    'a/b',
    'ü',
    'x'.repeat(129),
    '\0',
    libraryHash(makeSif()),
  ]
  for (const Tag of bad) {
    assertProblem(await user.post(`/v2/tags/${path}`, { Arch: 'amd64', Tag, ImageID: image }), 400)
  }
  for (const Arch of ['', 'AMD64', 'a'.repeat(17), '../x', '\0']) {
    assertProblem(await user.post(`/v2/tags/${path}`, { Arch, Tag: 'x', ImageID: image }), 400)
  }
  for (const body of [{}, [], { Tag: 'x' }, { Arch: 'amd64', Tag: 1, ImageID: image }, null]) {
    assertProblem(await user.post(`/v2/tags/${path}`, body), 400)
  }
  const long = 'x'.repeat(128)
  const good = { Arch: 'amd64', Tag: long, ImageID: image }
  assert.equal((await user.post(`/v2/tags/${path}`, good)).status, 200)
})

test('only the owner and an administrator set and delete tags', async () => {
  const { path, image } = await pushed('tagowner')
  const [other, admin] = [
    await server.user('tagother'),
    await server.user('tagadmin', { isAdmin: true }),
  ]
  const body = { Arch: 'amd64', Tag: 'x', ImageID: image }
  assertProblem(await server.anonymous.post(`/v2/tags/${path}`, body), 401)
  assertProblem(await other.post(`/v2/tags/${path}`, body), 403, /tagother/)
  assert.equal((await admin.post(`/v2/tags/${path}`, body)).status, 200)
  assertProblem(await server.anonymous.delete(`/v1/tags/${path}/x`), 401)
  assertProblem(await other.delete(`/v1/tags/${path}/x`), 403)
  const gone = await admin.delete(`/v1/tags/${path}/x`)
  assert.equal(gone.status, 200)
  assert.deepEqual(gone.json, { data: {} })
  assertProblem(await admin.delete(`/v1/tags/${path}/x`), 404)
})

test('tagging while the image is deleted is either done or refused, never an error', async () => {
  const user = await server.user('tagrace')
  for (let round = 0; round < 10; round += 1) {
    const path = `tagrace/demo/tool${round}`
    const sif = makeSif({ seed: `tagrace${round}` })
    await user.push(path, undefined, sif)
    const image = `${path}:${libraryHash(sif)}`
    const [tagged, deleted] = await Promise.all([
      user.post(`/v2/tags/${path}`, { Arch: 'amd64', Tag: 'x', ImageID: image }),
      user.delete(`/v1/images/${image}`),
    ])
    assert.ok([200, 404, 409].includes(tagged.status), tagged.body.toString())
    assert.ok([200, 409].includes(deleted.status), deleted.body.toString())
  }
})

async function pushed(
  name: string,
): Promise<{ user: Client; path: string; image: string; sif: Buffer }> {
  const user = await server.user(name)
  const path = `${name}/demo/tool`
  const sif = makeSif({ seed: name })
  await user.push(path, undefined, sif)
  return { user, path, sif, image: `${path}:${libraryHash(sif)}` }
}
