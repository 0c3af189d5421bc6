/** Accounts: who may sign in. The embedded default keeps them here with a password of their own. */
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { Failure, invalid, notFound } from '../failure.ts'
import { newId } from '../identifiers.ts'
import type { AccountActor, Actor } from './actor.ts'
import { audit } from './audit.ts'
import { hashPassword } from './password-hash.ts'

export interface AccountRow {
  readonly id: string
  readonly name: string
  /** Who checks the password. */
  readonly provider: 'local' | 'ldap' | 'portal'
  /** The directory's immutable identifier; null for a local account. */
  readonly directoryId: string | null
  readonly email: string
  readonly fullName: string
  readonly isAdmin: boolean
  /** By an administrator. */
  readonly disabledAt: Date | null
  /** By the directory, with the reason. */
  readonly suspendedAt: Date | null
  readonly suspendedReason: string | null
  readonly signedInAt: Date | null
  readonly createdAt: Date
}

/** Who speaks when a command on the host changes something: its caller may read the database. */
export const hostOperator: AccountActor = {
  kind: 'account',
  accountId: '0'.repeat(24),
  name: 'root@host',
  principals: [],
  isAdmin: true,
  scope: 'all',
  tokenId: undefined,
  tokenExpiresAt: undefined,
  address: 'local',
}

/** Who speaks when Berth takes over what the site's directory says. */
export const directoryOperator: AccountActor = {
  ...hostOperator,
  name: 'directory',
  address: 'directory',
}

/** Who speaks when the clock does something by a rule or because its time is over. */
export const housekeeper: AccountActor = {
  ...hostOperator,
  name: 'housekeeping',
  address: 'housekeeping',
}

// A name is also the name of a space in the library, so it has the grammar of one (content/names.ts).
const namePattern = /^[a-z0-9]+(?:[._-][a-z0-9]+)*$/
const maxName = 64
const minPassword = 8
const maxPassword = 1024

export async function addAccount(
  database: Database,
  actor: Actor,
  account: { readonly name: string; readonly password: string; readonly isAdmin?: boolean },
): Promise<AccountRow> {
  if (!isAccountName(account.name)) {
    throw invalid(
      'account',
      `"${account.name.slice(0, maxName)}" is not an account name: use lower-case letters and digits, with single ".", "_" or "-" between them.`,
    )
  }
  const hash = await hashNewPassword(account.password)
  const isAdmin = account.isAdmin ?? false
  return await database.transaction(async (tx) => {
    const [row] = await tx.query(sql`
      insert into accounts (id, name, password_hash, is_admin)
      values (${newId()}, ${account.name}, ${hash}, ${isAdmin})
      on conflict (name) do nothing returning 1`)
    if (row === undefined) {
      throw new Failure('conflict', 'account', `There is an account "${account.name}" already.`)
    }
    await audit(tx, actor, { action: 'account.add', target: account.name, details: { isAdmin } })
    const added = await findAccount(tx, account.name)
    if (added === undefined) throw notFound('account', 'The account was removed meanwhile.')
    return added
  })
}

export async function setPassword(
  database: Database,
  actor: Actor,
  name: string,
  password: string,
): Promise<void> {
  const hash = await hashNewPassword(password)
  await database.transaction(async (tx) => {
    const [row] = await tx.query(sql`
      update accounts set password_hash = ${hash}
      where name = ${name} and provider = 'local' returning 1`)
    if (row === undefined) throw notFound('account', `There is no local account "${name}".`)
    await audit(tx, actor, { action: 'account.password', target: name })
  })
}

/** Whether a space of the library can have this name. */
export function isAccountName(name: string): boolean {
  return namePattern.test(name) && name.length <= maxName
}

export async function findAccount(db: Db, name: string): Promise<AccountRow | undefined> {
  const [row] = await listAccounts(db, name)
  return row
}

export async function findAccountById(db: Db, id: string): Promise<AccountRow | undefined> {
  const [row] = await db.query<AccountRow>(sql`select a.* from account_details a where id = ${id}`)
  return row
}

export async function listAccounts(db: Db, name?: string): Promise<AccountRow[]> {
  return await db.query<AccountRow>(sql`
    select a.* from account_details a where name = coalesce(${name ?? null}, name) order by name`)
}

/** Ends what an account may do until `enableAccount`; its images stay. */
export async function disableAccount(
  database: Database,
  actor: Actor,
  name: string,
): Promise<void> {
  await setDisabled(database, actor, name, true)
}

export async function enableAccount(database: Database, actor: Actor, name: string): Promise<void> {
  await setDisabled(database, actor, name, false)
}

async function setDisabled(
  database: Database,
  actor: Actor,
  name: string,
  disabled: boolean,
): Promise<void> {
  await database.transaction(async (tx) => {
    const [row] = await tx.query<{ changed: boolean }>(sql`
      update accounts a set disabled_at = case when ${disabled} then coalesce(a.disabled_at, now()) end
      from (select id, disabled_at from accounts where name = ${name} for update) before
      where a.id = before.id
      returning (before.disabled_at is not null) <> ${disabled} as "changed"`)
    if (row === undefined) throw notFound('account', `There is no account "${name}".`)
    const action = disabled ? 'account.disable' : 'account.enable'
    if (row.changed) await audit(tx, actor, { action, target: name })
  })
}

async function hashNewPassword(password: string): Promise<string> {
  if (password.length >= minPassword && password.length <= maxPassword) {
    return await hashPassword(password)
  }
  throw invalid('account', `A password has ${minPassword} to ${maxPassword} characters.`)
}
