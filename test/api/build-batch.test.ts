/** Builds as jobs of a batch system, by the contract of its commands. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { makeBatchCommands } from '../support/batch-commands.ts'
import { builderSettings, definitionOf, ended, stateIs, submit } from '../support/builds.ts'
import { eventually, startServer } from '../support/server.ts'

for (const [executor, wanted] of [
  ['pbs', /^-r n .*-l walltime=9000 -l select=1:ncpus=2:mem=4096mb -q builds$/m],
  [
    'slurm',
    /^--parsable --no-requeue --export=NONE .*--time=150 --cpus-per-task=2 --mem=4096M -q builds$/m,
  ],
] as const) {
  test(`${executor}: waits, runs, is cancelled, and leaves no job`, async (t) => {
    const home = mkdtempSync(join(tmpdir(), 'berth-batch-'))
    t.after(() => rmSync(home, { recursive: true, force: true }))
    const host = {
      executor,
      batch_commands: makeBatchCommands(home),
      options: ['-q', 'builds'],
      job_dir: join(home, "job's files"),
    }
    const server = await startServer(t, {
      settings: { builder: builderSettings({}, host) },
      queueTimes: { lost: 1, ask: 0.2, round: 0.1 },
    })
    const user = await server.user('alice')
    writeFileSync(join(home, 'hold'), '')
    const id = await submit(user, definitionOf('print hello', 'image x'))
    const second = await submit(user, definitionOf('image y'))
    await stateIs(user, id, 'starting')
    await eventually(async () => readdirSync(join(home, 'jobs')).length === 2, 'both are jobs')
    assert.equal((await user.send('PUT', `/v1/build/${second}/_cancel`)).status, 204)
    assert.equal((await ended(user, second)).status, 'Cancelled')
    // Longer than a silent runner would be waited for: the job waits, and that is no loss.
    const until = Date.now() + 1500
    await eventually(async () => Date.now() > until, 'a while')
    assert.equal((await user.get(`/v1/build/${id}`)).json.data.state, 'starting')
    rmSync(join(home, 'hold'))
    const build = await ended(user, id)
    assert.equal(build.state, 'succeeded', build.reason)
    assert.equal(build.attempts, 1)
    assert.match(readFileSync(join(home, 'submitted'), 'utf8'), wanted)

    const lost = await ended(user, await submit(user, definitionOf('exit')))
    assert.match(lost.reason, /the builder was lost/)

    const never = await submit(user, definitionOf('ignore-term', `wait-for ${home}/never`))
    await stateIs(user, never, 'running')
    await user.send('PUT', `/v1/build/${never}/_cancel`)
    assert.equal((await ended(user, never)).status, 'Cancelled')
    for (const job of readdirSync(join(home, 'jobs'))) {
      assert.ok(readdirSync(join(home, 'jobs', job)).includes('ended'), `job ${job} has ended`)
    }
    assert.deepEqual(readdirSync(host.job_dir), [], 'no file with a token is left')
  })
}
