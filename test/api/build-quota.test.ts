/** The space of a build's image: refused when there is none, and never taken twice. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'

import { sql } from '../../server/database.ts'
import {
  builderSettings,
  definitionOf,
  ended,
  outputOf,
  stateIs,
  submit,
  trySubmit,
} from '../support/builds.ts'
import { assertProblem } from '../support/client.ts'
import type { Client } from '../support/client.ts'
import { assertLedger, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer(
  { after },
  { settings: { builder: builderSettings({ running_per_user: 4 }, { slots: 4 }) } },
)

/** Makes the person's space and gives it this many bytes. */
async function spaceOf(user: Client, name: string, quota: number): Promise<void> {
  const opened = await user.post('/v1/entities', { name })
  assert.equal(opened.status, 200, opened.body.toString())
  await setQuota(name, quota)
}

async function setQuota(name: string, quota: number): Promise<void> {
  await server.db.query(sql`update entities set quota_bytes = ${quota} where name = ${name}`)
}

test('two builds at once near the quota: one is stored, the other fails with the numbers', async () => {
  const user = await server.user('near')
  const size = makeSif({ seed: 'one' }).length
  await spaceOf(user, 'near', Math.floor(size * 1.5))
  const gate = join(server.dataDir, 'gate')
  const seeds = ['one', 'two']
  const ids: string[] = []
  for (const seed of seeds) {
    ids.push(await submit(user, definitionOf(`wait-for ${gate}`, `image ${seed}`)))
  }
  // Both were told that there is room, and both are done at the same moment.
  for (const id of ids) await stateIs(user, id, 'running')
  writeFileSync(gate, '')
  const builds = await Promise.all(ids.map(async (id) => await ended(user, id)))
  assert.deepEqual(builds.map(({ state }) => state as string).sort(), ['failed', 'succeeded'])
  const failed = builds.find(({ state }) => state === 'failed')
  assert.match(failed?.reason as string, /quota exceeded: .* of .*, and this image needs /)
  assert.match(await outputOf(user, failed?.id as string), /Build failed: quota exceeded: /)
  assert.equal(failed?.imageSize, 0)
  const [space] = await server.db.query<{ used: number; reserved: number }>(sql`
    select used_bytes as "used", reserved_bytes as "reserved" from entities where name = 'near'`)
  assert.deepEqual(space, { used: size, reserved: 0 })
  await assertLedger(server.db)
})

test('a full space: refused when it is handed in, with the numbers', async () => {
  const user = await server.user('full')
  const sif = makeSif({ seed: 'full' })
  await user.push('full/demo/one', 'v1', sif)
  await setQuota('full', sif.length)
  const message = /quota exceeded: .* used of .*, so that no image fits any more\. Delete images/
  assertProblem(await trySubmit(user, definitionOf('image x')), 403, message)
  const named = { libraryRef: 'library://full/demo/two:v1' }
  assertProblem(await trySubmit(user, definitionOf('image x'), named), 403, message)
  await setQuota('full', sif.length * 3)
  assert.equal((await ended(user, await submit(user, definitionOf('image x')))).state, 'succeeded')
  await assertLedger(server.db)
})

test('a space that is full when the build starts: it ends before it takes its time', async () => {
  const user = await server.user('late')
  const sif = makeSif({ seed: 'late' })
  await user.push('late/demo/one', 'v1', sif)
  const gate = join(server.dataDir, 'late-gate')
  const first = [0, 1, 2, 3].map(() => definitionOf(`wait-for ${gate}`, 'fail on purpose'))
  const ids: string[] = []
  for (const definition of first) ids.push(await submit(user, definition))
  const waiting = await submit(user, definitionOf('print it has begun', 'image x'))
  for (const id of ids) await stateIs(user, id, 'running')
  await setQuota('late', sif.length)
  writeFileSync(gate, '')
  const build = await ended(user, waiting)
  assert.equal(build.state, 'failed')
  assert.match(build.reason as string, /^quota exceeded: .*so that no image fits/)
  assert.doesNotMatch(await outputOf(user, waiting), /it has begun/)
  assert.equal(build.attempts, 1)
  await assertLedger(server.db)
})

test('a space without any quota', async () => {
  const user = await server.user('told')
  await spaceOf(user, 'told', 0)
  assertProblem(await trySubmit(user, definitionOf('image x')), 403, /0 B used of 0 B/)
})
