/** Figures of what runs by the clock: jobs, the re-reading of the store, the recount, backups. */
import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import type { MetricSource, Sample } from './source.ts'

export function jobRows(database: Database): MetricSource {
  return {
    name: 'jobs',
    metrics: [
      {
        name: 'berth_job_last_success_timestamp_seconds',
        help: 'When the last run that worked began.',
        labels: ['job'],
      },
      {
        name: 'berth_job_failed',
        help: 'Whether the last run that has ended failed.',
        labels: ['job'],
      },
    ],
    read: async () => {
      const rows = await database.query<{ job: string; worked: number | null; failed: boolean }>(
        sql`select name as "job",
          extract(epoch from max(began_at) filter (where error is null and ended_at is not null))
            ::float8 as "worked",
          (array_agg(error is not null order by id desc)
            filter (where ended_at is not null))[1] as "failed"
          from job_runs group by name`,
      )
      return rows.flatMap(({ job, worked, failed }): Sample[] => [
        ...(worked === null
          ? []
          : [
              {
                metric: 'berth_job_last_success_timestamp_seconds',
                labels: { job },
                value: worked,
              },
            ]),
        { metric: 'berth_job_failed', labels: { job }, value: failed ? 1 : 0 },
      ])
    },
  }
}

export function scrubRow(database: Database): MetricSource {
  return {
    name: 'scrub',
    metrics: [
      {
        name: 'berth_scrub_last_pass_timestamp_seconds',
        help: 'When the store was last read again as a whole.',
      },
      { name: 'berth_scrub_read_bytes', help: 'Of the pass that is under way.' },
      { name: 'berth_blobs_damaged', help: 'Blobs that are lost or wrong, and are not served.' },
    ],
    read: async () => {
      const [row] = await database.query<{
        finished: number | null
        read: number
        damaged: number
      }>(sql`
        select extract(epoch from finished_at)::float8 as "finished", bytes_read as "read",
          (select count(*) from damaged_blobs) as "damaged"
        from scrub`)
      return [
        { metric: 'berth_scrub_read_bytes', value: row?.read ?? 0 },
        { metric: 'berth_blobs_damaged', value: row?.damaged ?? 0 },
        ...(typeof row?.finished === 'number'
          ? [{ metric: 'berth_scrub_last_pass_timestamp_seconds', value: row.finished }]
          : []),
      ]
    },
  }
}

/** What the last recount found; the alarm of it names the spaces. */
export function driftRow(database: Database): MetricSource {
  return {
    name: 'quota_drift',
    metrics: [
      { name: 'berth_quota_drifted_spaces', help: 'Spaces whose ledger the last recount refuted.' },
      { name: 'berth_quota_drift_bytes', help: 'By how much, all of them together.' },
    ],
    read: async () => {
      const [row] = await database.query<{ spaces: number; bytes: number }>(sql`
        select count(*) as "spaces",
          coalesce(sum(abs((one ->> 'usedBytes')::float8 - (one ->> 'countedUsedBytes')::float8)
            + abs((one ->> 'reservedBytes')::float8 - (one ->> 'countedReservedBytes')::float8)), 0)
            ::float8 as "bytes"
        from alarms, jsonb_array_elements(details -> 'drifted') one
        where name = 'quota-drift'`)
      return [
        { metric: 'berth_quota_drifted_spaces', value: row?.spaces ?? 0 },
        { metric: 'berth_quota_drift_bytes', value: row?.bytes ?? 0 },
      ]
    },
  }
}

export function backupRows(database: Database): MetricSource {
  return {
    name: 'backups',
    metrics: [
      {
        name: 'berth_backup_last_success_timestamp_seconds',
        help: 'When the last backup that is whole began.',
      },
      { name: 'berth_backup_last_failed', help: 'Whether the last backup that has ended failed.' },
    ],
    read: async () => {
      const [row] = await database.query<{ worked: number | null; failed: boolean | null }>(sql`
        select extract(epoch from max(started_at)
            filter (where outcome in ('complete', 'damaged')))::float8 as "worked",
          (array_agg(outcome = 'failed' order by ended_at desc)
            filter (where ended_at is not null))[1] as "failed"
        from backups`)
      return [
        ...(typeof row?.worked === 'number'
          ? [{ metric: 'berth_backup_last_success_timestamp_seconds', value: row.worked }]
          : []),
        { metric: 'berth_backup_last_failed', value: row?.failed === true ? 1 : 0 },
      ]
    },
  }
}
