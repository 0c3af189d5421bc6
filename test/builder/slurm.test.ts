/** Builds as jobs of a real Slurm. */
import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { TestContext } from 'node:test'

import { packageRoot } from '../../server/package-root.ts'
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
import { noted } from '../support/processes.ts'
import { assertLedger, eventually, startServer } from '../support/server.ts'
import type { TestServer } from '../support/server.ts'
import { skipSlurm, startSlurm } from '../support/slurm.ts'
import type { Slurm } from '../support/slurm.ts'

let slurm: Slurm
/** A hook that is made in a hook would be run at the end of that one. */
const atEnd: (() => unknown)[] = []
after(async () => {
  for (const end of atEnd.toReversed()) await end()
})
before(async () => {
  if (skipSlurm !== false) return
  slurm = await startSlurm({ after: (end) => atEnd.push(end) })
  process.env['SLURM_CONF'] = slurm.configuration
})

interface Site {
  readonly server: TestServer
  readonly user: Client
  readonly directory: string
}

const queueTimes = { round: 0.1, ask: 0.2 }

/** A site whose builder is the cluster; jobs take half of the node, so that two run at a time. */
async function siteOf(t: TestContext, host: Readonly<Record<string, unknown>> = {}): Promise<Site> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-builds-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const jobDir = join(directory, 'jobs')
  mkdirSync(jobDir, { mode: 0o700 })
  const limits = { cpus: 1, memory: '512 MiB', scratch: '512 MiB', running_per_user: 10 }
  const builder = builderSettings(limits, { executor: 'slurm', job_dir: jobDir, slots: 4, ...host })
  const server = await startServer(t, { settings: { builder }, queueTimes })
  // What a failed test has left would take the node from the next one.
  t.after(() => slurm.endJobs())
  return { server, user: await server.user('alice'), directory }
}

async function waitsFor(user: Client, id: string, reason: RegExp): Promise<void> {
  let seen: unknown
  await eventually(
    async () => {
      const { data } = (await user.get(`/v1/build/${id}`)).json
      seen = data.queue?.reason
      return typeof seen === 'string' && reason.test(seen)
    },
    `build ${id} waits for ${reason.source}`,
    40_000,
  ).catch((error: unknown) => {
    throw new Error(`the last reason was ${String(seen)}`, { cause: error })
  })
}

async function noJobIn(cluster: Slurm): Promise<void> {
  await eventually(async () => cluster.jobs().length === 0, 'squeue is empty')
}

test('a build is a job of its own and ends as an image', { skip: skipSlurm }, async (t) => {
  const { server, user, directory } = await siteOf(t)
  const gate = join(directory, 'gate')
  const id = await submit(user, definitionOf('print hello', `wait-for ${gate}`, 'image x'))
  const following = follow(user, id)
  await stateIs(user, id, 'running')
  const [number = ''] = slurm.jobs()
  const job = slurm.scontrol('show', 'job', '-o', number)
  assert.match(job, new RegExp(` JobName=berth-build-${id} `))
  assert.match(job, / Requeue=0 /)
  assert.match(
    job,
    / MinMemoryNode=(?:1536M|1\.50G) /,
    'memory of the build, its scratch, and the runner',
  )
  assert.match(job, / TimeLimit=02:15:00 /)
  assert.doesNotMatch(job, /token/i)
  assert.deepEqual(
    readdirSync(join(directory, 'jobs')).filter((name) => name.endsWith('.json')),
    [],
    'the file with the token is gone while the build runs',
  )
  writeFileSync(gate, '')
  const build = await ended(user, id)
  assert.equal(build.state, 'succeeded', build.reason)
  assert.equal(build.attempts, 1)
  assert.match((await following).text, /^(?:Waiting: .*\n)*hello\nImage stored: /)
  await noJobIn(slurm)
  await assertLedger(server.db)
})

test('the runner gets nothing of the environment', { skip: skipSlurm }, async (t) => {
  const seen = join(mkdtempSync(join(tmpdir(), 'berth-environment-')), 'environment')
  const standIn = join(packageRoot, 'dist/test/support/stand-in-runner.js')
  const script = `/usr/bin/env > ${seen}; exec ${process.execPath} ${standIn} "$@"`
  process.env['BERTH_TEST_SECRET'] = 'not for builds'
  t.after(() => {
    delete process.env['BERTH_TEST_SECRET']
  })
  const { user } = await siteOf(t, { runner: ['/bin/sh', '-c', script, "it's a runner"] })
  assert.equal((await ended(user, await submit(user, definitionOf('image x')))).state, 'succeeded')
  const names = readFileSync(seen, 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split('=')[0] ?? '')
    .filter((name) => !['PWD', '_', 'SHLVL', 'OLDPWD'].includes(name))
  assert.deepEqual(names.sort(), ['LANG', 'PATH'])
})

