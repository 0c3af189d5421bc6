/** The accounts of people whom the site's directory or portal knows: made at their first sign-in. */
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { newId } from '../identifiers.ts'
import { directoryOperator, isAccountName } from './accounts.ts'
import { audit } from './audit.ts'
import type { DirectoryEntry } from './directory.ts'
import type { GroupSpaces } from './group-spaces.ts'
import { replaceMemberships, usableNames } from './groups.ts'

export interface DirectoryRules {
  /** Members of this group administrate the site; undefined: only local accounts do. */
  readonly adminGroup: string | undefined
  /** Only members of one of these may sign in; empty: everybody whom the directory knows. */
  readonly allowedGroups: readonly string[]
  readonly groupSpaces: GroupSpaces
}

export type Admission =
  | { readonly accountId: string }
  /** The password was right, so this message may be shown. */
  | { readonly reason: string; readonly message: string }

/** Finds the account of an entry by its immutable identifier, or makes it, and brings it up to date. */
export async function admitEntry(
  database: Database,
  provider: 'ldap' | 'portal',
  entry: DirectoryEntry,
  rules: DirectoryRules,
): Promise<Admission> {
  if (!isAllowed(entry, rules)) {
    return {
      reason: 'not in an allowed group',
      message: `${entry.name} may not use this service: ask the administrators to be let in.`,
    }
  }
  return await database.transaction(async (tx) => {
    const [known] = await tx.query<{ id: string; disabled: boolean }>(sql`
      select id, disabled_at is not null as "disabled" from accounts
      where provider = ${provider} and directory_id = ${entry.id} for update`)
    if (known?.disabled === true) {
      return {
        reason: 'disabled',
        message: `The account ${entry.name} is disabled here: ask the administrators.`,
      }
    }
    const admission = known ? { accountId: known.id } : await addEntry(tx, provider, entry, rules)
    if ('accountId' in admission) await refreshAccount(tx, admission.accountId, entry, rules)
    return admission
  })
}

export function isAllowed(entry: DirectoryEntry, rules: DirectoryRules): boolean {
  if (rules.allowedGroups.length === 0) return true
  const groups = usableNames(entry.groups)
  return rules.allowedGroups.some((allowed) => groups.includes(allowed.toLowerCase()))
}

/**
 * Takes over what the directory says now: groups and the administrator's role are replaced, a
 * suspension ends. The name stays what it was at the first sign-in, because images carry it.
 */
export async function refreshAccount(
  tx: Db,
  accountId: string,
  entry: DirectoryEntry,
  rules: DirectoryRules,
): Promise<void> {
  const isAdmin =
    rules.adminGroup !== undefined &&
    usableNames(entry.groups).includes(rules.adminGroup.toLowerCase())
  const [row] = await tx.query<{ name: string; wasAdmin: boolean; wasSuspended: boolean }>(sql`
    update accounts a set email = ${clean(entry.email)}, full_name = ${clean(entry.fullName)},
      is_admin = ${isAdmin}, suspended_at = null, suspended_reason = null
    from (select id, is_admin, suspended_at from accounts where id = ${accountId} for update) before
    where a.id = before.id
    returning a.name, before.is_admin as "wasAdmin",
      before.suspended_at is not null as "wasSuspended"`)
  if (row === undefined) return
  const { joined, left } = await replaceMemberships(tx, accountId, entry.groups)
  if (row.wasSuspended) {
    await audit(tx, directoryOperator, { action: 'account.restore', target: row.name })
  }
  if (joined.length > 0 || left.length > 0 || row.wasAdmin !== isAdmin) {
    const details = { joined, left, isAdmin }
    await audit(tx, directoryOperator, { action: 'account.groups', target: row.name, details })
  }
}

async function addEntry(
  tx: Db,
  provider: 'ldap' | 'portal',
  entry: DirectoryEntry,
  rules: DirectoryRules,
): Promise<Admission> {
  const { name } = entry
  if (!isAccountName(name)) {
    return {
      reason: 'a name that the library cannot have',
      message: `The name "${name}" cannot be that of a space in the library: ask the administrators.`,
    }
  }
  if (rules.groupSpaces.has(name)) {
    return {
      reason: 'the name of a group space',
      message: `"${name}" is the name of a group's space here: ask the administrators.`,
    }
  }
  const id = newId()
  const made = await tx.query(sql`
    insert into accounts (id, name, provider, directory_id)
    values (${id}, ${name}, ${provider}, ${entry.id}) on conflict do nothing returning 1`)
  if (made.length === 0) {
    // The same person signing in twice at once, or a login name that is somebody else's now.
    const [same] = await tx.query<{ id: string }>(sql`
      select id from accounts where provider = ${provider} and directory_id = ${entry.id}`)
    if (same !== undefined) return { accountId: same.id }
    return {
      reason: 'the name belongs to another account',
      message: `The name "${name}" belonged to somebody else here before you: ask the administrators (berthctl account rename).`,
    }
  }
  const details = { provider, directoryId: entry.id }
  await audit(tx, directoryOperator, { action: 'account.add', target: name, details })
  return { accountId: id }
}

/** Attributes end up in terminals and on pages. */
function clean(text: string): string {
  return text.replace(/[\p{Cc}\p{Cs}]/gu, '').slice(0, 255)
}
