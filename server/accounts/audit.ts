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

/** Called with the transaction of the change: what cannot be written down does not happen. */
export async function audit(db: Db, actor: Actor, entry: AuditEntry): Promise<void> {
  const who = actor.kind === 'account' ? actor : { accountId: null, name: null, tokenId: undefined }
  await db.query(sql`
    insert into audit (account_id, account_name, token_id, address, action, target, outcome, details)
    values (${who.accountId}, ${who.name}, ${who.tokenId ?? null}, ${actor.address}, ${entry.action},
      ${entry.target}, ${entry.outcome ?? 'done'}, ${JSON.stringify(entry.details ?? {})})`)
}
