import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { assertProblem, libraryHash } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after })
const user = await server.user('seeker')
const fingerprint = '0123456789abcdef0123456789abcdef01234567'
const images = {
  plain: makeSif({ seed: 'plain' }),
  arm: makeSif({ seed: 'arm', arch: 'arm64' }),
  signed: makeSif({ seed: 'signed', signatures: [{ fingerprint }] }),
}
await user.push('seeker/bio/bwa-mem', 'latest', images.plain)
await user.push('seeker/bio/bwa-mem', undefined, images.arm)
await user.push('seeker/bio/bwa-mem', undefined, images.signed)
await user.push('seeker/bio/b_wa', 'latest', images.plain)
await user.post('/v1/collections', { entity: 'seeker', name: 'bwa-hidden', private: true })
await user.push('seeker/bwa-hidden/bwa-tool', 'latest', makeSif({ seed: 'hidden' }))

const hashes = (reply: { json: { data: { image: { hash: string }[] } } }): string[] =>
  reply.json.data.image.map((image) => image.hash).toSorted()

test('a part of a name finds containers and their images, in any case', async () => {
  for (const value of ['bwa-mem', 'BWA-M', 'wa-me', 'bio%2Fbwa']) {
    const reply = await server.anonymous.get(`/v1/search?value=${value}`)
    assert.equal(reply.status, 200)
    const { container } = reply.json.data
    assert.deepEqual(
      container.map((one: { id: string }) => one.id),
      ['seeker/bio/bwa-mem'],
    )
    assert.equal(container[0].entityName, 'seeker')
    assert.equal(container[0].collectionName, 'bio')
    assert.equal(Object.keys(container[0].imageTags).join(), 'latest')
    assert.deepEqual(hashes(reply), Object.values(images).map(libraryHash).toSorted())
  }
  const byEntity = await server.anonymous.get('/v1/search?value=seek')
  assert.equal(byEntity.json.data.entity[0].name, 'seeker')
  const byCollection = await server.anonymous.get('/v1/search?value=bio')
  assert.equal(byCollection.json.data.collection[0].entityName, 'seeker')
})

test('architecture and signature filter the images only', async () => {
  const cases = [
    ['arch=arm64', [images.arm]],
    ['arch=amd64', [images.plain, images.signed]],
    ['arch=amd64,arm64', Object.values(images)],
    ['signed=true', [images.signed]],
    ['signed=false', [images.plain, images.arm]],
    ['arch=arm64&signed=true', []],
    ['encrypted=false', Object.values(images)],
  ] as const
  for (const [query, wanted] of cases) {
    const reply = await server.anonymous.get(`/v1/search?value=bwa-mem&${query}`)
    assert.deepEqual(hashes(reply), wanted.map(libraryHash).toSorted(), query)
    assert.equal(reply.json.data.container.length, 1)
  }
})

test('nothing found is 200 with empty lists', async () => {
  const reply = await server.anonymous.get('/v1/search?value=nothing-like-it&arch=amd64')
  assert.equal(reply.status, 200)
  assert.deepEqual(reply.json.data, { entity: [], collection: [], container: [], image: [] })
})

test('private collections are found by their members only', async () => {
  const [other, admin] = [
    await server.user('stranger'),
    await server.user('boss', { isAdmin: true }),
  ]
  for (const value of ['bwa-hidden', 'bwa-tool']) {
    for (const who of [server.anonymous, other]) {
      const { data } = (await who.get(`/v1/search?value=${value}`)).json
      assert.deepEqual(data, { entity: [], collection: [], container: [], image: [] })
    }
    for (const who of [user, admin]) {
      const { data } = (await who.get(`/v1/search?value=${value}`)).json
      assert.equal(data.container[0]?.id, 'seeker/bwa-hidden/bwa-tool')
    }
  }
})

test('wildcards of the database are letters like any other', async () => {
  const found = async (value: string): Promise<string[]> => {
    const reply = await server.anonymous.get(`/v1/search?value=${encodeURIComponent(value)}`)
    assert.equal(reply.status, 200, reply.body.toString())
    return reply.json.data.container.map((one: { id: string }) => one.id)
  }
  assert.deepEqual(await found('b_wa'), ['seeker/bio/b_wa'])
  for (const value of ['%%%', '___', 'bw_-', 'b%a', '\\\\\\', "'; drop table images; --"]) {
    assert.deepEqual(await found(value), [], value)
  }
})

test('a search that is none is refused', async () => {
  const bad = [
    '',
    'value=',
    'value=ab',
    `value=${'x'.repeat(201)}`,
    'value=abc&value=def',
    'value=abc&arch=AMD64',
    'value=abc&signed=maybe',
    'value=abc%00',
    'value[]=abc',
  ]
  for (const query of bad) assertProblem(await server.anonymous.get(`/v1/search?${query}`), 400)
})
