/** How much spaces may hold: each its own quota, or else the site's, or else the configured one. */
import type { Actor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
import type { GroupSpaces } from '../accounts/group-spaces.ts'
import { requireAdministrator } from '../accounts/permissions.ts'
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { Failure, notFound } from '../failure.ts'
import { insertEntity } from './places.ts'
import { defaultQuotaOf, lockEntity } from './quota.ts'

interface Owner {
  /** Of the account. */
  readonly id: string
  readonly name: string
}

export interface SpaceQuota {
  readonly space: string
  readonly owner: string | null
  readonly kind: 'user' | 'group' | 'site'
  readonly quotaBytes: number
  /** Null where the default holds. */
  readonly ownQuotaBytes: number | null
  readonly usedBytes: number
  /** Bytes that running uploads have taken. */
  readonly reservedBytes: number
}

export interface DefaultQuota {
  /** What holds for a space without a quota of its own. */
  readonly bytes: number
  readonly configuredBytes: number
  /** Null while the configuration decides. */
  readonly setBytes: number | null
}

export class SpaceQuotas {
  readonly #database: Database
  readonly #configuredBytes: number
  readonly #groupSpaces: GroupSpaces

  constructor(database: Database, configuredBytes: number, groupSpaces: GroupSpaces) {
    this.#database = database
    this.#configuredBytes = configuredBytes
    this.#groupSpaces = groupSpaces
  }

  /** Bytes that an account's own space may hold, also before there is one. */
  async of(owner: Owner): Promise<number> {
    const [space] = await selectOwned(this.#database, owner)
    return space?.quotaBytes ?? (await defaultQuotaOf(this.#database, this.#configuredBytes))
  }

  /** The same for all accounts at once. */
  async ofAll(owners: readonly Owner[]): Promise<ReadonlyMap<string, number>> {
    const spaces = await this.#database.query<{ ownerId: string; quotaBytes: number | null }>(sql`
      select distinct on (e.owner_id) e.owner_id as "ownerId", e.quota_bytes as "quotaBytes"
      from entities e join accounts a on a.id = e.owner_id
      order by e.owner_id, (e.name = a.name) desc, e.id`)
    const own = new Map(spaces.map(({ ownerId, quotaBytes }) => [ownerId, quotaBytes]))
    const usual = await defaultQuotaOf(this.#database, this.#configuredBytes)
    return new Map(owners.map(({ id }) => [id, own.get(id) ?? usual]))
  }

  /** All spaces, or one; by name. */
  async list(actor: Actor, name?: string): Promise<SpaceQuota[]> {
    requireAdministrator(actor)
    return await this.#database.query<SpaceQuota>(sql`
      select e.name as "space", e."ownerName" as "owner",
        case when e."ownedByGroup" then 'group' when e."ownerId" is null then 'site' else 'user' end
          as "kind",
        quota_of(e."ownQuotaBytes", ${this.#configuredBytes}) as "quotaBytes",
        e."ownQuotaBytes", e."usedBytes", e."reservedBytes"
      from entity_details e where e.name = coalesce(${name ?? null}, e.name) order by e.name`)
  }

  async default(actor: Actor): Promise<DefaultQuota> {
    requireAdministrator(actor)
    const [row] = await this.#database.query<{ setBytes: number | null }>(
      sql`select default_quota_bytes as "setBytes" from site_settings`,
    )
    const setBytes = row?.setBytes ?? null
    const configuredBytes = this.#configuredBytes
    return { bytes: setBytes ?? configuredBytes, configuredBytes, setBytes }
  }

  /** For all spaces without a quota of their own, from this moment on; null: the configuration's. */
  async setDefault(actor: Actor, bytes: number | null): Promise<void> {
    const admin = requireAdministrator(actor)
    await this.#database.transaction(async (tx) => {
      const [before] = await tx.query<{ setBytes: number | null }>(sql`
        update site_settings s set default_quota_bytes = ${bytes}
        from (select default_quota_bytes from site_settings for update) old
        returning old.default_quota_bytes as "setBytes"`)
      const details = { quotaBytes: bytes, before: before?.setBytes ?? null }
      await audit(tx, admin, { action: 'quota.set', target: '(default)', details })
    })
  }

  /**
   * Acts with the next upload; one that is running has its bytes already. Below what is stored it
   * stops further pushes and removes nothing. With null the default holds again.
   */
  async set(actor: Actor, owner: Owner, quotaBytes: number | null): Promise<void> {
    const admin = requireAdministrator(actor)
    await this.#database.transaction(async (tx) => {
      const [known] = await selectOwned(tx, owner)
      const space = known ?? (await openSpace(tx, owner))
      await this.#write(tx, admin, space, quotaBytes)
    })
  }

  /**
   * The same by the name of a space, an account, or with `kind` of a group: a space that is not there
   * yet is opened. For a group null is what [groups] gives it. Returns the name of the space.
   */
  async setByName(
    actor: Actor,
    target: { readonly name: string; readonly kind: 'any' | 'group' },
    quotaBytes: number | null,
  ): Promise<string> {
    const admin = requireAdministrator(actor)
    const { name, kind } = target
    return await this.#database.transaction(async (tx) => {
      const space = await this.#spaceNamed(tx, name, kind)
      const isGroups = space.groupId !== null
      const given = isGroups ? this.#groupSpaces.quotaOf(space.name) : null
      await this.#write(tx, admin, space, quotaBytes ?? given)
      return space.name
    })
  }

  async #write(
    tx: Db,
    admin: ReturnType<typeof requireAdministrator>,
    space: Space,
    quotaBytes: number | null,
  ): Promise<void> {
    await lockEntity(tx, space.id)
    await tx.query(sql`update entities set quota_bytes = ${quotaBytes} where id = ${space.id}`)
    const details = { quotaBytes, before: space.quotaBytes }
    await audit(tx, admin, { action: 'quota.set', target: space.name, details })
  }

  async #spaceNamed(tx: Db, name: string, kind: 'any' | 'group'): Promise<Space> {
    const [space] = await selectNamed(tx, name)
    if (space !== undefined && (kind === 'any' || space.groupId !== null)) return space
    if (kind === 'group' || this.#groupSpaces.has(name)) return await this.#groupSpace(tx, name)
    const [owner] = await tx.query<Owner>(sql`select id, name from accounts where name = ${name}`)
    if (owner === undefined) {
      throw notFound('entity', `There is no space and no account "${name}".`)
    }
    const [owned] = await selectOwned(tx, owner)
    return owned ?? (await openSpace(tx, owner))
  }

  async #groupSpace(tx: Db, name: string): Promise<Space> {
    const [group] = await tx.query<{ id: string }>(sql`select id from groups where name = ${name}`)
    if (group === undefined || !this.#groupSpaces.has(name)) {
      throw notFound(
        'group',
        group === undefined
          ? `There is no group "${name}" here: a group is known from the first sign-in of a member on.`
          : `The group "${name}" has no space: [groups] spaces in the configuration says which have one.`,
      )
    }
    await insertEntity(tx, name, {
      accountId: null,
      groupId: group.id,
      quotaBytes: this.#groupSpaces.quotaOf(name),
    })
    const [space] = await selectNamed(tx, name)
    if (space?.groupId === group.id) return space
    throw new Failure('conflict', 'entity', `The space "${name}" is not the group's.`)
  }
}

interface Space {
  readonly id: number
  readonly name: string
  readonly groupId: string | null
  readonly quotaBytes: number | null
}

/** The space of the account's name, or the one it had before it was renamed. */
async function selectOwned(db: Db, owner: Owner): Promise<Space[]> {
  return await db.query<Space>(sql`
    select id, name, owner_group_id as "groupId", quota_bytes as "quotaBytes"
    from entities where owner_id = ${owner.id}
    order by (name = ${owner.name}) desc, id limit 1`)
}

async function selectNamed(db: Db, name: string): Promise<Space[]> {
  return await db.query<Space>(sql`
    select id, name, owner_group_id as "groupId", quota_bytes as "quotaBytes"
    from entities where name = ${name}`)
}

/** A space opens with its owner's first push, or here, so that there is something to set. */
async function openSpace(tx: Db, owner: Owner): Promise<Space> {
  const nobody = { groupId: null, quotaBytes: null }
  await insertEntity(tx, owner.name, { accountId: owner.id, ...nobody })
  const [space] = await selectOwned(tx, owner)
  if (space !== undefined) return space
  throw new Failure(
    'conflict',
    'entity',
    `The space "${owner.name}" is not ${owner.name}'s own: its quota cannot be set as a person's.`,
  )
}
