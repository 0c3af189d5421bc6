/** The queue: turns and limits, lost and cancelled builds, restarts. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
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
  openSocket,
  outputOf,
  stateIs,
  submit,
  trySubmit,
} from '../support/builds.ts'
import { assertProblem } from '../support/client.ts'
import type { Client } from '../support/client.ts'
import { freePort } from '../support/free-port.ts'
import { noted } from '../support/processes.ts'
import { assertLedger, eventually, startServer } from '../support/server.ts'

function directoryFor(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'berth-builds-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

test('a site without a builder says so', async (t) => {
  const server = await startServer(t)
  const user = await server.user('alice')
  assertProblem(await trySubmit(user, definitionOf('image x')), 503, /This site has no builder/)
  const context = { size: 5, digest: `sha256.${'0'.repeat(64)}` }
  assertProblem(await user.post('/v1/build-context', context), 503, /no builder/)
  assert.deepEqual((await user.get('/v1/build')).json.data, [])
})

test('turns: who has had less is next, two at once for each, and everybody sees his place', async (t) => {
  const directory = directoryFor(t)
  const builder = builderSettings({ running_per_user: 2, queued_per_user: 4 }, { slots: 3 })
  const server = await startServer(t, { settings: { builder } })
  const [greedy, modest] = [await server.user('greedy'), await server.user('modest')]
  const gate = join(directory, 'gate')
  const steps = definitionOf(`wait-for ${gate}`, 'fail as planned')
  const first = [await submit(greedy, steps), await submit(greedy, steps)]
  for (const id of first) await stateIs(greedy, id, 'running')
  const rest: string[] = []
  for (let count = 0; count < 4; count += 1) rest.push(await submit(greedy, steps))
  assertProblem(await trySubmit(greedy, steps), 429, /4 builds in the queue/)

  const held = (await greedy.get(`/v1/build/${rest[0]}`)).json.data.queue
  assert.equal(held.waiting, 4)
  assert.equal(held.position, 1)
  assert.match(held.reason, /2 running builds, and 2 is the limit/)

  // A slot is free, and the limit keeps it free for others.
  const other = await submit(modest, steps)
  await stateIs(modest, other, 'running')
  const second = await submit(modest, steps)
  const place = (await modest.get(`/v1/build/${second}`)).json.data.queue
  assert.equal(place.position, 1, 'before the four of whoever has had more')
  assert.match(place.reason, /this build is the next/)
  writeFileSync(gate, '')
  for (const [user, ids] of [
    [greedy, [...first, ...rest]],
    [modest, [other, second]],
  ] as const) {
    for (const id of ids) assert.equal((await ended(user, id)).reason, 'as planned')
  }
})

test('many builds of several users end in equal shares at any time', async (t) => {
  const builder = builderSettings({ running_per_user: 50, queued_per_user: 100 }, { slots: 1 })
  const server = await startServer(t, {
    settings: { builder },
    queueTimes: { round: 0.05 },
  })
  const users: Client[] = []
  for (let count = 0; count < 4; count += 1) users.push(await server.user(`user${count}`))
  // All of the first user's come first.
  for (const user of users) {
    for (let count = 0; count < 5; count += 1) await submit(user, definitionOf('fail quickly'))
  }
  await eventually(
    async () => {
      const open = await server.db.query(sql`select 1 from builds where ended_at is null`)
      return open.length === 0
    },
    'all builds end',
    60_000,
  )
  const rows = await server.db.query<{ name: string }>(sql`
    select a.name from builds b join accounts a on a.id = b.account_id order by b.started_at`)
  assert.equal(rows.length, 20)
  // The first builds began before the others were handed in.
  for (let count = 12; count <= 20; count += 4) {
    const had = users.map(
      (user) => rows.slice(0, count).filter(({ name }) => name === user.name).length,
    )
    assert.ok(Math.max(...had) - Math.min(...had) <= 2, `after ${count}: ${had.join()}`)
  }
})

test('the minutes of a period: used up, no more builds, with the figures', async (t) => {
  const builder = builderSettings({ minutes_per_period: 10, period_hours: 24 })
  const server = await startServer(t, { settings: { builder } })
  const user = await server.user('alice')
  const id = await submit(user, definitionOf('fail at once'))
  await ended(user, id)
  await server.db.query(sql`update builds set started_at = ended_at - interval '11 minutes'`)
  assertProblem(await trySubmit(user, definitionOf('fail')), 429, /used 11 of the 10 minutes/)
  await server.db.query(sql`
    update builds set started_at = started_at - interval '1 day', ended_at = ended_at - interval '1 day'`)
  await ended(user, await submit(user, definitionOf('fail')))
})

test('cancel: waiting at once, running within seconds, and no process is left', async (t) => {
  const directory = directoryFor(t)
  const builder = builderSettings({}, { slots: 1 })
  const server = await startServer(t, { settings: { builder } })
  const user = await server.user('alice')
  const pids = join(directory, 'pids')
  const stubborn = definitionOf(`note-start ${pids}`, 'ignore-term', `wait-for ${directory}/never`)
  const id = await submit(user, stubborn)
  await eventually(async () => noted(pids).alive.length === 1, 'the runner is there')
  const waiting = await submit(user, stubborn)
  assert.equal((await user.send('PUT', `/v1/build/${waiting}/_cancel`)).status, 204)
  assert.equal((await user.get(`/v1/build/${waiting}`)).json.data.status, 'Cancelled')
  const following = follow(user, id)
  const askedAt = performance.now()
  assert.equal((await user.send('PUT', `/v1/build/${id}/_cancel`)).status, 204)
  const build = await ended(user, id)
  assert.ok(performance.now() - askedAt < 10_000, 'within ten seconds, although it ignores SIGTERM')
  assert.equal(build.status, 'Cancelled')
  assert.deepEqual(noted(pids).alive, [])
  assert.equal(noted(pids).all.length, 1, 'the one that waited never began')
  assert.match((await following).text, /Build cancelled: cancelled by its owner\n$/)
})

test('a runner that ends without a word: once more, and then a failure that says so', async (t) => {
  const directory = directoryFor(t)
  const server = await startServer(t, {
    settings: { builder: builderSettings() },
    queueTimes: { lost: 2, ask: 0.2, round: 0.1 },
  })
  const user = await server.user('alice')
  const steps = definitionOf('print begins', `exit-once ${directory}/done`, 'image x')
  const first = await submit(user, steps)
  const build = await ended(user, first)
  assert.equal(build.state, 'succeeded', build.reason)
  assert.equal(build.attempts, 2)
  const text = await outputOf(user, first)
  assert.match(
    text,
    /^begins\nThe builder was lost \(its runner ended without a word\): the build begins anew\.\nbegins\nImage stored: /,
  )
  const never = await ended(user, await submit(user, definitionOf('exit')))
  assert.equal(never.state, 'failed')
  assert.match(never.reason, /the builder was lost: its runner ended without a word/)
  assert.equal(never.attempts, 2)
})

test('a runner that is silent is lost, and its process is ended', async (t) => {
  const directory = directoryFor(t)
  const runner = ['/bin/sh', '-c', `echo $$ >> ${directory}/pids; exec sleep 600`, 'runner']
  const server = await startServer(t, {
    settings: { builder: builderSettings({}, { runner }) },
    queueTimes: { lost: 1, arrival: 0.5, ask: 0.1, round: 0.1 },
  })
  const user = await server.user('alice')
  const build = await ended(user, await submit(user, definitionOf('image x')))
  assert.equal(build.state, 'failed')
  assert.match(build.reason, /its runner never reached this server/)
  assert.equal(noted(join(directory, 'pids')).all.length, 2)
  assert.deepEqual(noted(join(directory, 'pids')).alive, [])
})

test('a build that takes longer than it may is ended, whatever its runner thinks', async (t) => {
  const directory = directoryFor(t)
  const pids = join(directory, 'pids')
  const server = await startServer(t, {
    settings: { builder: builderSettings({ minutes_per_build: 0.005 }) },
    queueTimes: { overtime: 0.5, round: 0.1 },
  })
  const user = await server.user('alice')
  const steps = definitionOf(`note-start ${pids}`, `wait-for ${directory}/never`)
  const build = await ended(user, await submit(user, steps))
  assert.equal(build.state, 'failed')
  assert.match(build.reason, /it took longer than the 0 minutes/)
  assert.deepEqual(noted(pids).alive, [])
})

test('a builder that cannot start anything: the build waits, and says why', async (t) => {
  const runner = ['/no/such/program']
  const server = await startServer(t, { settings: { builder: builderSettings({}, { runner }) } })
  const user = await server.user('alice')
  const id = await submit(user, definitionOf('image x'))
  let queue: { reason?: string } | undefined
  await eventually(async () => {
    queue = (await user.get(`/v1/build/${id}`)).json.data.queue
    return queue?.reason?.includes('not available') === true
  }, 'the reason is seen')
  assert.match(
    queue?.reason ?? '',
    /the builder here is not available: The runner cannot be started/,
  )
  await user.send('PUT', `/v1/build/${id}/_cancel`)
  assert.equal((await ended(user, id)).attempts, 0)
})

test('a build goes on through a restart of the server, with its output', async (t) => {
  const directory = directoryFor(t)
  const port = await freePort()
  const gate = join(directory, 'gate')
  const pids = join(directory, 'pids')
  const before = await startServer(t, { port, settings: { builder: builderSettings() } })
  const user = await before.user('alice')
  const steps = [`note-start ${pids}`, 'print before', `wait-for ${gate}`, 'print after', 'image x']
  const id = await submit(user, definitionOf(...steps))
  await stateIs(user, id, 'running')
  await eventually(async () => (await outputOf(user, id)) === 'before\n', 'the first line')
  const reader = openSocket(user, id, '?offset=0')
  const closed = once(reader, 'close')
  await once(reader, 'message')
  const after = await before.restart()
  assert.equal((await closed)[0], 1001, 'readers are told to come again')
  assert.equal(noted(pids).alive.length, 1, 'the runner outlives the server')
  writeFileSync(gate, '')
  const rest = await follow(user, id, '?offset=7')
  assert.equal(rest.code, 1000)
  assert.match(rest.text, /^after\nImage stored: /)
  assert.equal((await ended(user, id)).attempts, 1)
  await assertLedger(after.db)
})

test('images that nobody named are kept for a day, and output for its time', async (t) => {
  const builder = builderSettings({ keep_output_days: 2 })
  const server = await startServer(t, { settings: { builder } })
  const user = await server.user('alice')
  const unnamed = await submit(user, definitionOf('image one'))
  const named = await submit(user, definitionOf('image two'), { libraryRef: 'alice/tools/kept:v1' })
  await ended(user, unnamed)
  await ended(user, named)
  const image = `/v1/images/alice/remote-builds/rb-${unnamed}:latest?arch=amd64`
  const age = async (hours: number): Promise<void> => {
    await server.db.query(
      sql`update builds set ended_at = now() - make_interval(hours => ${hours})`,
    )
  }
  await age(23)
  assert.equal((await server.appliance.builder.expire()).imagesRemoved, 0)
  assert.equal((await user.get(image)).status, 200)
  await age(25)
  assert.equal((await server.appliance.builder.expire()).imagesRemoved, 1)
  assertProblem(await user.get(image), 404)
  assert.equal((await user.get('/v1/images/alice/tools/kept:v1?arch=amd64')).status, 200)
  assert.match(await outputOf(user, unnamed), /Image stored/)
  await age(49)
  assert.equal((await server.appliance.builder.expire()).outputsRemoved, 2)
  assert.equal(await outputOf(user, unnamed), '')
  await assertLedger(server.db)
})
