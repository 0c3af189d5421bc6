import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import type { Actor } from './actor.ts'

export interface AuditEntry {
  /** noun.verb, such as image.push. */
  readonly action: string
  readonly target: string
  readonly outcome?: 'done' | 'refused'
  readonly details?: Readonly<Record<string, unknown>>
}

let failures = 0

/** Rows that this process could not write. */
export function auditFailures(): number {
  return failures
}

/** Called with the transaction of the change: what cannot be written down does not happen. */
export async function audit(db: Db, actor: Actor, entry: AuditEntry): Promise<void> {
  const who = actor.kind === 'account' ? actor : { accountId: null, name: null, tokenId: undefined }
  try {
    await db.query(sql`
      insert into audit
        (account_id, account_name, token_id, address, action, target, outcome, details)
      values (${who.accountId}, ${who.name}, ${who.tokenId ?? null}, ${actor.address},
        ${entry.action}, ${entry.target}, ${entry.outcome ?? 'done'},
        ${JSON.stringify(entry.details ?? {})})`)
  } catch (error) {
    failures += 1
    throw error
  }
}

export interface AuditRow {
  readonly id: number
  readonly at: Date
  readonly account: string | null
  readonly tokenId: string | null
  readonly address: string
  readonly action: string
  readonly target: string
  readonly outcome: 'done' | 'refused'
  readonly details: Readonly<Record<string, unknown>>
}

export interface AuditFilter {
  /** Who did it, or whom it was done to. */
  readonly account?: string | undefined
  /** noun.verb, or a noun for all its verbs. */
  readonly action?: string | undefined
  readonly target?: string | undefined
  readonly outcome?: 'done' | 'refused' | undefined
  readonly since?: Date | undefined
  readonly limit: number
}

/** The newest that match, oldest of them first. */
export async function listAudit(db: Db, filter: AuditFilter): Promise<AuditRow[]> {
  const { account = null, action = null, target = null, outcome = null, since = null } = filter
  const rows = await db.query<AuditRow>(sql`
    select id, at, account_name as "account", token_id as "tokenId", address, action, target,
      outcome, details
    from audit
    where (${account}::text is null or account_name = ${account} or target = ${account})
      and (${action}::text is null or action = ${action} or starts_with(action, ${action} || '.'))
      and (${target}::text is null or target = ${target} or starts_with(target, ${target} || '/'))
      and (${outcome}::text is null or outcome = ${outcome})
      and (${since}::timestamptz is null or at >= ${since})
    order by id desc limit ${filter.limit}`)
  return rows.toReversed()
}
