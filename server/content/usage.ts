/** What spaces hold, for the people who may push there. */
import type { AccountActor } from '../accounts/actor.ts'
import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import { defaultQuotaOf } from './quota.ts'

export interface SpaceUsage {
  readonly entity: string
  readonly kind: 'user' | 'group'
  readonly usedBytes: number
  /** Bytes that running uploads have taken. */
  readonly reservedBytes: number
  readonly quotaBytes: number
  readonly repositories: number
}

/** The account's own space first, with zeros before its first push, then those of its groups. */
export async function usageOf(
  db: Db,
  account: AccountActor,
  defaultQuota: number,
): Promise<SpaceUsage[]> {
  const spaces = await db.query<SpaceUsage>(sql`
    select e.name as "entity", case when e."ownedByGroup" then 'group' else 'user' end as "kind",
      e."usedBytes", e."reservedBytes", quota_of(e."ownQuotaBytes", ${defaultQuota}) as "quotaBytes",
      (select count(*) from repositories r where r.entity_id = e.id) as "repositories"
    from entity_details e where e."ownerId" = any(${account.principals})
    order by e."ownedByGroup", e.name`)
  if (spaces.some(({ kind }) => kind === 'user')) return spaces
  const quotaBytes = await defaultQuotaOf(db, defaultQuota)
  const own = { entity: account.name, kind: 'user', quotaBytes } as const
  return [{ ...own, usedBytes: 0, reservedBytes: 0, repositories: 0 }, ...spaces]
}
