/** Builds as jobs of a real Slurm; the runner is the stand-in. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

import { builderSettings, definitionOf, ended, stateIs, submit } from '../support/builds.ts'
import { eventually, startServer } from '../support/server.ts'
import { startSlurm, withoutSlurm } from '../support/slurm.ts'

test(
  'a build is a job: it waits for its turn, runs, and nothing of it is left after a cancel',
  { skip: withoutSlurm() },
  async (t) => {
    const home = mkdtempSync(join(tmpdir(), 'berth-slurm-jobs-'))
    t.after(() => rmSync(home, { recursive: true, force: true }))
    const slurm = await startSlurm(t)
    const host = {
      executor: 'slurm',
      batch_commands: slurm.commandDirectory,
      job_dir: join(home, 'jobs'),
      options: ['--partition=build', '--exclusive'],
    }
    const builder = builderSettings({ cpus: 1, memory: '100 MiB' }, host)
    const server = await startServer(t, {
      settings: { builder },
      queueTimes: { lost: 5, ask: 0.5, round: 0.2 },
    })
    const user = await server.user('alice')
    const pids = join(home, 'pids')
    const stubborn = [`note-start ${pids}`, 'ignore-term', `wait-for ${home}/never`]
    const first = await submit(user, definitionOf(...stubborn))
    await stateIs(user, first, 'running')
    assert.match(slurm.jobs(), /berth-/)

    // The node is taken: Slurm lets the second job wait, longer than a silent runner would be waited for.
    const second = await submit(user, definitionOf('print hello', 'image x'))
    await stateIs(user, second, 'starting')
    const until = Date.now() + 7_000
    await eventually(async () => Date.now() > until, 'a while')
    assert.equal((await user.get(`/v1/build/${second}`)).json.data.state, 'starting')

    const askedAt = performance.now()
    await user.send('PUT', `/v1/build/${first}/_cancel`)
    assert.equal((await ended(user, first)).status, 'Cancelled')
    assert.ok(performance.now() - askedAt < 10_000)
    const pid = Number(readFileSync(pids, 'utf8'))
    assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' })

    const build = await ended(user, second, 60_000)
    assert.equal(build.state, 'succeeded', build.reason)
    assert.equal(build.attempts, 1)
    await eventually(async () => !/ (?:R|PD|CG) /.test(slurm.jobs()), 'no job is left', 20_000)
    assert.deepEqual(readdirSync(host.job_dir), [])
  },
)
