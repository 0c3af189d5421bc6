/**
 * Builds as jobs of PBS, by the contract of its commands: qsub, qstat, qdel and qsig of the test run
 * real processes out of a directory. Debian has no PBS.
 */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

import {
  builderSettings,
  definitionOf,
  ended,
  outputOf,
  stateIs,
  submit,
} from '../support/builds.ts'
import type { Client } from '../support/client.ts'
import { noted } from '../support/processes.ts'
import { eventually, startServer } from '../support/server.ts'

/** Jobs are directories with script, name and pid; a file `closed` keeps new ones waiting. */
const commands = {
  qsub: `
[ -e $Q/down ] && { echo 'qsub: cannot connect to server pbs (errno=111)' >&2; exit 111; }
n=$(( $(ls -d $Q/*.pbs 2>/dev/null | wc -l) + 1 )); job=$Q/$n.pbs; mkdir $job
while [ $# -gt 0 ]; do case $1 in -N) echo "$2" > $job/name;; -o) out=$2;; esac; shift 2; done
cat > $job/script
echo "$out" > $job/out
if [ ! -e $Q/closed ]; then setsid sh $job/script >> $out 2>&1 < /dev/null & echo $! > $job/pid; fi
echo $n.pbs`,
  qstat: `
job=$Q/$2
[ -d $job ] && [ ! -e $job/deleted ] || { echo "qstat: Unknown Job Id $2" >&2; exit 153; }
state=Q; [ -e $job/pid ] && state=R
if [ $state = R ] && ! grep -qv ') [ZX] ' /proc/$(cat $job/pid)/stat 2>/dev/null; then
  echo "qstat: $2 Job has finished, use -x or -H" >&2; exit 35; fi
printf 'Job Id: %s\\n    Job_Name = %s\\n    job_state = %s\\n' $2 $(cat $job/name) $state
[ $state = Q ] && printf '    comment = Not Running: Insufficient amount of\\n\\t resource: ncpus\\n'
exit 0`,
  qdel: `
job=$Q/$1; if [ -e $job/pid ]; then kill -s TERM -- -$(cat $job/pid); else touch $job/deleted; fi`,
  qsig: `
kill -s KILL -- -$(cat $Q/$3/pid)`,
}

async function siteOf(t: TestContext): Promise<{ user: Client; directory: string; queue: string }> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-pbs-'))
  const [bin, queue, jobDir] = ['bin', 'queue', 'jobs'].map((name) => join(directory, name))
  assert.ok(bin && queue && jobDir)
  for (const one of [bin, queue, jobDir]) mkdirSync(one, { mode: 0o700 })
  for (const [name, body] of Object.entries(commands)) {
    writeFileSync(join(bin, name), `#!/bin/sh\nQ='${queue}'${body}\n`, { mode: 0o755 })
  }
  const path = process.env['PATH']
  process.env['PATH'] = `${bin}:${path}`
  t.after(() => {
    process.env['PATH'] = path
    rmSync(directory, { recursive: true, force: true })
  })
  const builder = builderSettings({}, { executor: 'pbs', job_dir: jobDir })
  const queueTimes = { round: 0.1, ask: 0.2, rest: 1 }
  const server = await startServer(t, { settings: { builder }, queueTimes })
  return { user: await server.user('alice'), directory, queue }
}

async function waitsFor(user: Client, id: string, reason: RegExp): Promise<void> {
  await eventually(async () => {
    const { queue } = (await user.get(`/v1/build/${id}`)).json.data
    return reason.test(String(queue?.reason))
  }, `build ${id} waits for ${reason.source}`)
}

test('a build is a job of PBS and ends as an image', async (t) => {
  const { user, queue } = await siteOf(t)
  writeFileSync(join(queue, 'down'), '')
  const id = await submit(user, definitionOf('print hello', 'image x'))
  await waitsFor(user, id, /The PBS server does not answer: cannot connect to server/)
  rmSync(join(queue, 'down'))
  const build = await ended(user, id)
  assert.equal(build.state, 'succeeded', build.reason)
  assert.match(await outputOf(user, id), /^hello\nImage stored: /)
})

test('a job that waits says why, and goes when it is cancelled', async (t) => {
  const { user, queue } = await siteOf(t)
  writeFileSync(join(queue, 'closed'), '')
  const id = await submit(user, definitionOf('image x'))
  await waitsFor(
    user,
    id,
    /^its PBS job waits: Not Running: Insufficient amount of resource: ncpus$/,
  )
  await user.send('PUT', `/v1/build/${id}/_cancel`)
  assert.equal((await ended(user, id)).state, 'cancelled')
})

test('cancel leaves no process of a job that ignores SIGTERM', async (t) => {
  const { user, directory } = await siteOf(t)
  const pids = join(directory, 'pids')
  const id = await submit(
    user,
    definitionOf(`note-start ${pids}`, 'ignore-term', `wait-for ${directory}/never`),
  )
  await stateIs(user, id, 'running')
  await eventually(async () => noted(pids).alive.length === 1, 'the runner is there')
  const askedAt = performance.now()
  await user.send('PUT', `/v1/build/${id}/_cancel`)
  assert.equal((await ended(user, id)).state, 'cancelled')
  assert.deepEqual(noted(pids).alive, [])
  assert.ok(performance.now() - askedAt < 10_000)
})
