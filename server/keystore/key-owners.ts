/** Whose key it is, by the accounts that there are: rules of ownership.ts with their SQL. */
import type { AccountActor } from '../accounts/actor.ts'
import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import { denied, invalid } from '../failure.ts'
import type { Certificate, UserId } from './certificate.ts'
import { isNamed, namesIn } from './ownership.ts'
import type { Person } from './ownership.ts'

/** Failure unless the key names the account, and nobody else of the site. */
export async function requireOwn(
  tx: Db,
  account: AccountActor,
  certificate: Certificate,
): Promise<Person> {
  // Under a lock, so that two keys at once are counted one after the other.
  const [row] = await tx.query<Person>(sql`
    select name, email from accounts where id = ${account.accountId} for no key update`)
  const person = row ?? { name: account.name, email: '' }
  if (!liveUserIds(certificate).some(({ text }) => isNamed(text, person))) {
    const mail = person.email === '' ? '' : ` or your address <${person.email}>`
    throw invalid(
      'key',
      `No user ID of this key names you: put your account name "${person.name}"${mail} into one, for example "${person.name} (work) <${person.email || person.name}>".`,
    )
  }
  await requireNobodyElse(tx, person, certificate)
  return person
}

/** A key that carries somebody else's name or address anywhere would be found under it. */
export async function requireNobodyElse(
  tx: Db,
  owner: Person | undefined,
  certificate: Certificate,
): Promise<void> {
  const names = liveUserIds(certificate).flatMap(({ text, email }) => [
    ...Object.values(namesIn(text)),
    // What it is found by, which odd forms of user IDs may have in another place.
    ...(email === undefined ? [] : [email]),
  ])
  // People may have two accounts with one address.
  const own = new Set([owner?.name.toLowerCase(), owner?.email.toLowerCase()])
  const others = names.filter((name) => name !== '' && !own.has(name))
  const [other] = await tx.query<{ name: string }>(sql`
    select name from accounts
    where lower(name) = any(${others}) or lower(email) = any(${others}) limit 1`)
  if (other === undefined) return
  throw denied('key', `A user ID of this key names ${other.name}, whose key it is not.`)
}

export async function findPerson(db: Db, accountId: string): Promise<Person | undefined> {
  const [row] = await db.query<Person>(
    sql`select name, email from accounts where id = ${accountId}`,
  )
  return row
}

/** IDs of the accounts that have one of these names or addresses, which are in lower case. */
export async function peopleNamed(db: Db, names: readonly string[]): Promise<ReadonlySet<string>> {
  const wanted = names.filter((name) => name !== '')
  const rows = await db.query<{ id: string }>(sql`
    select id from accounts where lower(name) = any(${wanted}) or lower(email) = any(${wanted})`)
  return new Set(rows.map(({ id }) => id))
}

function liveUserIds({ userIds }: Certificate): readonly UserId[] {
  return userIds.filter(({ revoked }) => !revoked)
}
