/** How much the spaces of accounts may hold, where that is not the default. */
import type { Actor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
import { requireAdministrator } from '../accounts/permissions.ts'
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { Failure } from '../failure.ts'
import { insertEntity } from './places.ts'

interface Owner {
  /** Of the account. */
  readonly id: string
  readonly name: string
}

export class SpaceQuotas {
  readonly #database: Database
  readonly #defaultBytes: number

  constructor(database: Database, defaultBytes: number) {
    this.#database = database
    this.#defaultBytes = defaultBytes
  }

  /** Bytes that an account's own space may hold, also before there is one. */
  async of(owner: Owner): Promise<number> {
    const [space] = await selectSpace(this.#database, owner)
    return space?.quotaBytes ?? this.#defaultBytes
  }

  /** The same for all accounts at once. */
  async ofAll(owners: readonly Owner[]): Promise<ReadonlyMap<string, number>> {
    const spaces = await this.#database.query<{ ownerId: string; quotaBytes: number | null }>(sql`
      select distinct on (e.owner_id) e.owner_id as "ownerId", e.quota_bytes as "quotaBytes"
      from entities e join accounts a on a.id = e.owner_id
      order by e.owner_id, (e.name = a.name) desc, e.id`)
    const own = new Map(spaces.map(({ ownerId, quotaBytes }) => [ownerId, quotaBytes]))
    return new Map(owners.map(({ id }) => [id, own.get(id) ?? this.#defaultBytes]))
  }

  /**
   * Acts with the next upload; one that is running has its bytes already. Below what is stored it
   * stops further pushes and removes nothing. With null the default holds again.
   */
  async set(actor: Actor, owner: Owner, quotaBytes: number | null): Promise<void> {
    const admin = requireAdministrator(actor)
    await this.#database.transaction(async (tx) => {
      const [known] = await selectSpace(tx, owner)
      const space = known ?? (await openSpace(tx, owner))
      await tx.query(sql`update entities set quota_bytes = ${quotaBytes} where id = ${space.id}`)
      const details = { quotaBytes, before: space.quotaBytes }
      await audit(tx, admin, { action: 'quota.set', target: space.name, details })
    })
  }
}

interface Space {
  readonly id: number
  readonly name: string
  readonly quotaBytes: number | null
}

/** The space of the account's name, or the one it had before it was renamed. */
async function selectSpace(db: Db, owner: Owner): Promise<Space[]> {
  return await db.query<Space>(sql`
    select id, name, quota_bytes as "quotaBytes" from entities where owner_id = ${owner.id}
    order by (name = ${owner.name}) desc, id limit 1`)
}

/** A space opens with its owner's first push, or here, so that there is something to set. */
async function openSpace(tx: Db, owner: Owner): Promise<Space> {
  const nobody = { groupId: null, quotaBytes: null }
  await insertEntity(tx, owner.name, { accountId: owner.id, ...nobody })
  const [space] = await selectSpace(tx, owner)
  if (space !== undefined) return space
  throw new Failure(
    'conflict',
    'entity',
    `The space "${owner.name}" is not ${owner.name}'s own: its quota cannot be set as a person's.`,
  )
}
