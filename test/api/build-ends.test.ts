/** Nothing hangs: lost builders, restarts and cancels each come to an end that the client is told. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

import { sql } from '../../server/database.ts'
import {
  builderSettings,
  definitionOf,
  ended,
  follow,
  outputOf,
  stateIs,
  submit,
} from '../support/builds.ts'
import type { Client } from '../support/client.ts'
import { freePort } from '../support/free-port.ts'
import { noted } from '../support/processes.ts'
import { eventually, startServer } from '../support/server.ts'

interface Files {
  /** A build that waits for it goes on when it is there. */
  readonly gate: string
  readonly pids: string
}

function filesFor(t: TestContext): Files {
  const directory = mkdtempSync(join(tmpdir(), 'berth-ends-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return { gate: join(directory, 'gate'), pids: join(directory, 'pids') }
}

const quick = { lost: 8, ask: 0.2, round: 0.1 }

async function placeOf(user: Client, id: string): Promise<{ position: number; reason: string }> {
  return (await user.get(`/v1/build/${id}`)).json.data.queue
}

test('a runner that stands still is lost: its process ends, and the build begins anew', async (t) => {
  const { gate, pids } = filesFor(t)
  const settings = { builder: builderSettings() }
  const server = await startServer(t, { settings, queueTimes: quick })
  const user = await server.user('alice')
  const steps = [`note-start ${pids}`, 'print begins', `wait-for ${gate}`, 'image x']
  const id = await submit(user, definitionOf(...steps))
  const following = follow(user, id, '?offset=0')
  await eventually(async () => (await outputOf(user, id)) === 'begins\n', 'it has printed')
  const [first = 0] = noted(pids).all
  process.kill(first, 'SIGSTOP')
  await eventually(async () => noted(pids).all.length === 2, 'the second attempt')
  assert.ok(!noted(pids).alive.includes(first), 'the first process is gone')
  writeFileSync(gate, '')
  assert.equal((await ended(user, id)).state, 'succeeded')
  const { text, code } = await following
  assert.equal(code, 1000)
  assert.match(
    text,
    /^begins\nThe builder was lost \(its runner was silent for \d+ seconds\): the build begins anew\.\nbegins\nImage stored: /,
  )
})

test('lost twice: the reader at the socket is told why, and that it is the end', async (t) => {
  const settings = { builder: builderSettings() }
  const server = await startServer(t, { settings, queueTimes: quick })
  const user = await server.user('alice')
  const id = await submit(user, definitionOf('print begins', 'exit'))
  const { text, code } = await follow(user, id, '?offset=0')
  assert.equal(code, 1000)
  assert.match(text, /\nBuild failed: the builder was lost: its runner ended without a word\n$/)
  assert.equal((await ended(user, id)).state, 'failed')
})

test('a runner that dies while the server is away is noticed by the next one', async (t) => {
  const { gate, pids } = filesFor(t)
  const settings = { builder: builderSettings() }
  const port = await freePort()
  const before = await startServer(t, { port, settings, queueTimes: quick })
  const user = await before.user('alice')
  const id = await submit(user, definitionOf(`note-start ${pids}`, `wait-for ${gate}`, 'image x'))
  await stateIs(user, id, 'running')
  await eventually(async () => noted(pids).alive.length === 1, 'the runner is there')
  const restarting = before.restart()
  process.kill(noted(pids).alive[0] ?? 0, 'SIGKILL')
  await restarting
  await eventually(async () => noted(pids).all.length === 2, 'the second attempt')
  writeFileSync(gate, '')
  const build = await ended(user, id)
  assert.deepEqual([build.state, build.attempts], ['succeeded', 2])
  assert.match(await outputOf(user, id), /The builder was lost \(.*\): the build begins anew/)
})

test('a cancel that the server did not live to carry out is carried out by the next one', async (t) => {
  const { gate, pids } = filesFor(t)
  const port = await freePort()
  const before = await startServer(t, { port, settings: { builder: builderSettings() } })
  const user = await before.user('alice')
  const steps = [`note-start ${pids}`, 'ignore-term', `wait-for ${gate}`]
  const id = await submit(user, definitionOf(...steps))
  await stateIs(user, id, 'running')
  await eventually(async () => noted(pids).alive.length === 1, 'the runner is there')
  // As if it had ended between the request and the next round of its queue.
  await before.appliance.builder.queue.stop()
  assert.equal((await user.send('PUT', `/v1/build/${id}/_cancel`)).status, 204)
  assert.equal((await user.get(`/v1/build/${id}`)).json.data.state, 'running')
  await before.restart()
  const following = follow(user, id, '?offset=0')
  const build = await ended(user, id)
  assert.deepEqual([build.state, build.reason], ['cancelled', 'cancelled by its owner'])
  assert.deepEqual(noted(pids).alive, [])
  const { text, code } = await following
  assert.equal(code, 1000)
  assert.match(text, /Build cancelled: cancelled by its owner\n$/)
})

test('the queue goes through a restart: the same places, and everything ends', async (t) => {
  const { gate } = filesFor(t)
  const builder = builderSettings({}, { slots: 1 })
  const port = await freePort()
  const before = await startServer(t, { port, settings: { builder } })
  const [alice, bob] = [await before.user('alice'), await before.user('bob')]
  const steps = definitionOf(`wait-for ${gate}`, 'fail as planned')
  const running = await submit(alice, steps)
  await stateIs(alice, running, 'running')
  const hers = await submit(alice, steps)
  const his = await submit(bob, steps)
  const places = async (): Promise<unknown[]> => [
    await placeOf(alice, hers),
    await placeOf(bob, his),
  ]
  const told = await places()
  assert.deepEqual(
    told.map((place) => (place as { position: number }).position),
    [2, 1],
  )
  await before.restart()
  assert.deepEqual(await places(), told)
  writeFileSync(gate, '')
  for (const id of [running, hers]) assert.equal((await ended(alice, id)).reason, 'as planned')
  assert.equal((await ended(bob, his)).reason, 'as planned')
})

test('the minutes of a period hold back what waits already, and let it go later', async (t) => {
  const { gate } = filesFor(t)
  const builder = builderSettings({ minutes_per_period: 10, running_per_user: 1 })
  const server = await startServer(t, { settings: { builder }, queueTimes: { round: 0.1 } })
  const user = await server.user('alice')
  const first = await submit(user, definitionOf(`wait-for ${gate}`, 'fail first'))
  await stateIs(user, first, 'running')
  const second = await submit(user, definitionOf('fail second'))
  await server.db.query(sql`
    update builds set started_at = now() - interval '11 minutes' where id = ${first}`)
  writeFileSync(gate, '')
  await ended(user, first)
  const { reason } = await placeOf(user, second)
  assert.match(reason, /^your builds have used the 10 minutes that everybody has in the period$/)
  const admin = await server.user('root', { isAdmin: true })
  assert.match((await placeOf(admin, second)).reason, /^the builds of alice have used the 10/)
  await server.db.query(sql`
    update builds set started_at = started_at - interval '2 days',
      ended_at = ended_at - interval '2 days' where id = ${first}`)
  assert.equal((await ended(user, second)).reason, 'second')
})
