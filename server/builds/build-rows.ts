/** Builds: their rows, and the SQL that finds and lists them. The table is the queue. */
import { sql } from '../database.ts'
import type { Db } from '../database.ts'

export type BuildState = 'queued' | 'starting' | 'running' | 'succeeded' | 'failed' | 'cancelled'
export type FinalState = 'succeeded' | 'failed' | 'cancelled'

export interface BuildRow {
  readonly id: string
  readonly accountId: string
  readonly accountName: string
  readonly tokenId: string | null
  readonly state: BuildState
  /** Why it failed or was cancelled. */
  readonly reason: string
  readonly arch: string
  readonly definition: string
  readonly workingDir: string
  readonly buildArgs: Readonly<Record<string, string>>
  readonly contextId: string | null
  readonly targetPath: string
  readonly targetTag: string
  readonly ephemeral: boolean
  readonly submittedAt: Date
  readonly startedAt: Date | null
  readonly endedAt: Date | null
  readonly deletedAt: Date | null
  readonly builder: string | null
  readonly handle: string | null
  readonly attempts: number
  readonly cancelRequestedAt: Date | null
  readonly cancelReason: string
  readonly outputBytes: number
  readonly imageDigest: string | null
  readonly imageBytes: number | null
  readonly imageRemovedAt: Date | null
}

export interface NewBuild {
  readonly id: string
  readonly accountId: string
  readonly tokenId: string | null
  readonly arch: string
  readonly definition: string
  readonly workingDir: string
  readonly buildArgs: Readonly<Record<string, string>>
  readonly contextId: string | null
  readonly targetPath: string
  readonly targetTag: string
  readonly ephemeral: boolean
}

export async function insertBuild(tx: Db, build: NewBuild): Promise<void> {
  await tx.query(sql`
    insert into builds (id, account_id, token_id, arch, definition, working_dir, build_args,
      context_id, target_path, target_tag, ephemeral)
    values (${build.id}, ${build.accountId}, ${build.tokenId}, ${build.arch}, ${build.definition},
      ${build.workingDir}, ${JSON.stringify(build.buildArgs)}, ${build.contextId},
      ${build.targetPath}, ${build.targetTag}, ${build.ephemeral})`)
}

export async function findBuild(db: Db, id: string): Promise<BuildRow | undefined> {
  const [row] = await db.query<BuildRow>(sql`select b.* from build_details b where b.id = ${id}`)
  return row
}

export interface BuildFilter {
  /** Null: everybody's. */
  readonly accountId: string | null
  readonly from: Date | null
  readonly to: Date | null
  readonly includeDeleted: boolean
  /** Null: all. */
  readonly states?: readonly BuildState[] | null
  readonly limit: number
}

/** The newest first. */
export async function listBuilds(db: Db, filter: BuildFilter): Promise<BuildRow[]> {
  return await db.query<BuildRow>(sql`
    select b.* from build_details b
    where (${filter.accountId}::text is null or b."accountId" = ${filter.accountId})
      and (${filter.from}::timestamptz is null or b."submittedAt" >= ${filter.from})
      and (${filter.to}::timestamptz is null or b."submittedAt" <= ${filter.to})
      and (${filter.includeDeleted} or b."deletedAt" is null)
      and (${filter.states ?? null}::text[] is null or b.state = any(${filter.states ?? null}))
    order by b."submittedAt" desc, b.id limit ${filter.limit}`)
}

export interface BuildCounts {
  readonly builds: number
  readonly accounts: number
  readonly running: number
  readonly queued: number
}

export async function countBuilds(db: Db): Promise<BuildCounts> {
  const [row] = await db.query<BuildCounts>(sql`
    select count(*) as "builds", count(distinct account_id) as "accounts",
      count(*) filter (where state in ('starting', 'running')) as "running",
      count(*) filter (where state = 'queued') as "queued"
    from builds where deleted_at is null`)
  return row ?? { builds: 0, accounts: 0, running: 0, queued: 0 }
}

export async function countQueued(tx: Db, accountId: string): Promise<number> {
  const [row] = await tx.query<{ count: number }>(sql`
    select count(*) as "count" from builds where account_id = ${accountId} and state = 'queued'`)
  return row?.count ?? 0
}

/** A build in the queue, as far as its turn depends on it. */
export interface Waiting {
  readonly id: string
  readonly accountId: string
  readonly arch: string
}

