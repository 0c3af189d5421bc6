/** What runs by the clock has run: rows, the alarm of a job that does not work, and who is late. */
import { clearAlarm, raiseAlarm } from './alarms.ts'
import { lastDue, nextDue } from './cron-times.ts'
import { sql } from './database.ts'
import type { Database, Db } from './database.ts'

export type Cause = 'schedule' | 'catch-up' | 'command'

/** A job as far as its times go; what it does is the schedule's business. */
export interface JobTimes {
  readonly name: string
  /** Five fields, UTC. */
  readonly cron: string
  /** A run that takes up to so long does not make the job late; usually half an hour. */
  readonly mayRunMinutes?: number
}

interface JobRun {
  readonly name: string
  readonly cause: Cause
  readonly beganAt: Date
  /** null while it runs. */
  readonly endedAt: Date | null
  readonly result: Readonly<Record<string, unknown>> | null
  /** For people; null for a run that worked. */
  readonly error: string | null
}

export interface JobState {
  readonly name: string
  readonly cron: string
  readonly lastRun: JobRun | undefined
  /** When the last run that worked began. */
  readonly lastSuccessAt: Date | undefined
  readonly nextDueAt: Date
  /** It has not worked for more than two of its times and a quarter of an hour. */
  readonly isLate: boolean
}

const runsKept = 50
const marginMs = 15 * 60_000
const maxError = 1000

/**
 * Runs the work under the job's advisory lock, which parts all processes, and writes the run down.
 * Returns undefined, without a row, where the job runs somewhere already. What the work throws is
 * written down, raises the job's alarm and is thrown on; the next run that works clears it.
 */
export async function runRecorded<Result extends object>(
  database: Database,
  name: string,
  cause: Cause,
  work: () => Promise<Result>,
): Promise<Result | undefined> {
  let result: Result | undefined
  await database.exclusively(`job ${name}`, async () => {
    // Nobody else runs it: what has no end was cut off with its process.
    await database.query(sql`
      update job_runs set ended_at = now(), error = 'The process ended before the job did.'
      where name = ${name} and ended_at is null`)
    const [row] = await database.query<{ id: number }>(
      sql`insert into job_runs (name, cause) values (${name}, ${cause}) returning id`,
    )
    try {
      result = await work()
    } catch (error) {
      await endRun(database, row?.id, null, messageOf(error))
      await raiseAlarm(database, {
        name: alarmOf(name),
        message: `The job "${name}" failed: ${messageOf(error)}`,
      })
      throw error
    }
    await endRun(database, row?.id, result, null)
    await clearAlarm(database, alarmOf(name))
    await forgetOldRuns(database, name)
  })
  return result
}

/** The last run of each job, when it is due next, and whether it is late: for people and metrics. */
export async function listJobs(
  db: Db,
  jobs: readonly JobTimes[],
  now = new Date(),
): Promise<JobState[]> {
  const rows = await db.query<JobRun & { readonly successAt: Date | null; firstAt: Date }>(sql`
    select distinct on (name) name, cause, began_at as "beganAt", ended_at as "endedAt", result,
      error,
      (select max(s.began_at) from job_runs s
        where s.name = r.name and s.ended_at is not null and s.error is null) as "successAt",
      (select min(s.began_at) from job_runs s where s.name = r.name) as "firstAt"
    from job_runs r order by name, id desc`)
  const known = new Map(rows.map((row) => [row.name, row]))
  return jobs.map(({ name, cron, mayRunMinutes = 30 }) => {
    const row = known.get(name)
    const base = { name, cron, nextDueAt: nextDue(cron, now) }
    if (row === undefined) {
      return { ...base, lastRun: undefined, lastSuccessAt: undefined, isLate: false }
    }
    const { successAt, firstAt, ...lastRun } = row
    const worked = successAt ?? undefined
    const runs = row.endedAt === null && minutesSince(row.beganAt, now) < mayRunMinutes
    const late = !runs && isLate(cron, worked ?? firstAt, now)
    return { ...base, lastRun, lastSuccessAt: worked, isLate: late }
  })
}

/** Raises an alarm for each job that is late. The run that works at last clears it. */
export async function raiseLate(
  db: Db,
  jobs: readonly JobTimes[],
  now = new Date(),
): Promise<readonly string[]> {
  const late = (await listJobs(db, jobs, now)).filter((job) => job.isLate)
  for (const { name, lastSuccessAt, lastRun } of late) {
    // A failure says more than that it is late.
    if (lastRun?.error) continue
    const since = lastSuccessAt ? `last worked at ${lastSuccessAt.toISOString()}` : 'never worked'
    await raiseAlarm(db, {
      name: alarmOf(name),
      message: `The job "${name}" is late: it ${since}.`,
    })
  }
  return late.map(({ name }) => name)
}

/**
 * Whether a time of the job has passed since its last run began. One that never ran was missed too,
 * except on a host where nothing ever ran: that has just been installed.
 */
export async function isMissed(
  db: Db,
  { name, cron }: JobTimes,
  now = new Date(),
): Promise<boolean> {
  const [row] = await db.query<{ beganAt: Date | null; isNew: boolean }>(sql`
    select max(began_at) filter (where name = ${name}) as "beganAt", count(*) = 0 as "isNew"
    from job_runs`)
  const beganAt = row?.beganAt ?? undefined
  return beganAt === undefined ? row?.isNew === false : beganAt < lastDue(cron, now)
}

function isLate(cron: string, worked: Date, now: Date): boolean {
  const due = lastDue(cron, now)
  const before = lastDue(cron, new Date(due.getTime() - 60_000))
  const intervalMs = due.getTime() - before.getTime()
  return now.getTime() - worked.getTime() > 2 * intervalMs + marginMs
}

function minutesSince(moment: Date, now: Date): number {
  return (now.getTime() - moment.getTime()) / 60_000
}

async function endRun(
  db: Db,
  id: number | undefined,
  result: object | null,
  error: string | null,
): Promise<void> {
  await db.query(sql`
    update job_runs set ended_at = now(), error = ${error},
      result = ${result === null ? null : JSON.stringify(result)}
    where id = ${id ?? 0}`)
}

/** The last fifty stay, and the last that worked. */
async function forgetOldRuns(db: Db, name: string): Promise<void> {
  await db.query(sql`
    delete from job_runs
    where name = ${name} and id not in (
        select id from job_runs where name = ${name} order by id desc limit ${runsKept})
      and id <> coalesce((select max(id) from job_runs
        where name = ${name} and ended_at is not null and error is null), 0)`)
}

function alarmOf(name: string): string {
  return `job ${name}`
}

function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).slice(0, maxError)
}
