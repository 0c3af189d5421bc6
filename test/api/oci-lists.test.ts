/** tags/list and the catalog: pages, order, and what one may not see (CVE-2023-2253 among it). */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import type { Client, Reply } from '../support/client.ts'
import { emptyConfig, pushBlob, putManifest } from '../support/oci-push.ts'
import { assertRefused, makeManifest, withRegistryToken } from '../support/registry-client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after })
const user = await server.user('lister')
const name = 'lister/demo/tool'
const tags = ['10', '9', 'A', '_x', 'a', 'b.1', 'latest']
await pushBlob(user, name, emptyConfig)
for (const tag of tags.toReversed()) {
  assert.equal((await putManifest(user, name, tag, makeManifest())).status, 201)
}
const others = ['lister/demo/a', 'lister/demo/deep/er', 'lister/other/z']
for (const name of others) {
  await pushBlob(user, name, emptyConfig)
  await putManifest(user, name, 'latest', makeManifest())
}
const repositories = [...others.slice(0, 2), name, ...others.slice(2)]

const lists = [
  { what: 'tags/list', path: `/v2/${name}/tags/list`, member: 'tags', all: tags },
  { what: '_catalog', path: '/v2/_catalog', member: 'repositories', all: repositories },
] as const

/** Follows the Link headers to the end. */
async function pagesOf(
  client: Client,
  path: string,
  member: string,
): Promise<readonly (readonly string[])[]> {
  const pages: string[][] = []
  for (let next: string | undefined = path; next !== undefined; next = nextOf(await read(next))) {
    assert.ok(pages.length < 20, 'the pages have an end')
  }
  return pages

  async function read(path: string): Promise<Reply> {
    const reply = await client.get(path)
    assert.equal(reply.status, 200, reply.body.toString())
    pages.push(reply.json[member])
    return reply
  }
}

function nextOf({ headers }: Reply): string | undefined {
  const { link } = headers
  if (link === undefined) return undefined
  return /^<(\/v2\/[^>]+)>; rel="next"$/.exec(String(link))?.[1] ?? `unreadable: ${String(link)}`
}

for (const { what, path, member, all } of lists) {
  test(`${what} in the order of bytes, without a Link when all fits`, async () => {
    const reply = await user.get(path)
    assert.equal(reply.status, 200)
    assert.match(String(reply.headers['content-type']), /^application\/json/)
    assert.deepEqual(reply.json[member], all)
    assert.equal(reply.headers['link'], undefined)
    if (member === 'tags') assert.equal(reply.json.name, name)
  })

  test(`${what} in pages of every size gives each entry once`, async () => {
    for (let size = 1; size <= all.length + 1; size += 1) {
      const pages = await pagesOf(user, `${path}?n=${size}`, member)
      assert.deepEqual(pages.flat(), all, `n=${size}`)
      assert.equal(pages.length, Math.ceil(all.length / size), `n=${size}`)
    }
  })

  test(`${what} after a last one, which need not be there`, async () => {
    const [first = ''] = all
    const rest = await user.get(`${path}?last=${encodeURIComponent(first)}`)
    assert.deepEqual(rest.json[member], all.slice(1))
    assert.deepEqual((await user.get(`${path}?last=zzz`)).json[member], [])
    assertRefused(await user.get(`${path}?last=%00`), 400, 'UNSUPPORTED')
    const odd = "'; drop table tags; --"
    assert.deepEqual((await user.get(`${path}?last=${encodeURIComponent(odd)}`)).json[member], all)
  })

  test(`${what} of n=0 is empty and has no next page`, async () => {
    const reply = await user.get(`${path}?n=0`)
    assert.equal(reply.status, 200)
    assert.deepEqual(reply.json[member], [])
    assert.equal(reply.headers['link'], undefined)
  })

  test(`${what} of absurd numbers: refused, or no more than there is`, async () => {
    const before = process.memoryUsage().rss
    for (const n of ['999999999', '2147483647', '9223372036854775807', '1e309', '1'.repeat(400)]) {
      const reply = await user.get(`${path}?n=${n}`)
      if (reply.status === 200) assert.deepEqual(reply.json[member], all, n)
      else assertRefused(reply, 400, 'UNSUPPORTED', /"n"/)
    }
    for (const n of ['-1', 'NaN', '1.5', 'ten', '0x10', '+3', ' 3']) {
      const reply = await user.get(`${path}?n=${encodeURIComponent(n)}`)
      assertRefused(reply, 400, 'UNSUPPORTED', /"n"/)
    }
    const grown = process.memoryUsage().rss - before
    assert.ok(grown < 20e6, `${grown} bytes`)
  })
}

test('the name in tags/list is the one that was asked for', async () => {
  await pushBlob(user, 'lister/short', emptyConfig)
  await putManifest(user, 'lister/short', 'v1', makeManifest())
  for (const name of ['lister/short', 'lister/default/short']) {
    const reply = await user.get(`/v2/${name}/tags/list`)
    assert.deepEqual(reply.json, { name, tags: ['v1'] })
  }
  assert.equal(
    (await user.delete(`/v2/lister/short/manifests/${makeManifest().digest}`)).status,
    202,
  )
})

test('a repository with blobs only has no tags; one that is not there is unknown', async () => {
  await pushBlob(user, 'lister/blobs/only', emptyConfig)
  const reply = await user.get('/v2/lister/blobs/only/tags/list')
  assert.deepEqual([reply.status, reply.json.tags], [200, []])
  const gone = await user.get('/v2/lister/demo/absent/tags/list')
  assertRefused(gone, 404, 'NAME_UNKNOWN')
  assert.equal((await server.anonymous.get('/v2/lister/demo/absent/tags/list')).status, 401)
})

test('private repositories are in the catalog of those who may read them', async () => {
  const owner = await server.user('private')
  await owner.post('/v1/collections', { entity: 'private', name: 'hidden', private: true })
  await owner.push('private/hidden/tool', 'latest', makeSif({ seed: 'hidden' }))
  const admin = await server.user('overseer', { isAdmin: true })
  const sees = async (client: Client): Promise<boolean> => {
    const pages = await pagesOf(client, '/v2/_catalog?n=2', 'repositories')
    return pages.flat().includes('private/hidden/tool')
  }
  assert.deepEqual(
    [await sees(owner), await sees(admin), await sees(user), await sees(server.anonymous)],
    [true, true, false, false],
  )
  // A registry token names repositories, and the catalog is more than these.
  const narrow = await withRegistryToken(owner, ['repository:private/hidden/tool:pull'])
  assert.equal((await narrow.get('/v2/private/hidden/tool/tags/list')).status, 200)
  assert.equal((await narrow.get('/v2/private/other/tool/tags/list')).status, 401)
})
