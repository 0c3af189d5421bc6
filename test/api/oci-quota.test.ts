/** The quota at the registry: reserved while bytes arrive, charged once, given back. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { sql } from '../../server/database.ts'
import { rawPut } from '../support/client.ts'
import type { Client } from '../support/client.ts'
import { digestOf } from '../support/oci-image.ts'
import {
  emptyConfig,
  pushBlob,
  pushManifest,
  putManifest,
  sessionPath,
} from '../support/oci-push.ts'
import {
  assertRefused,
  endUpload,
  makeManifest,
  openUpload,
  patchChunk,
  sendStream,
} from '../support/registry-client.ts'
import { assertLedger, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const limit = 1_000_000
const settings = { storage: { keep_free: 0 }, quota: { default: limit } }
const server = await startServer({ after }, { settings })

interface Ledger {
  readonly used: number
  readonly reserved: number
}

async function ledgerOf(entity: string): Promise<Ledger> {
  const [row] = await server.db.query<Ledger>(sql`
    select used_bytes as "used", reserved_bytes as "reserved" from entities where name = ${entity}`)
  assert.ok(row, `no entity ${entity}`)
  return row
}

/** Somebody with a repository, so that its space stays when an upload ends. */
async function someone(name: string): Promise<{ user: Client; path: string; base: number }> {
  const user = await server.user(name)
  const path = `${name}/demo/tool`
  assert.equal((await pushBlob(user, path, Buffer.from('base'))).status, 201)
  return { user, path, base: 4 }
}

test('a blob over the limit is refused before its bytes, with the numbers', async () => {
  const { user, path, base } = await someone('before')
  const session = await openUpload(user, path)
  const authorization = `Bearer ${user.credentials?.token}`
  const headers = {
    authorization,
    'content-length': String(limit),
    expect: '100-continue',
  }
  const received = await rawPut(`${server.url}${session}`, headers, [], Buffer.alloc(10), 'PATCH')
  assert.match(received, /^HTTP\/1\.1 403 /, 'no 100 Continue came first')
  assert.match(received, /"code":"DENIED"/)
  assert.match(received, /976\.5/, received)
  assert.deepEqual(await ledgerOf('before'), { used: base, reserved: 0 })
  assertRefused(await user.get(session), 404, 'BLOB_UPLOAD_UNKNOWN')
})

test('the same in each way to push', async () => {
  const { user, path, base } = await someone('ways')
  const blob = Buffer.alloc(limit, 'too much')
  const single = `/v2/${path}/blobs/uploads/?digest=${digestOf(blob)}`
  assertRefused(await user.send('POST', single, { body: blob }), 403, 'DENIED', /quota|space/i)
  const put = await endUpload(user, await openUpload(user, path), digestOf(blob), blob)
  assertRefused(put, 403, 'DENIED')
  const chunk = await patchChunk(user, await openUpload(user, path), blob, 0)
  assertRefused(chunk, 403, 'DENIED')
  assert.deepEqual(await ledgerOf('ways'), { used: base, reserved: 0 })
})

test('a stream of unknown length is refused when it crosses the limit', async () => {
  const { user, path, base } = await someone('stream')
  const pieces = Array.from({ length: 20 }, () => Buffer.alloc(100_000, 'stream'))
  const session = await openUpload(user, path)
  const refused = await sendStream(user, 'PATCH', session, pieces)
  assert.equal(refused.status, 403, refused.body)
  assert.equal(JSON.parse(refused.body).errors[0].code, 'DENIED')
  assert.deepEqual(await ledgerOf('stream'), { used: base, reserved: 0 })
  // Up to the limit a stream goes, although nobody knows beforehand that it will fit.
  const fits = Buffer.alloc(limit - base, 'fits')
  const other = await openUpload(user, path)
  const taken = await sendStream(user, 'PATCH', other, [fits])
  assert.equal(taken.status, 202, taken.body)
  assert.deepEqual(await ledgerOf('stream'), { used: base, reserved: fits.length })
  assert.equal((await endUpload(user, other, digestOf(fits))).status, 201)
  assert.deepEqual(await ledgerOf('stream'), { used: limit, reserved: 0 })
})

test('chunks hold what they have, until the end, the cancellation or a wrong digest', async () => {
  const { user, path, base } = await someone('chunks')
  const blob = Buffer.alloc(300_000, 'chunks')
  const ends = [
    async (session: string) => assert.equal((await user.delete(session)).status, 204),
    async (session: string) => {
      const wrong = await endUpload(user, session, digestOf(Buffer.from('wrong')))
      assertRefused(wrong, 400, 'DIGEST_INVALID')
    },
    async (session: string) => {
      const more = await patchChunk(user, session, Buffer.alloc(800_000), 200_000)
      assertRefused(more, 403, 'DENIED')
    },
    async () => {
      const { tokenId } = user.credentials ?? { tokenId: '' }
      await server.db.query(sql`
        update uploads set active_at = now() - interval '30 days'
        where token_id = ${tokenId}`)
      assert.equal((await server.appliance.sweep()).uploadsEnded, 1)
    },
  ]
  for (const end of ends) {
    const session = await openUpload(user, path)
    await patchChunk(user, session, blob.subarray(0, 100_000), 0)
    assert.deepEqual(await ledgerOf('chunks'), { used: base, reserved: 100_000 })
    await patchChunk(user, session, blob.subarray(100_000, 200_000), 100_000)
    assert.deepEqual(await ledgerOf('chunks'), { used: base, reserved: 200_000 })
    await end(session)
    assert.deepEqual(await ledgerOf('chunks'), { used: base, reserved: 0 })
    assertRefused(await user.get(session), 404, 'BLOB_UPLOAD_UNKNOWN')
  }
})

