/** The clock: runs are written down, one at a time, once for what was missed, and failures are seen. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { hostOperator } from '../../server/accounts/accounts.ts'
import { tellEndingTokens } from '../../server/accounts/token-notices.ts'
import { listAlarms } from '../../server/alarms.ts'
import { sql } from '../../server/database.ts'
import { housekeepingOf } from '../../server/housekeeping.ts'
import { isMissed, listJobs, raiseLate, runRecorded } from '../../server/job-runs.ts'
import type { JobState } from '../../server/job-runs.ts'
import { createLog } from '../../server/log.ts'
import { runJob, startSchedule } from '../../server/schedule.ts'
import type { Job } from '../../server/schedule.ts'
import { assertLedger, eventually, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after })
const { db } = server
const { database } = server.appliance
const closing = new AbortController().signal
const log = createLog('silent')

const stateOf = async (job: { name: string; cron: string }, now?: Date): Promise<JobState> => {
  const [state] = await listJobs(db, [job], now)
  assert.ok(state)
  return state
}
const alarmsOf = async (name: string): Promise<string[]> =>
  (await listAlarms(db)).filter((one) => one.name === `job ${name}`).map(({ message }) => message)

test('every job of the server works, and its run is written down', async () => {
  const user = await server.user('alice')
  await user.push('alice/demo/tool', 'v1', makeSif({ seed: 'clock' }))
  const jobs = housekeepingOf(server.appliance)
  for (const job of jobs) await runJob(job, 'schedule', { database, log, closing })
  const states = await listJobs(db, jobs)
  assert.deepEqual(
    states.map(({ name }) => name),
    [
      'sweep',
      'revalidation',
      'image signatures',
      'scrub',
      'builds',
      'sign-in attempts',
      'daily totals',
      'backup age',
      'retention',
      'quota recount',
      'token notices',
    ],
  )
  for (const { name, lastRun, lastSuccessAt, nextDueAt, isLate } of states) {
    assert.equal(lastRun?.error, null, name)
    assert.ok(lastRun.endedAt && lastRun.result && lastSuccessAt, name)
    assert.ok(nextDueAt > new Date() && !isLate, name)
  }
})

test('a job that fails raises an alarm with its reason, and the run that works clears it', async () => {
  const outcome = { error: 'the disk is on fire' as string | undefined }
  const job: Job = {
    name: 'failing',
    cron: '*/10 * * * *',
    run: async () => {
      if (outcome.error !== undefined) throw new Error(outcome.error)
      return { done: 3 }
    },
  }
  await runJob(job, 'schedule', { database, log, closing })
  assert.match((await alarmsOf('failing')).join(), /"failing" failed: the disk is on fire/)
  assert.equal((await stateOf(job)).lastRun?.error, 'the disk is on fire')
  outcome.error = undefined
  await runJob(job, 'schedule', { database, log, closing })
  assert.deepEqual(await alarmsOf('failing'), [])
  assert.deepEqual((await stateOf(job)).lastRun?.result, { done: 3 })
})

test('a job never runs beside itself, in whatever process', async () => {
  let running = 0
  let most = 0
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => {
    open = resolve
  })
  const work = async (): Promise<object> => {
    running += 1
    most = Math.max(most, running)
    await gate
    running -= 1
    return {}
  }
  const first = runRecorded(database, 'alone', 'schedule', work)
  await eventually(async () => running === 1, 'the first runs')
  const others = await Promise.all(
    Array.from({ length: 4 }, async () => await runRecorded(database, 'alone', 'command', work)),
  )
  assert.deepEqual(others, [undefined, undefined, undefined, undefined])
  open()
  assert.deepEqual(await first, {})
  assert.equal(most, 1)
  assert.equal((await db.query(sql`select 1 from job_runs where name = 'alone'`)).length, 1)
})

