/** Builds as jobs of a real Slurm, by the real runner and the real Apptainer; the job is the limit. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import type { TestContext } from 'node:test'

import { withoutBubblewrap } from '../support/bubblewrap.ts'
import { ended, follow, outputOf, submit } from '../support/builds.ts'
import type { Client } from '../support/client.ts'
import { processesNaming } from '../support/processes.ts'
import { assertLedger, eventually, startServer } from '../support/server.ts'
import type { TestServer } from '../support/server.ts'
import { skipSlurm, startSlurm } from '../support/slurm.ts'
import type { Slurm } from '../support/slurm.ts'
import { findApptainerRoot, openApptainer } from './apptainer-root.ts'

const root = findApptainerRoot() ?? ''
const skip = withoutBubblewrap() || skipSlurm

let slurm: Slurm
/** A hook that is made in a hook would be run at the end of that one. */
const atEnd: (() => unknown)[] = []
after(async () => {
  for (const end of atEnd.toReversed()) await end()
})
before(async () => {
  if (skip !== false) return
  slurm = await startSlurm({ after: (end) => atEnd.push(end) })
  process.env['SLURM_CONF'] = slurm.configuration
})

const busybox = [
  'Bootstrap: scratch',
  '%setup',
  '  mkdir -p "$APPTAINER_ROOTFS/bin" "$APPTAINER_ROOTFS/etc"',
  '  cp /usr/bin/busybox "$APPTAINER_ROOTFS/bin/busybox"',
  '  for name in sh cat echo sleep; do ln -s busybox "$APPTAINER_ROOTFS/bin/$name"; done',
]

async function siteOf(
  t: TestContext,
  more: Readonly<Record<string, unknown>> = {},
): Promise<{ readonly server: TestServer; readonly user: Client; readonly scratch: string }> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-slurm-builds-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const [jobDir, scratch] = [join(directory, 'jobs'), join(directory, 'scratch')]
  mkdirSync(jobDir, { mode: 0o700 })
  mkdirSync(scratch, { mode: 0o700 })
  const runnerConfig = join(directory, 'runner.toml')
  const lines = [`root = '${root}'`, `scratch_dir = '${scratch}'`, "limiter = 'scheduler'", '']
  writeFileSync(runnerConfig, lines.join('\n'))
  const cluster = { name: 'cluster', executor: 'slurm', archs: ['amd64'] }
  const builder = {
    enabled: true,
    cpus: 1,
    memory: '1 GiB',
    scratch: '512 MiB',
    builders: [{ ...cluster, job_dir: jobDir, runner_config: runnerConfig }],
    ...more,
  }
  const server = await startServer(t, { settings: { builder } })
  // What a failed test has left would take the node from the next one.
  t.after(() => slurm.endJobs())
  return { server, user: await server.user('alice'), scratch }
}

test('a job builds; the image is pulled and run', { skip }, async (t) => {
  const { server, user } = await siteOf(t)
  const definition = [
    ...busybox,
    '%post',
    '  echo in the %post of a job',
    '%runscript',
    '  echo made by the cluster',
  ].join('\n')
  const id = await submit(user, definition, { libraryRef: 'library://alice/built/tool:v1' })
  const followed = await follow(user, id)
  const build = await ended(user, id)
  assert.equal(build.state, 'succeeded', followed.text)
  assert.equal(build.attempts, 1)
  assert.equal(followed.code, 1000)
  assert.match(followed.text, /the scheduler of the job that this runner is/)
  assert.match(followed.text, /in the %post of a job/)
  const node = openApptainer(t, { root })
  node.useRemote(server.url, user.credentials?.token ?? '')
  const ran = await node.type(
    'apptainer pull -U tool.sif library://alice/built/tool:v1 && apptainer run tool.sif',
  )
  assert.equal(ran.stdout, 'made by the cluster\n', ran.stderr)
  await eventually(async () => slurm.jobs().length === 0, 'squeue is empty')
  await assertLedger(server.db)
})

/** A %post that nobody can miss on the host, says that it is there, and hears no signal. */
function endless(mark: string): string {
  const post = [
    '%post',
    "  trap '' TERM INT HUP",
    `  sh -c "trap '' TERM INT HUP; sleep ${mark}; sleep ${mark}" &`,
    '  echo it is in %post',
    `  sleep ${mark}; sleep ${mark}`,
  ]
  return [...busybox, ...post].join('\n')
}

async function isInPost(user: Client, id: string, mark: string): Promise<void> {
  await eventually(
    async () => (await outputOf(user, id)).includes('it is in %post'),
    'the build is in its %post',
    60_000,
  )
  await eventually(async () => processesNaming(mark).length >= 2, 'both of its processes are there')
}

test('cancelled in its %post: no process and no job after 10 seconds', { skip }, async (t) => {
  const { user } = await siteOf(t)
  const mark = `1${process.pid}1`
  const id = await submit(user, endless(mark))
  await isInPost(user, id, mark)
  const askedAt = performance.now()
  assert.equal((await user.send('PUT', `/v1/build/${id}/_cancel`)).status, 204)
  const build = await ended(user, id)
  await eventually(
    async () => processesNaming(mark).length === 0 && slurm.jobs().length === 0,
    'no process and no job is left',
  )
  const seconds = (performance.now() - askedAt) / 1000
  assert.ok(seconds < 10, `it took ${seconds} seconds`)
  assert.equal(build.state, 'cancelled')
  assert.match(build.reason as string, /cancelled by its owner/)
})

test('over its time: it fails with the reason, and nothing is left', { skip }, async (t) => {
  const { user } = await siteOf(t, { minutes_per_build: 0.25 })
  const mark = `1${process.pid}2`
  const id = await submit(user, endless(mark))
  const build = await ended(user, id, 90_000)
  assert.equal(build.state, 'failed')
  assert.match(build.reason as string, /took longer than its 15 seconds/)
  await eventually(
    async () => processesNaming(mark).length === 0 && slurm.jobs().length === 0,
    'no process and no job is left',
  )
})