/** In the order in which they were handed in. */
export async function listWaiting(db: Db): Promise<Waiting[]> {
  return await db.query<Waiting>(sql`
    select id, account_id as "accountId", arch from builds where state = 'queued'
    order by submitted_at, id`)
}

/** A build that has not ended, as a list of the queue shows it. */
export interface OpenBuild {
  readonly id: string
  readonly accountId: string
  readonly accountName: string
  readonly state: 'queued' | 'starting' | 'running'
  readonly arch: string
  readonly builder: string | null
  readonly submittedAt: Date
  readonly startedAt: Date | null
}

/** In the order in which they were handed in. */
export async function listOpen(db: Db): Promise<OpenBuild[]> {
  return await db.query<OpenBuild>(sql`
    select b.id, b.account_id as "accountId", a.name as "accountName", b.state, b.arch, b.builder,
      b.submitted_at as "submittedAt", b.started_at as "startedAt"
    from builds b join accounts a on a.id = b.account_id
    where b.ended_at is null order by b.submitted_at, b.id`)
}

/** What an account has had of the builders in the period, and has now. */
export interface Share {
  readonly accountId: string
  readonly active: number
  /** Of its ended and running builds, in the period. */
  readonly seconds: number
  /** The same, where each build that was started counts for a minute at least. */
  readonly weight: number
}

/** Of every account that waits, runs or has had something. */
export async function listShares(db: Db, periodHours: number): Promise<Share[]> {
  return await db.query<Share>(sql`
    with spans as (
      select account_id, ended_at is null as active,
        case when started_at is null then 0 else extract(epoch from coalesce(ended_at, now())
          - greatest(started_at, now() - make_interval(secs => ${periodHours * 3600}))) end as seconds
      from builds
      where attempts > 0 and state <> 'queued'
        and (ended_at is null or ended_at > now() - make_interval(secs => ${periodHours * 3600})))
    select account_id as "accountId", count(*) filter (where active) as "active",
      sum(seconds)::float8 as "seconds", sum(greatest(seconds, 60))::float8 as "weight"
    from spans group by account_id`)
}

/** A build that a builder has, with what supervision looks at. Ages are in seconds. */
export interface ActiveBuild {
  readonly id: string
  readonly accountId: string
  readonly state: 'starting' | 'running'
  readonly builder: string
  readonly handle: string | null
  readonly attempts: number
  readonly silentFor: number
  readonly runningFor: number
  readonly cancelledFor: number | null
  readonly cancelReason: string
  /** Whether its account and the token it was handed in with are still good. */
  readonly wanted: boolean
}

export async function listActive(db: Db): Promise<ActiveBuild[]> {
  return await db.query<ActiveBuild>(sql`
    select b.id, b.account_id as "accountId", b.state, b.builder, b.handle, b.attempts,
      extract(epoch from now() - b.heartbeat_at)::float8 as "silentFor",
      coalesce(extract(epoch from now() - b.started_at), 0)::float8 as "runningFor",
      extract(epoch from now() - b.cancel_requested_at)::float8 as "cancelledFor",
      b.cancel_reason as "cancelReason",
      a.disabled_at is null and a.suspended_at is null and t.revoked_at is null as "wanted"
    from builds b join accounts a on a.id = b.account_id left join tokens t on t.id = b.token_id
    where b.state in ('starting', 'running')
    order by b.submitted_at, b.id`)
}

/** Back into the queue, as if the attempt had not been made; one that was lost counts. */
export async function requeueBuild(
  tx: Db,
  attempt: {
    readonly id: string
    readonly attempts: number
    readonly handle: string | null
  },
  counts: boolean,
): Promise<boolean> {
  const [row] = await tx.query(sql`
    update builds set state = 'queued', builder = null, handle = null, job_token_hash = null,
      started_at = null, image_digest = null, image_bytes = null,
      attempts = attempts - ${counts ? 0 : 1}
    where id = ${attempt.id} and ended_at is null and state <> 'queued'
      and attempts = ${attempt.attempts} and handle is not distinct from ${attempt.handle}
    returning 1`)
  return row !== undefined
}

/** Queued builds of accounts that were closed, or whose token was revoked. */
export async function listUnwanted(db: Db): Promise<string[]> {
  const rows = await db.query<{ id: string }>(sql`
    select b.id from builds b join accounts a on a.id = b.account_id
      left join tokens t on t.id = b.token_id
    where b.state = 'queued'
      and (a.disabled_at is not null or a.suspended_at is not null or t.revoked_at is not null)`)
  return rows.map(({ id }) => id)
}