test('a lost connection ends the job that held its lock on it, and nothing else', async () => {
  const work = async (): Promise<object> => {
    await db.query(sql`
      select pg_terminate_backend(pid) from pg_locks
      where locktype = 'advisory' and objid = hashtext('job cut off')::bit(32)::bigint::oid`)
    // What the server said reaches the idle connection before the answer to another one's question.
    for (let turn = 0; turn < 20; turn += 1) await db.query(sql`select 1`)
    return {}
  }
  await assert.rejects(runRecorded(database, 'cut off', 'schedule', work))
  assert.deepEqual(await runRecorded(database, 'cut off', 'schedule', async () => ({})), {})
})

test('what was missed is done once after a start, and what was not is left alone', async () => {
  const runs = { daily: 0, fresh: 0, never: 0 }
  const jobs: Job[] = (['daily', 'fresh', 'never'] as const).map((name) => ({
    name,
    cron: '17 3 * * *',
    run: async () => ({ count: (runs[name] += 1) }),
  }))
  await db.query(sql`
    insert into job_runs (name, cause, began_at, ended_at)
    values ('daily', 'schedule', now() - interval '5 days', now() - interval '5 days'),
      ('fresh', 'schedule', now(), now())`)
  const schedule = startSchedule(jobs, database, log)
  await eventually(async () => runs.daily + runs.never === 2, 'the missed ones ran')
  await schedule.stop()
  assert.deepEqual(runs, { daily: 1, fresh: 0, never: 1 })
  const [row] = await db.query<{ cause: string }>(sql`
    select cause from job_runs where name = 'daily' order by id desc limit 1`)
  assert.equal(row?.cause, 'catch-up')
  assert.equal(await isMissed(db, { name: 'daily', cron: '17 3 * * *' }), false)
})

test('a job that is late for long is said so, until it works again', async () => {
  const job = { name: 'late', cron: '*/15 * * * *' }
  const add = async (minutesAgo: number): Promise<void> => {
    await db.query(sql`
      insert into job_runs (name, cause, began_at, ended_at)
      values ('late', 'schedule', now() - make_interval(mins => ${minutesAgo}), now())`)
  }
  assert.equal((await stateOf(job)).isLate, false)
  await add(60)
  assert.equal((await stateOf(job)).isLate, true)
  assert.deepEqual(await raiseLate(db, [job]), ['late'])
  assert.match((await alarmsOf('late')).join(), /"late" is late: it last worked at/)
  await runRecorded(database, 'late', 'schedule', async () => ({}))
  assert.deepEqual(await alarmsOf('late'), [])
  assert.deepEqual(await raiseLate(db, [job]), [])
})

test('a run that was cut off with its process is told from one that works', async () => {
  const job = { name: 'cut', cron: '* * * * *' }
  await db.query(sql`
    insert into job_runs (name, cause, began_at) values ('cut', 'schedule', now())`)
  assert.equal((await stateOf(job)).lastRun?.endedAt, null)
  await runRecorded(database, 'cut', 'schedule', async () => ({}))
  const rows = await db.query<{ error: string | null }>(
    sql`select error from job_runs where name = 'cut' order by id`,
  )
  assert.deepEqual(
    rows.map(({ error }) => error),
    ['The process ended before the job did.', null],
  )
})

test('fifty runs of a job are kept, and the last that worked whatever came after', async () => {
  await runRecorded(database, 'many', 'schedule', async () => ({ worked: true }))
  await db.query(sql`
    insert into job_runs (name, cause, ended_at, error)
    select 'many', 'schedule', now(), 'no' from generate_series(1, 70)`)
  await runRecorded(database, 'other', 'schedule', async () => ({}))
  assert.equal((await stateOf({ name: 'many', cron: '* * * * *' })).lastRun?.error, 'no')
  assert.ok((await stateOf({ name: 'many', cron: '* * * * *' })).lastSuccessAt)
  await runRecorded(database, 'many', 'schedule', async () => ({}))
  const rows = await db.query(sql`select 1 from job_runs where name = 'many'`)
  assert.equal(rows.length, 50)
})

