/**
 * What runs by the clock. A job runs once on all processes (by an advisory lock), never beside
 * itself, a few seconds off its minute, and once for all the times that it missed.
 */
import { setTimeout } from 'node:timers/promises'

import cron from 'node-cron'
import type { ScheduledTask } from 'node-cron'

import type { Database } from './database.ts'
import { isMissed, raiseLate, runRecorded } from './job-runs.ts'
import type { Cause, JobTimes } from './job-runs.ts'
import type { Log } from './log.ts'

export interface Job extends JobTimes {
  /** Gets to know when the server closes; what it returns is kept as JSON. */
  readonly run: (closing: AbortSignal) => Promise<object>
}

export interface Schedule {
  stop(): Promise<void>
}

/** Several sites share a directory and a disk: not everything at the same second. */
const jitterMs = 20_000
const stopMs = 5000

export function startSchedule(jobs: readonly Job[], database: Database, log: Log): Schedule {
  const closing = new AbortController()
  const { signal } = closing
  const running = new Set<Promise<void>>()
  const run = async (job: Job, cause: Cause): Promise<void> => {
    if (signal.aborted) return
    const work = runJob(job, cause, { database, log, closing: signal })
    running.add(work)
    await work.finally(() => running.delete(work))
  }
  const tasks: ScheduledTask[] = jobs.map((job) => {
    const options = { name: job.name, timezone: 'UTC', noOverlap: true, maxRandomDelay: jitterMs }
    const task = cron.schedule(job.cron, async () => await run(job, 'schedule'), options)
    // The machine slept, or the clock was set: once for all that was missed.
    task.on('execution:missed', async () => {
      if (await isMissed(database, job).catch(() => false)) await run(job, 'catch-up')
    })
    return task
  })
  tasks.push(
    cron.schedule('*/5 * * * *', async () => {
      await raiseLate(database, jobs).catch((error: unknown) => {
        log.warn({ err: error }, 'nobody looked for late jobs')
      })
    }),
  )
  const caughtUp = (async () => {
    for (const job of await missedJobs(jobs, database, log)) {
      await setTimeout(Math.random() * 1000, undefined, { signal }).catch(() => {})
      await run(job, 'catch-up')
    }
  })()
  return {
    stop: async () => {
      closing.abort()
      await Promise.all(tasks.map(async (task) => await task.destroy()))
      const ended = Promise.allSettled([caughtUp, ...running])
      const timer = new AbortController()
      const late = setTimeout(stopMs, undefined, { signal: timer.signal }).catch(() => {})
      await Promise.race([ended, late])
      timer.abort()
    },
  }
}

/** Never throws: what went wrong is in the job's row, its alarm and the log. */
export async function runJob(
  job: Job,
  cause: Cause,
  parts: { readonly database: Database; readonly log: Log; readonly closing: AbortSignal },
): Promise<void> {
  const { database, log, closing } = parts
  try {
    const result = await runRecorded(database, job.name, cause, async () => await job.run(closing))
    if (result) log.info({ 'job.name': job.name, 'job.cause': cause, ...result }, 'job done')
  } catch (error) {
    log.error({ err: error, 'job.name': job.name, 'job.cause': cause }, 'job failed')
  }
}

/** Those of which a time has passed since they ran last. */
async function missedJobs(jobs: readonly Job[], database: Database, log: Log): Promise<Job[]> {
  const missed: Job[] = []
  for (const job of jobs) {
    const isDue = await isMissed(database, job).catch((error: unknown) => {
      log.warn({ err: error, 'job.name': job.name }, 'nobody knows whether a job was missed')
      return false
    })
    if (isDue) missed.push(job)
  }
  return missed
}
