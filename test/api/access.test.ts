import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { assertProblem, Client, libraryHash } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after })
const owner = await server.user('owner')
await owner.push('owner/demo/open', 'latest', makeSif({ seed: 'open' }))

test('a private collection does not exist for others', async () => {
  const [other, admin] = [await server.user('other'), await server.user('root', { isAdmin: true })]
  await owner.post('/v1/collections', { entity: 'owner', name: 'hidden', private: true })
  const sif = makeSif({ seed: 'private' })
  const path = 'owner/hidden/tool'
  await owner.push(path, 'latest', sif)
  const reads = [
    '/v1/collections/owner/hidden',
    '/v1/collections/owner/hidden/_containers',
    `/v1/containers/${path}`,
    `/v1/containers/${path}/_images`,
    `/v1/images/${path}:latest`,
    `/v1/images/${path}:${libraryHash(sif)}`,
    `/v1/imagefile/${path}:latest`,
    `/v1/imagefile/${path}:${libraryHash(sif)}`,
    `/v1/tags/${path}`,
    `/v2/tags/${path}`,
  ]
  for (const read of reads) {
    for (const who of [owner, admin]) assert.equal((await who.get(read)).status, 200, read)
    for (const who of [other, server.anonymous]) assertProblem(await who.get(read), 404)
  }
  const absent = await other.get(`/v1/images/${path.replace('hidden', 'absent')}:latest`)
  const hidden = await other.get(`/v1/images/${path}:latest`)
  const text = hidden.body.toString().replaceAll('hidden', 'absent')
  assert.equal(text, absent.body.toString())
  for (const who of [other, server.anonymous]) {
    const entity = (await who.get('/v1/entities/owner')).json.data
    assert.ok(!entity.collections.includes('owner/hidden'))
    const list = (await who.get('/v1/entities/owner/_collections')).json.data
    assert.deepEqual(
      list.map((one: { name: string }) => one.name),
      ['demo'],
    )
    assertProblem(await who.delete(`/v1/images/${path}:latest`), 404)
  }
  assert.equal((await server.anonymous.get(`/library/${path}`)).status, 404)
})

test('where nobody reads without a token, no spelling of an address lets anybody in', async (t) => {
  const closed = await startServer(t, { settings: { access: { anonymous_pull: false } } })
  const user = await closed.user('member')
  const sif = makeSif({ seed: 'closed' })
  await user.push('member/demo/tool', 'latest', sif)
  const path = 'member/demo/tool'
  const reads = [
    '/v1/entities',
    '/v1/entities/member',
    '/v1/entities/member/_collections',
    '/v1/collections/member/demo',
    `/v1/containers/${path}`,
    `/v1/images/${path}:latest`,
    `/v1/imagefile/${path}:latest`,
    `/v1/tags/${path}`,
    `/v2/tags/${path}`,
    '/v1/search?value=tool',
  ]
  const garbage = new Client(closed.url, { name: '', accountId: '', token: 'x', tokenId: '' })
  for (const read of reads) {
    assert.equal((await user.get(read)).status, 200, read)
    assertProblem(await closed.anonymous.get(read), 401, /token/)
    assertProblem(await garbage.get(read), 401, /not valid any more/)
    const spellings = [`/${read}`, read.replace('/v', '/V'), read.replace('/member', '//member')]
    for (const spelling of [...spellings, `${read.slice(0, 3)}%2F${read.slice(4)}`]) {
      const { status } = await closed.anonymous.get(spelling)
      assert.ok([400, 401, 404].includes(status), `${spelling}: ${status}`)
    }
  }
  for (const open of ['/version', '/assets/config/config.prod.json', '/healthz']) {
    assert.equal((await closed.anonymous.get(open)).status, 200)
  }
})
