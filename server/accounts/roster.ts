/**
 * The accounts, groups and roles of the site as its administrators see and change them. What the
 * site's directory decides is not changed here: it would be undone with the next sign-in.
 */
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { Failure, notFound } from '../failure.ts'
import { disableAccount, enableAccount } from './accounts.ts'
import type { AccountRow } from './accounts.ts'
import type { AccountActor, Actor } from './actor.ts'
import { audit } from './audit.ts'
import { findGroup, listGroups } from './groups.ts'
import type { GroupRow } from './groups.ts'
import { requireAccount, requireAdministrator } from './permissions.ts'

export interface Person extends AccountRow {
  /** Names of the directory's groups, sorted. */
  readonly groups: readonly string[]
}

export interface Group extends GroupRow {
  /** Whether its members administrate the site. */
  readonly administrates: boolean
}

export interface RosterStatistics {
  readonly accounts: number
  /** Number of accounts by who checks their password. */
  readonly byProvider: Readonly<Record<string, number>>
}

export class Roster {
  readonly #database: Database
  readonly #adminGroup: string | undefined

  /** `adminGroup` is the group of the directory whose members administrate the site. */
  constructor(database: Database, adminGroup: string | undefined) {
    this.#database = database
    this.#adminGroup = adminGroup?.toLowerCase()
  }

  async list(actor: Actor): Promise<Person[]> {
    requireAdministrator(actor)
    return await selectPeople(this.#database)
  }

  /** Everybody may see himself; others are for administrators. */
  async find(actor: Actor, id: string): Promise<Person> {
    if (requireAccount(actor).accountId !== id) requireAdministrator(actor)
    return await this.#person(id)
  }

  /** From the next request on nothing is done for an account that is not active; its images stay. */
  async setActive(actor: Actor, id: string, active: boolean): Promise<Person> {
    const admin = requireAdministrator(actor)
    const person = await this.#person(id)
    if (active) {
      await this.#activate(admin, person)
    } else {
      refuseOneself(admin, person, 'deactivate')
      await disableAccount(this.#database, admin, person.name)
    }
    return await this.#person(id)
  }

  async #activate(admin: AccountActor, person: Person): Promise<void> {
    if (person.suspendedAt !== null) {
      throw conflict(
        `${person.name} is ${person.suspendedReason ?? 'barred by the directory'}: the account is active again when the directory says so.`,
      )
    }
    await enableAccount(this.#database, admin, person.name)
  }

  /** Of local accounts only: the directory's administrators are the members of its group. */
  async setAdministrator(actor: Actor, id: string, isAdmin: boolean): Promise<Person> {
    const admin = requireAdministrator(actor)
    const person = await this.#person(id)
    if (person.provider !== 'local') {
      throw conflict(
        `${person.name} comes from the directory: administrators are the members of ${this.#adminGroup === undefined ? 'the group that [groups] admins names' : `its group ${this.#adminGroup}`}.`,
      )
    }
    // Whoever does this is an administrator and stays one: there is always somebody left.
    if (!isAdmin) refuseOneself(admin, person, 'take the role from')
    await this.#database.transaction(async (tx) => {
      const changed = await tx.query(sql`
        update accounts set is_admin = ${isAdmin}
        where id = ${id} and provider = 'local' and is_admin <> ${isAdmin} returning 1`)
      if (changed.length === 0) return
      const details = { isAdmin }
      await audit(tx, admin, { action: 'account.administrator', target: person.name, details })
    })
    return await this.#person(id)
  }

  /** Who belongs to a group is the directory's to say: throws what an administrator does instead. */
  async refuseMembershipChange(actor: Actor, id: string, groupName: string): Promise<never> {
    requireAdministrator(actor)
    const { name, provider } = await this.#person(id)
    const group = await this.group(actor, groupName)
    throw conflict(
      provider === 'local'
        ? `${name} is a local account, and groups are those of the site's directory: give the person an account there.`
        : `Groups come from the site's directory: change the members of ${group.name} there, and Berth takes it over by itself.`,
    )
  }

  /** The group that administrates is configured: throws what an administrator does instead. */
  async refuseGroupRoleChange(actor: Actor, groupName: string): Promise<never> {
    const { name } = await this.group(actor, groupName)
    throw conflict(
      `Whether the members of ${name} administrate the site is set in the configuration, as [groups] admins.`,
    )
  }

  async groups(actor: Actor): Promise<Group[]> {
    requireAdministrator(actor)
    const groups = await listGroups(this.#database)
    return groups.map((group) => this.#withRole(group))
  }

  async group(actor: Actor, name: string): Promise<Group> {
    requireAdministrator(actor)
    const group = await findGroup(this.#database, name.toLowerCase())
    if (group === undefined) {
      throw notFound(
        'group',
        `There is no group "${name}" here: a group is known from the first sign-in of a member on.`,
      )
    }
    return this.#withRole(group)
  }

  async statistics(actor: Actor): Promise<RosterStatistics> {
    requireAdministrator(actor)
    const rows = await this.#database.query<{ provider: string; accounts: number }>(sql`
      select provider, count(*) as "accounts" from accounts group by provider order by provider`)
    const byProvider = Object.fromEntries(rows.map((row) => [row.provider, row.accounts]))
    return { accounts: rows.reduce((sum, row) => sum + row.accounts, 0), byProvider }
  }

  async #person(id: string): Promise<Person> {
    const [person] = await selectPeople(this.#database, id)
    if (person === undefined) throw notFound('account', `There is no account with the ID ${id}.`)
    return person
  }

  #withRole(group: GroupRow): Group {
    return { ...group, administrates: group.name === this.#adminGroup }
  }
}

async function selectPeople(db: Db, id?: string): Promise<Person[]> {
  return await db.query<Person>(sql`
    select a.*, array(select g.name from memberships m join groups g on g.id = m.group_id
      where m.account_id = a.id order by g.name) as "groups"
    from account_details a where a.id = coalesce(${id ?? null}, a.id) order by a.name`)
}

function refuseOneself(admin: AccountActor, person: Person, verb: string): void {
  if (admin.accountId !== person.id) return
  throw conflict(`You cannot ${verb} yourself: another administrator can.`)
}

function conflict(message: string): Failure {
  return new Failure('conflict', 'account', message)
}
