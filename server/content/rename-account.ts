/** Another name for an account and its space: a site gives login names to other people in time. */
import { isAccountName } from '../accounts/accounts.ts'
import type { AccountActor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import { Failure, invalid, notFound } from '../failure.ts'

/** Images keep their hashes and tags; references with the old name find nothing any more. */
export async function renameAccount(
  database: Database,
  actor: AccountActor,
  from: string,
  to: string,
): Promise<void> {
  if (!isAccountName(to)) throw invalid('account', `"${to}" is not an account name.`)
  await database.transaction(async (tx) => {
    const [taken] = await tx.query(sql`
      select 1 from accounts where name = ${to} union all
      select 1 from entities where name = ${to}`)
    if (taken !== undefined) throw new Failure('conflict', 'account', `"${to}" is taken already.`)
    const [account] = await tx.query<{ id: string }>(
      sql`update accounts set name = ${to} where name = ${from} returning id`,
    )
    if (account === undefined) throw notFound('account', `There is no account "${from}".`)
    const [entity] = await tx.query<{ id: number }>(sql`
      update entities set name = ${to}, updated_at = now()
      where name = ${from} and owner_id = ${account.id} returning id`)
    if (entity !== undefined) {
      await tx.query(sql`
        update repositories set path = ${to} || substr(path, ${from.length + 1})
        where entity_id = ${entity.id}`)
    }
    await audit(tx, actor, { action: 'account.rename', target: from, details: { to } })
  })
}
