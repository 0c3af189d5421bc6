/** What runs by the clock. One run at a time on all processes, by an advisory lock. */
import cron from 'node-cron'
import type { ScheduledTask } from 'node-cron'

import type { Database } from './database.ts'
import type { Log } from './log.ts'

export interface Job {
  readonly name: string
  /** Five fields, UTC. */
  readonly cron: string
  readonly run: () => Promise<object>
}

export interface Schedule {
  stop(): Promise<void>
}

export function startSchedule(jobs: readonly Job[], database: Database, log: Log): Schedule {
  const tasks: ScheduledTask[] = jobs.map((job) =>
    cron.schedule(
      job.cron,
      async () => {
        try {
          await database.exclusively(`job ${job.name}`, async () => {
            log.info({ 'job.name': job.name, ...(await job.run()) }, 'job done')
          })
        } catch (error) {
          log.error({ err: error, 'job.name': job.name }, 'job failed')
        }
      },
      { name: job.name, timezone: 'UTC', noOverlap: true },
    ),
  )
  return {
    stop: async () => {
      await Promise.all(tasks.map(async (task) => await task.destroy()))
    },
  }
}