test('the recount finds drift with the numbers, and puts it right when it is told to', async () => {
  const user = await server.user('drifter')
  const sif = makeSif({ seed: 'drift' })
  await user.push('drifter/demo/tool', 'v1', sif)
  assert.deepEqual((await server.appliance.recount()).drifted, [])
  await db.query(sql`
    update entities set used_bytes = used_bytes + 7, reserved_bytes = 11 where name = 'drifter'`)
  const { drifted, repaired } = await server.appliance.recount()
  assert.deepEqual(drifted, [
    {
      entity: 'drifter',
      usedBytes: sif.length + 7,
      countedUsedBytes: sif.length,
      reservedBytes: 11,
      countedReservedBytes: 0,
    },
  ])
  assert.equal(repaired, false)
  const [alarm] = (await listAlarms(db)).filter(({ name }) => name === 'quota-drift')
  assert.match(alarm?.message ?? '', new RegExp(`drifter has ${sif.length + 7} bytes as used`))
  assert.equal((await server.appliance.recount(hostOperator)).repaired, true)
  assert.deepEqual((await server.appliance.recount()).drifted, [])
  assert.deepEqual(
    (await listAlarms(db)).filter(({ name }) => name === 'quota-drift'),
    [],
  )
  const audited = await db.query(sql`select 1 from audit where action = 'quota.recount'`)
  assert.equal(audited.length, 1)
  await assertLedger(db)
})

test('the recount beside pushes and deletions never sees drift', async () => {
  const user = await server.user('busy')
  const over = new AbortController()
  const counting = (async () => {
    while (!over.signal.aborted) assert.deepEqual((await server.appliance.recount()).drifted, [])
  })()
  const workers = [0, 1].map(async (number) => {
    const sif = makeSif({ seed: `counted ${number}` })
    for (let turn = 0; turn < 8; turn += 1) {
      await user.push(`busy/demo/tool${number}`, 'v1', sif)
      await user.delete(`/v1/images/busy/demo/tool${number}:v1?arch=amd64`)
    }
  })
  await Promise.all(workers).finally(() => over.abort())
  await counting
})

test('the owner of a token is told once that it ends, by mail where the site has it', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'berth-mail-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const file = join(directory, 'mail')
  const options = {
    siteName: 'Example',
    publicUrl: server.url,
    mailCommand: ['/bin/sh', '-c', `cat >> '${file}'`],
  }
  const [told, early, odd] = [
    await server.user('told'),
    await server.user('early'),
    await server.user('odd'),
  ]
  await db.query(sql`update accounts set email = name || '@example.org' where name <> 'odd'`)
  await db.query(sql`
    update accounts set email = ${'x@example.org\nBcc: all@example.org'} where name = 'odd'`)
  const end = async (id: string | undefined, days: number): Promise<void> => {
    await db.query(sql`
      update tokens set expires_at = now() + make_interval(days => ${days}),
        issued_at = now() - interval '300 days' where id = ${id}`)
  }
  await end(told.credentials?.tokenId, 20)
  await end(odd.credentials?.tokenId, 20)
  await end(early.credentials?.tokenId, 40)
  const broken = { ...options, mailCommand: ['/bin/false'] }
  await assert.rejects(tellEndingTokens(database, broken), /could not be told/)
  assert.deepEqual(await tellEndingTokens(database, options), { told: 1, mailed: 1 })
  const mail = readFileSync(file, 'utf8')
  assert.match(
    mail,
    /^To: told@example\.org\nSubject: Your access token for Example ends on \d{4}-/,
  )
  assert.ok(mail.includes(told.credentials?.tokenId ?? '?'))
  assert.ok(!mail.includes(told.credentials?.token ?? '?') && !mail.includes('Bcc'))
  assert.deepEqual(await tellEndingTokens(database, options), { told: 0, mailed: 0 })
  const audited = await db.query<{ details: { account: string; mailed: boolean } }>(
    sql`select details from audit where action = 'token.ends-soon' order by id`,
  )
  assert.deepEqual(
    audited.map(({ details }) => [details.account, details.mailed]),
    [
      ['odd', false],
      ['told', true],
    ],
  )
})