test('a full cluster: the job waits, says why, and goes on', { skip: skipSlurm }, async (t) => {
  const { user, directory } = await siteOf(t)
  const gate = join(directory, 'gate')
  const steps = definitionOf(`wait-for ${gate}`, 'image x')
  const first = [await submit(user, steps), await submit(user, steps)]
  for (const id of first) await stateIs(user, id, 'running')
  const third = await submit(user, steps)
  await waitsFor(user, third, /^its Slurm job waits: it waits for a free node \(Resources\)$/)
  assert.equal(slurm.jobs().length, 3)
  // One that waits is gone at once.
  const fourth = await submit(user, steps)
  await waitsFor(user, fourth, /^its Slurm job waits: /)
  await user.send('PUT', `/v1/build/${fourth}/_cancel`)
  assert.equal((await ended(user, fourth)).state, 'cancelled')
  assert.equal(slurm.jobs().length, 3)
  writeFileSync(gate, '')
  for (const id of [...first, third]) {
    const build = await ended(user, id, 60_000)
    assert.equal(build.state, 'succeeded', build.reason)
    assert.equal(build.queue, undefined)
  }
  await noJobIn(slurm)
})

test(
  'cancel leaves no job and no process, although all ignore SIGTERM',
  { skip: skipSlurm },
  async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'berth-pids-'))
    t.after(() => rmSync(directory, { recursive: true, force: true }))
    const pids = join(directory, 'pids')
    const standIn = join(packageRoot, 'dist/test/support/stand-in-runner.js')
    // A child beside the runner, as the sandbox is one.
    const script = `trap '' TERM; sleep 600 & echo $! >> ${pids}; ${process.execPath} ${standIn} "$@"; exit`
    const { user } = await siteOf(t, { runner: ['/bin/sh', '-c', script, 'runner'] })
    const id = await submit(
      user,
      definitionOf(`note-start ${pids}`, 'ignore-term', `wait-for ${directory}/never`),
    )
    await eventually(
      async () => noted(pids).alive.length === 2,
      'the runner and its child are there',
    )
    const askedAt = performance.now()
    await user.send('PUT', `/v1/build/${id}/_cancel`)
    const build = await ended(user, id)
    assert.equal(build.state, 'cancelled')
    assert.match(await outputOf(user, id), /Build cancelled: cancelled by its owner\n$/)
    assert.deepEqual(slurm.jobs(), [])
    assert.deepEqual(noted(pids).alive, [])
    const seconds = (performance.now() - askedAt) / 1000
    assert.ok(seconds < 10, `it took ${seconds} seconds`)
  },
)

test(
  'a job that Slurm ends is begun anew once, and then fails with the reason',
  { skip: skipSlurm },
  async (t) => {
    const { user, directory } = await siteOf(t)
    const pids = join(directory, 'pids')
    const id = await submit(user, definitionOf(`note-start ${pids}`, `wait-for ${directory}/never`))
    for (const attempt of [1, 2]) {
      await eventually(
        async () => noted(pids).all.length === attempt,
        `attempt ${attempt} runs`,
        20_000,
      )
      await stateIs(user, id, 'running')
      process.kill(noted(pids).all[attempt - 1] ?? 0, 'SIGKILL')
    }
    const build = await ended(user, id, 40_000)
    assert.equal(build.state, 'failed')
    assert.match(build.reason, /^the builder was lost: its runner ended without a word/)
    await noJobIn(slurm)
  },
)

test('what sbatch refuses is said in words', { skip: skipSlurm }, async (t) => {
  const { user } = await siteOf(t, { options: ['--partition=nope'] })
  const id = await submit(user, definitionOf('image x'))
  await waitsFor(
    user,
    id,
    /^the builder here is not available: Slurm refuses: Batch job submission failed: Invalid partition/,
  )
  await user.send('PUT', `/v1/build/${id}/_cancel`)
  assert.equal((await ended(user, id)).attempts, 0)
})

test(
  'a runner that cannot begin: its last words are the reason',
  { skip: skipSlurm },
  async (t) => {
    const runner = ['/bin/sh', '-c', 'echo there is no apptainer here >&2; exit 1']
    const { user } = await siteOf(t, { runner })
    const build = await ended(user, await submit(user, definitionOf('image x')), 40_000)
    assert.equal(build.state, 'failed')
    assert.match(build.reason, /its runner ended, and said: there is no apptainer here/)
  },
)

test(
  'a controller that is away: builds wait, say why, and go on',
  { skip: skipSlurm },
  async (t) => {
    const { user, directory } = await siteOf(t, { slots: 1 })
    const gate = join(directory, 'gate')
    const running = await submit(user, definitionOf(`wait-for ${gate}`, 'image x'))
    await stateIs(user, running, 'running')
    await slurm.stopController()
    // The runner speaks to Berth and needs no controller.
    writeFileSync(gate, '')
    assert.equal((await ended(user, running)).state, 'succeeded')
    const id = await submit(user, definitionOf('image y'))
    await waitsFor(
      user,
      id,
      /is not available: (?:Slurm's controller does not answer|scancel did not end in 5 seconds)$/,
    )
    await slurm.startController()
    const build = await ended(user, id, 60_000)
    assert.equal(build.state, 'succeeded', build.reason)
    assert.equal(build.attempts, 1)
    assert.equal(existsSync(join(directory, 'jobs', `${id}.json`)), false)
    await noJobIn(slurm)
  },
)