test('the message names the limit, the use and what is held by uploads', async () => {
  const { user, path } = await someone('numbers')
  const running = await openUpload(user, path)
  await patchChunk(user, running, Buffer.alloc(700_000), 0)
  const refused = await patchChunk(user, await openUpload(user, path), Buffer.alloc(400_000), 0)
  assertRefused(refused, 403, 'DENIED', /683\.59 KiB in running uploads/)
  assert.equal((await user.delete(running)).status, 204)
})

test('a layer that images share is charged once for the entity; manifests are charged', async () => {
  const { user, base } = await someone('shared')
  const layer = Buffer.alloc(400_000, 'shared')
  const manifests = [1, 2].map((number) =>
    makeManifest({ layers: [layer], extra: { annotations: { number: String(number) } } }),
  )
  const [first, second] = manifests
  assert.ok(first && second)
  const names = ['shared/demo/one', 'shared/other/two']
  await pushManifest(user, 'shared/demo/one', 'v1', first, [emptyConfig, layer])
  await pushManifest(user, 'shared/other/two', 'v1', second, [emptyConfig, layer])
  const content = base + layer.length + emptyConfig.length
  const sizes = [first.bytes.length, second.bytes.length]
  const used = async (): Promise<number> => (await ledgerOf('shared')).used
  assert.equal(await used(), content + (sizes[0] ?? 0) + (sizes[1] ?? 0))
  // The same manifest under another tag is not more.
  assert.equal((await putManifest(user, 'shared/demo/one', 'v2', first)).status, 201)
  assert.equal(await used(), content + (sizes[0] ?? 0) + (sizes[1] ?? 0))
  await user.delete(`/v2/${names[0]}/manifests/${first.digest}`)
  assert.equal(await used(), content + (sizes[1] ?? 0))
  await user.delete(`/v2/${names[1]}/manifests/${second.digest}`)
  assert.equal(await used(), base)
  await assertLedger(server.db)
})

test('a mount is charged to the entity that mounts, and refused over its limit', async () => {
  const [giver, taker] = [await someone('giver'), await someone('taker')]
  const blob = Buffer.alloc(600_000, 'mounted')
  await pushBlob(giver.user, giver.path, blob)
  const path = `/v2/${taker.path}/blobs/uploads/?mount=${digestOf(blob)}&from=${giver.path}`
  for (const round of [1, 2]) {
    assert.equal((await taker.user.send('POST', path)).status, 201, `round ${round}`)
    assert.deepEqual(await ledgerOf('taker'), { used: 600_004, reserved: 0 })
  }
  const other = Buffer.alloc(500_000, 'does not fit')
  await taker.user.delete(`/v2/${taker.path}/blobs/${digestOf(blob)}`)
  await pushBlob(taker.user, taker.path, other)
  const refused = await taker.user.send('POST', path)
  assertRefused(refused, 403, 'DENIED')
  assert.deepEqual(await ledgerOf('taker'), { used: 500_004, reserved: 0 })
})

test('a manifest that does not fit any more is refused, and a tag of it is not set', async () => {
  const { user, path, base } = await someone('full')
  await pushBlob(user, path, emptyConfig)
  const rest = limit - base - emptyConfig.length - 50
  assert.equal((await pushBlob(user, path, Buffer.alloc(rest))).status, 201)
  const refused = await putManifest(user, path, 'latest', makeManifest())
  assertRefused(refused, 403, 'DENIED')
  assertRefused(await user.get(`/v2/${path}/manifests/latest`), 404, 'MANIFEST_UNKNOWN')
})

test('one limit for both doors', async () => {
  const { user, path } = await someone('doors')
  const sif = makeSif({ seed: 'doors', payload: 600_000 })
  assert.equal((await user.push('doors/demo/image', 'latest', sif)).status, 200)
  const { used } = await ledgerOf('doors')
  assert.equal(used, 4 + sif.length)
  assertRefused(await pushBlob(user, path, Buffer.alloc(500_000)), 403, 'DENIED')
  // The SIF itself is there already: to mount it costs nothing more.
  const query = `mount=${digestOf(sif)}&from=doors/demo/image`
  const mounted = await user.send('POST', `/v2/${path}/blobs/uploads/?${query}`)
  assert.equal(mounted.status, 201, mounted.body.toString())
  assert.equal((await ledgerOf('doors')).used, used)
})

test('of twenty uploads of 30 % of the limit at once exactly three are accepted', async () => {
  const { user, path } = await someone('twenty')
  const replies = await Promise.all(
    Array.from({ length: 20 }, async (_, number) => {
      return await pushBlob(user, path, Buffer.alloc(300_000, `number ${number}`))
    }),
  )
  const count = (status: number): number =>
    replies.filter((reply) => reply.status === status).length
  assert.deepEqual([count(201), count(403)], [3, 17])
  assert.deepEqual(await ledgerOf('twenty'), { used: 900_004, reserved: 0 })
})

test('an upload that fails to mount holds nothing until bytes come', async () => {
  const { user, path, base } = await someone('nothing')
  const query = `mount=${digestOf(Buffer.from('nowhere'))}&from=giver/demo/tool`
  const opened = await user.send('POST', `/v2/${path}/blobs/uploads/?${query}`)
  assert.equal(opened.status, 202)
  assert.deepEqual(await ledgerOf('nothing'), { used: base, reserved: 0 })
  await user.delete(sessionPath(opened))
})
