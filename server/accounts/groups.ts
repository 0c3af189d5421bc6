/** Groups of the directory and who belongs to them. */
import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import { newId } from '../identifiers.ts'

export interface GroupRow {
  readonly id: string
  readonly name: string
  readonly createdAt: Date
  /** Names of accounts, sorted. */
  readonly members: readonly string[]
}

/** Names of more groups than this, or longer ones, are left out. */
const maxGroups = 2000
const maxName = 255

export async function findGroup(db: Db, name: string): Promise<GroupRow | undefined> {
  const [row] = await listGroups(db, name)
  return row
}

export async function listGroups(db: Db, name?: string): Promise<GroupRow[]> {
  return await db.query<GroupRow>(sql`
    select g.id, g.name, g.created_at as "createdAt",
      array(select a.name from memberships m join accounts a on a.id = m.account_id
        where m.group_id = g.id order by a.name) as "members"
    from groups g where g.name = coalesce(${name ?? null}, g.name) order by g.name`)
}

/** Names of the groups that an account belongs to, sorted. */
async function groupsOf(db: Db, accountId: string): Promise<string[]> {
  const rows = await db.query<{ name: string }>(sql`
    select g.name from memberships m join groups g on g.id = m.group_id
    where m.account_id = ${accountId} order by g.name`)
  return rows.map(({ name }) => name)
}

export interface MembershipChange {
  readonly joined: readonly string[]
  readonly left: readonly string[]
}

/** From now on the account belongs to these groups and to no other. */
export async function replaceMemberships(
  tx: Db,
  accountId: string,
  names: readonly string[],
): Promise<MembershipChange> {
  const wanted = usableNames(names)
  const before = await groupsOf(tx, accountId)
  const joined = wanted.filter((name) => !before.includes(name))
  const left = before.filter((name) => !wanted.includes(name))
  for (const name of joined) {
    await tx.query(
      sql`insert into groups (id, name) values (${newId()}, ${name}) on conflict (name) do nothing`,
    )
  }
  await tx.query(sql`
    insert into memberships (account_id, group_id)
    select ${accountId}, id from groups where name = any(${joined}) on conflict do nothing`)
  await tx.query(sql`
    delete from memberships where account_id = ${accountId}
      and group_id in (select id from groups where name = any(${left}))`)
  return { joined, left }
}

/** Lower-cased, because names of spaces are; each once. */
export function usableNames(names: readonly string[]): string[] {
  const usable = names
    .map((name) => name.normalize('NFC').toLowerCase())
    .filter((name) => name !== '' && name.length <= maxName && !/\p{Cc}|\p{Cs}/u.test(name))
  return [...new Set(usable)].sort().slice(0, maxGroups)
}
