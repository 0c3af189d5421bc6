/** 200 builds of 10 people in the real queue: at any time each has had what is fair. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { BuilderRests } from '../../server/builds/builder-rests.ts'
import { BuildEnding } from '../../server/builds/ending.ts'
import type { Executor } from '../../server/builds/executor.ts'
import { JobFiles } from '../../server/builds/job-files.ts'
import { BuildQueue } from '../../server/builds/queue.ts'
import { sql } from '../../server/database.ts'
import { builderSettings, definitionOf, submit } from '../support/builds.ts'
import { eventually, startServer } from '../support/server.ts'

const people = 10
const each = 20

test('200 queued builds of 10 people: at every quarter each is within 10 % of fair', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'berth-shares-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const table = builderSettings({ running_per_user: 4 }, { slots: 4 })
  const server = await startServer(t, { settings: { builder: table } })
  const { builder, config, database, log, tokens } = server.appliance
  // Nothing begins before all are handed in, one person after the other, which is the worst order.
  await builder.queue.stop()
  const owners = new Map<string, number>()
  for (let person = 0; person < people; person += 1) {
    const user = await server.user(`user${person}`)
    for (let count = 0; count < each; count += 1) {
      owners.set(await submit(user, definitionOf('fail')), person)
    }
  }

  const started: number[] = []
  let mostAtOnce = 0
  const atWork = new Set<string>()
  const failures: unknown[] = []
  /** A runner in this process, which speaks for its build by the token that it was given. */
  const executor: Executor = {
    start: async ({ id, jobFile }) => {
      const { token } = JSON.parse(readFileSync(jobFile, 'utf8')) as { token: string }
      rmSync(jobFile)
      started.push(owners.get(id) ?? -1)
      atWork.add(id)
      mostAtOnce = Math.max(mostAtOnce, atWork.size)
      const job = await builder.jobs.authenticate(token)
      await builder.jobs.take(job)
      setImmediate(() => {
        atWork.delete(id)
        builder.jobs
          .end(job, 'failed', 'as planned')
          .then(() => queue.wake())
          .catch((error: unknown) => failures.push(error))
      })
      return id
    },
    state: async () => 'running',
    reason: async () => '',
    cancel: async () => {},
    removeLogs: async () => {},
  }
  const { output, signals } = builder
  const queue = new BuildQueue({
    database,
    log,
    settings: config.builder,
    builders: builder.builders,
    rests: new BuilderRests(database),
    executorOf: () => executor,
    jobFiles: new JobFiles({ directory, serverUrl: () => server.url }),
    output,
    ending: new BuildEnding(database, output, tokens, signals),
    signals,
  })
  queue.start()
  try {
    await eventually(
      async () => {
        const open = await server.db.query(sql`select 1 from builds where ended_at is null`)
        return open.length === 0
      },
      'all builds end',
      120_000,
    )
  } finally {
    await queue.stop()
  }
  assert.deepEqual(failures, [])
  assert.equal(started.length, people * each)
  assert.ok(mostAtOnce <= 4, `${mostAtOnce} at once`)
  for (const quarter of [1, 2, 3, 4]) {
    const count = (people * each * quarter) / 4
    const fair = count / people
    for (let person = 0; person < people; person += 1) {
      const had = started.slice(0, count).filter((one) => one === person).length
      const off = Math.abs(had - fair) / fair
      assert.ok(off <= 0.1, `after ${count}: user${person} had ${had}, and ${fair} is fair`)
    }
  }
})
