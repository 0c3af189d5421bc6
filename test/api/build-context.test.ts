/** Contexts: the files of a build, sent beforehand (protocol.md 8.5). */
import assert from 'node:assert/strict'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'

import { sql } from '../../server/database.ts'
import { archive, offerContext as offer, sendContext as send } from '../support/build-context.ts'
import { builderSettings, definitionOf, ended, submit } from '../support/builds.ts'
import { assertProblem, libraryHash } from '../support/client.ts'
import type { Reply } from '../support/client.ts'
import { startServer } from '../support/server.ts'

const server = await startServer(
  { after },
  { settings: { builder: builderSettings({ max_context: '100 KiB' }) } },
)

const stored = (): string[] => readdirSync(join(server.dataDir, 'builds/contexts'))

test('sent once, built with, deleted', async () => {
  const user = await server.user('files')
  const bytes = archive('one')
  const offered = await offer(user, bytes)
  assert.equal(offered.status, 201)
  const location = String(offered.headers['location'])
  assert.ok(location.startsWith(`${server.url}/ul/context/`))
  assert.equal((await user.upload(location, bytes)).status, 200)
  const again = await offer(user, bytes)
  assert.equal(again.status, 200)
  assert.equal(again.headers['location'], undefined, 'nothing is to be sent')
  const id = await submit(user, definitionOf('image files'), { contextDigest: libraryHash(bytes) })
  assert.equal((await ended(user, id)).state, 'succeeded')
  assert.equal((await user.delete(`/v1/build-context/${libraryHash(bytes)}`)).status, 200)
  assertProblem(await user.delete(`/v1/build-context/${libraryHash(bytes)}`), 404)
  assert.deepEqual(stored(), [])
  assert.ok(!server.log().includes(location.slice(-40)), 'the address is a right and not logged')
})

test("a stranger's digest is neither present nor usable", async () => {
  const user = await server.user('owner')
  const stranger = await server.user('guesser')
  const bytes = archive('secret')
  await send(user, bytes)
  assert.equal((await offer(stranger, bytes)).status, 201, 'he has to send it himself')
  const digest = libraryHash(bytes)
  const definitionRaw = Buffer.from(definitionOf('image x')).toString('base64')
  const reply = await stranger.post('/v1/build', { definitionRaw, contextDigest: digest })
  assertProblem(reply, 400, /not sent the files/)
  const unknown = await server.user('unknown')
  assertProblem(await unknown.delete(`/v1/build-context/${digest}`), 404)
  assert.equal((await offer(user, bytes)).status, 200, "the owner's is still there")
  await user.delete(`/v1/build-context/${digest}`)
})

test('what is wrong with it is said, and nothing is kept', async (t) => {
  const user = await server.user('wrong')
  const before = stored()
  assertProblem(
    await server.anonymous.post('/v1/build-context', {
      size: 1,
      digest: libraryHash(Buffer.from('')),
    }),
    401,
  )
  const bytes = archive('two')
  const cases: readonly [string, Promise<Reply>, number, RegExp][] = [
    ['no digest', user.post('/v1/build-context', { size: 5, digest: 'x' }), 400, /hash/],
    ['no size', user.post('/v1/build-context', { digest: libraryHash(bytes) }), 400, /size/],
    ['too large', offer(user, bytes, 200_000), 413, /not taken/],
  ]
  for (const [name, reply, status, message] of cases) {
    await t.test(name, async () => assertProblem(await reply, status, message))
  }
  const location = String((await offer(user, bytes)).headers['location'])
  const other = Buffer.alloc(bytes.length)
  assertProblem(await user.upload(location, other), 400, /was announced/)
  assertProblem(await user.upload(location, bytes.subarray(1)), 400, /bytes arrive/)
  assertProblem(await user.upload(`${location.slice(0, -4)}AAAA`, bytes), 403, /not valid/)
  const garbage = Buffer.from('no archive')
  const where = String((await offer(user, garbage)).headers['location'])
  assertProblem(await user.upload(where, garbage), 400)
  assert.deepEqual(stored(), before)
  const digest = libraryHash(bytes)
  const definitionRaw = Buffer.from(definitionOf('image x')).toString('base64')
  const early = await user.post('/v1/build', { definitionRaw, contextDigest: digest })
  assertProblem(early, 400, /not sent the files/)
})

test('a context that a build needs outlives its deletion; a forgotten one goes after a day', async () => {
  const user = await server.user('keeps')
  const bytes = archive('three')
  await send(user, bytes)
  const [{ id } = { id: '' }] = await server.db.query<{ id: string }>(sql`
    select c.id from build_contexts c where c.digest = ${`sha256:${libraryHash(bytes).slice(7)}`}`)
  const gate = join(server.dataDir, 'gate-of-the-test')
  const build = await submit(user, definitionOf(`wait-for ${gate}`), {
    contextDigest: libraryHash(bytes),
  })
  await user.delete(`/v1/build-context/${libraryHash(bytes)}`)
  const file = join(server.dataDir, 'builds/contexts', `${id}.tar.gz`)
  assert.ok(existsSync(file))
  await user.send('PUT', `/v1/build/${build}/_cancel`)
  await ended(user, build)
  await server.appliance.builder.expire()
  assert.ok(!existsSync(file))

  await send(user, bytes)
  await server.db.query(sql`update build_contexts set used_at = now() - interval '25 hours'`)
  const { contextsRemoved } = await server.appliance.builder.expire()
  assert.ok(contextsRemoved >= 1)
  assert.deepEqual(stored(), [])
})
