/** What should have happened by itself: jobs of the clock, backups; and the alarms that are open. */
import { listAlarms } from '../../server/alarms.ts'
import { sql } from '../../server/database.ts'
import { fault, skipped, warning } from './check.ts'
import type { Check } from './check.ts'
import { hasTable } from './database.ts'
import { isProduction } from './site.ts'
import type { SiteWithDatabase } from './site.ts'

/** The most frequent job runs each minute, and each waits for the one before. */
const jobsHours = 1
const usualHours = 26

export const upkeepChecks: readonly Check<SiteWithDatabase>[] = [
  {
    name: 'alarms',
    fix: 'Each says what is to be done; berthctl status shows them with their times.',
    run: async ({ database }) => {
      if (!(await hasTable(database, 'alarms'))) return skipped('the database is empty')
      const alarms = await listAlarms(database)
      return alarms.length === 0 ? undefined : fault(alarms.map(({ message }) => message).join(' '))
    },
  },
  {
    name: 'jobs-failed',
    fix: 'The words say why; the log of berth.service at that time says more.',
    run: async ({ database }) => {
      if (!(await hasTable(database, 'job_runs'))) return skipped('no runs are recorded')
      const rows = await database.query<{ name: string; error: string }>(sql`
        select name, error from (
          select distinct on (name) name, error from job_runs
          where ended_at is not null order by name, id desc) last
        where error is not null order by name`)
      if (rows.length === 0) return undefined
      return fault(rows.map(({ name, error }) => `${name}: ${error}`).join('; '))
    },
  },
  {
    name: 'jobs-late',
    fix: 'Look whether Berth runs (systemctl status berth): it runs its jobs itself.',
    run: async ({ database }) => {
      if (!(await hasTable(database, 'job_runs'))) return skipped('no runs are recorded')
      const [row] = await database.query<{ at: Date | null; isLate: boolean | null }>(sql`
        select max(began_at) as "at",
          max(began_at) < now() - make_interval(hours => ${jobsHours}) as "isLate"
        from job_runs`)
      if (row?.isLate !== true || row.at === null) return undefined
      return fault(`no job has run since ${row.at.toISOString()}`)
    },
  },
  {
    name: 'backup-age',
    fix: 'Set [backup] directory and enable berth-backup.timer; journalctl -u berth-backup tells how it went.',
    run: async (site) => {
      const { database, config } = site
      const hours = config.backup?.alarmHours ?? usualHours
      if (!(await hasTable(database, 'backups'))) return skipped('no backups are recorded')
      const [row] = await database.query<{ at: Date | null; isOld: boolean | null }>(sql`
        select max(started_at) as "at",
          max(started_at) < now() - make_interval(secs => ${hours * 3600}) as "isOld"
        from backups where outcome in ('complete', 'damaged')`)
      if (row?.at === null || row === undefined) {
        return isProduction(site) ? warning('there is no backup of this site') : undefined
      }
      return row.isOld === true ? fault(`the last backup is of ${row.at.toISOString()}`) : undefined
    },
  },
  {
    name: 'backup-failed',
    fix: 'The words say why; the one before it is still there.',
    run: async ({ database }) => {
      if (!(await hasTable(database, 'backups'))) return skipped('no backups are recorded')
      const [row] = await database.query<{ outcome: string; message: string }>(sql`
        select outcome, message from backups where ended_at is not null
        order by ended_at desc limit 1`)
      if (row === undefined || row.outcome === 'complete') return undefined
      return fault(`the last backup is ${row.outcome}: ${row.message}`)
    },
  },
]
