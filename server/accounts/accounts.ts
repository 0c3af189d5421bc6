/** Accounts: who may sign in. The embedded default keeps them here with a password of their own. */
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { Failure, invalid, notFound } from '../failure.ts'
import { newId } from '../identifiers.ts'
import type { AccountActor, Actor } from './actor.ts'
import { audit } from './audit.ts'
import { checkPassword, hashPassword } from './password-hash.ts'

export interface AccountRow {
  readonly id: string
  readonly name: string
  readonly email: string
  readonly fullName: string
  readonly isAdmin: boolean
  readonly disabledAt: Date | null
  readonly createdAt: Date
}

/** Who speaks when a command on the host changes something: its caller may read the database. */
export const hostOperator: AccountActor = {
  kind: 'account',
  accountId: '0'.repeat(24),
  name: 'root@host',
  isAdmin: true,
  tokenId: undefined,
  address: 'local',
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
  if (!namePattern.test(account.name) || account.name.length > maxName) {
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
    const [row] = await tx.query(
      sql`update accounts set password_hash = ${hash} where name = ${name} returning 1`,
    )
    if (row === undefined) throw notFound('account', `There is no account "${name}".`)
    await audit(tx, actor, { action: 'account.password', target: name })
  })
}

export async function findAccount(db: Db, name: string): Promise<AccountRow | undefined> {
  const [row] = await listAccounts(db, name)
  return row
}

export async function findAccountById(db: Db, id: string): Promise<AccountRow | undefined> {
  const [row] = await db.query<AccountRow>(sql`
    select id, name, email, full_name as "fullName", is_admin as "isAdmin",
      disabled_at as "disabledAt", created_at as "createdAt"
    from accounts where id = ${id}`)
  return row
}

export async function listAccounts(db: Db, name?: string): Promise<AccountRow[]> {
  return await db.query<AccountRow>(sql`
    select id, name, email, full_name as "fullName", is_admin as "isAdmin",
      disabled_at as "disabledAt", created_at as "createdAt"
    from accounts where name = coalesce(${name ?? null}, name) order by name`)
}

/** Checks name and password; undefined for an unknown name, a wrong password, a disabled account. */
export async function signIn(
  database: Database,
  name: string,
  password: string,
  address: string,
): Promise<AccountActor | undefined> {
  // NUL cannot be in a name, and at the end of a password it would not change the key that scrypt
  // derives (HMAC pads with it): such a pair is nobody's.
  const possible = !name.includes('\0') && !password.includes('\0')
  const [row] = await database.query<{
    id: string
    name: string
    hash: string | null
    isAdmin: boolean
    disabled: boolean
  }>(sql`
    select id, name, password_hash as "hash", is_admin as "isAdmin",
      disabled_at is not null as "disabled"
    from accounts where name = ${possible ? name : ''}`)
  const right = await checkPassword(password.slice(0, maxPassword), row?.hash ?? undefined)
  if (row !== undefined && right && !row.disabled) {
    const { id, isAdmin } = row
    return { kind: 'account', accountId: id, name: row.name, isAdmin, tokenId: undefined, address }
  }
  const target = row?.name ?? 'unknown account'
  const reason = row === undefined ? 'unknown' : row.disabled ? 'disabled' : 'password'
  const nobody = { kind: 'anonymous', rejected: true, address } as const
  await audit(database, nobody, {
    action: 'account.sign-in',
    target,
    outcome: 'refused',
    details: { reason },
  })
  return undefined
}

async function hashNewPassword(password: string): Promise<string> {
  if (password.length >= minPassword && password.length <= maxPassword) {
    return await hashPassword(password)
  }
  throw invalid('account', `A password has ${minPassword} to ${maxPassword} characters.`)
}
