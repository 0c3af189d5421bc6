/** Figures out of the tables. A statement each, which an index answers or which reads few rows. */
import { sql } from '../database.ts'
import type { Database, Statement } from '../database.ts'
import type { MetricSource, MetricText, Sample } from './source.ts'

/** One row; each column is the metric of its name, and null is none. */
function row(
  database: Database,
  name: string,
  metrics: readonly MetricText[],
  statement: () => Statement,
): MetricSource {
  return {
    name,
    metrics,
    read: async () => {
      const [found = {}] = await database.query<Record<string, unknown>>(statement())
      return metrics.flatMap(({ name }): Sample[] => {
        const value = found[name]
        return typeof value === 'number' ? [{ metric: name, value }] : []
      })
    },
  }
}

export function tokenRows(database: Database): MetricSource {
  const metrics = [
    { name: 'berth_tokens_live', help: 'Access tokens that work.' },
    { name: 'berth_tokens_expiring', help: 'Of these, those that end within 30 days.' },
  ]
  return row(
    database,
    'tokens',
    metrics,
    () => sql`
      select count(*) as "berth_tokens_live",
        count(*) filter (where expires_at < now() + interval '30 days') as "berth_tokens_expiring"
      from tokens where revoked_at is null and expires_at > now()`,
  )
}

export function uploadRows(database: Database): MetricSource {
  const metrics = [
    { name: 'berth_uploads_open', help: 'Uploads that were opened and have not ended.' },
    { name: 'berth_uploads_oldest_seconds', help: 'Age of the oldest of them; 0 without any.' },
    { name: 'berth_uploads_reserved_bytes', help: 'What the quotas hold ready for them.' },
  ]
  return row(
    database,
    'uploads',
    metrics,
    () => sql`
      select count(*) as "berth_uploads_open",
        coalesce(extract(epoch from now() - min(created_at)), 0)::float8
          as "berth_uploads_oldest_seconds",
        coalesce(sum(reserved_bytes), 0)::float8 as "berth_uploads_reserved_bytes"
      from uploads`,
  )
}

export function storeRows(database: Database): MetricSource {
  const metrics = [
    { name: 'berth_blobs', help: 'Blobs in the store.' },
    { name: 'berth_blob_bytes', help: 'Bytes of them.' },
    { name: 'berth_accounts', help: 'Accounts that are not disabled.' },
  ]
  return row(
    database,
    'store',
    metrics,
    () => sql`
      select count(*) as "berth_blobs", coalesce(sum(size), 0)::float8 as "berth_blob_bytes",
        (select count(*) from accounts where disabled_at is null) as "berth_accounts"
      from blobs`,
  )
}

export function buildRows(database: Database): MetricSource {
  const waiting = ['queued', 'starting', 'running']
  const ended = ['succeeded', 'failed', 'cancelled']
  return {
    name: 'builds',
    metrics: [
      { name: 'berth_builds', help: 'Builds that have not ended.', labels: ['state'] },
      { name: 'berth_builds_ended_last_day', help: 'Ended in 24 hours.', labels: ['state'] },
      { name: 'berth_build_queue_oldest_seconds', help: 'Of those queued; 0 without any.' },
      { name: 'berth_builders_resting', help: 'Builders whose self-test has failed.' },
      { name: 'berth_builder_hosts', help: 'Builder hosts that have a token.' },
      { name: 'berth_builder_hosts_silent', help: 'Of these, not heard of for two minutes.' },
    ],
    read: async () => {
      const counts = await database.query<{ state: string; count: number; oldest: number }>(sql`
        select state, count(*), extract(epoch from now() - min(submitted_at))::float8 as "oldest"
        from builds where ended_at is null or ended_at > now() - interval '1 day'
        group by state`)
      const [builders] = await database.query<{ resting: number; hosts: number; silent: number }>(
        sql`select (select count(*) from builder_rests) as "resting", count(*) as "hosts",
          count(*) filter (where heard_at is null or heard_at < now() - interval '2 minutes')
            as "silent"
          from builder_hosts`,
      )
      const of = (state: string) => counts.find((row) => row.state === state)
      const samples = (metric: string, states: readonly string[]): Sample[] =>
        states.map((state) => ({ metric, labels: { state }, value: of(state)?.count ?? 0 }))
      return [
        ...samples('berth_builds', waiting),
        ...samples('berth_builds_ended_last_day', ended),
        { metric: 'berth_build_queue_oldest_seconds', value: of('queued')?.oldest ?? 0 },
        { metric: 'berth_builders_resting', value: builders?.resting ?? 0 },
        { metric: 'berth_builder_hosts', value: builders?.hosts ?? 0 },
        { metric: 'berth_builder_hosts_silent', value: builders?.silent ?? 0 },
      ]
    },
  }
}

/**
 * Alarms by their kind. Those of one builder or one job have its name behind a blank, which the
 * message tells and a label need not.
 */
export function alarmRows(database: Database): MetricSource {
  return {
    name: 'alarms',
    metrics: [{ name: 'berth_alarms', help: 'Open alarms, by kind.', labels: ['alarm'] }],
    read: async () => {
      const rows = await database.query<{ alarm: string; count: number }>(sql`
        select split_part(name, ' ', 1) as "alarm", count(*) from alarms group by 1 order by 1`)
      return rows.map(({ alarm, count }) => ({
        metric: 'berth_alarms',
        labels: { alarm: alarm.replaceAll(/[^\w-]/g, '_').slice(0, 40) },
        value: count,
      }))
    },
  }
}

/** The database's clock against this host's, at the middle of the question. */
export function clockRow(database: Database): MetricSource {
  return {
    name: 'database_clock',
    metrics: [
      {
        name: 'berth_database_clock_skew_seconds',
        help: "How far the database's clock is ahead of this host's.",
      },
    ],
    read: async () => {
      const before = Date.now()
      const [found] = await database.query<{ now: Date }>(sql`select clock_timestamp() as "now"`)
      const middle = (before + Date.now()) / 2
      const value = ((found?.now.getTime() ?? middle) - middle) / 1000
      return [{ metric: 'berth_database_clock_skew_seconds', value }]
    },
  }
}
