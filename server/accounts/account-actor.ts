/** An account that acts while nobody is connected: what it has asked for before is done now. */
import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import type { AccountActor } from './actor.ts'

/** With the rights that the account has at this moment; undefined when it has none any more. */
export async function accountActor(
  db: Db,
  accountId: string,
  address: string,
): Promise<AccountActor | undefined> {
  const [row] = await db.query<Pick<AccountActor, 'name' | 'principals' | 'isAdmin'>>(sql`
    select name, principals_of(id) as "principals", is_admin as "isAdmin"
    from accounts where id = ${accountId} and disabled_at is null and suspended_at is null`)
  return (
    row && {
      kind: 'account',
      accountId,
      ...row,
      scope: 'all',
      tokenId: undefined,
      tokenExpiresAt: undefined,
      address,
    }
  )
}
