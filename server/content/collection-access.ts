/** Private collections, and whom their owners let in. */
import type { Actor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
import { requirePermission } from '../accounts/permissions.ts'
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { invalid } from '../failure.ts'
import type { CollectionRow } from './places.ts'
import type { Registry } from './registry.ts'

export interface Access {
  readonly private: boolean
  /** Names of accounts and groups that may pull although the collection is private. */
  readonly accounts: readonly string[]
  readonly groups: readonly string[]
}

export class CollectionAccess {
  readonly #database: Database
  readonly #registry: Registry

  constructor(database: Database, registry: Registry) {
    this.#database = database
    this.#registry = registry
  }

  /** For those who may push there; others need not know who is let in. */
  async read(actor: Actor, entity: string, name: string): Promise<Access> {
    return await readAccess(this.#database, await this.#owned(actor, entity, name))
  }

  /** Replaces what was set. Whoever is not named any more is locked out with the next request. */
  async write(actor: Actor, entity: string, name: string, access: Access): Promise<Access> {
    const collection = await this.#owned(actor, entity, name)
    return await this.#database.transaction(async (tx) => {
      const readers = [
        ...(await principalsNamed(tx, 'account', access.accounts)),
        ...(await principalsNamed(tx, 'group', access.groups)),
      ]
      await tx.query(sql`
        update collections set private = ${access.private}, readers = ${readers}, updated_at = now()
        where id = ${collection.id}`)
      const target = `${entity}/${name}`
      await audit(tx, actor, { action: 'collection.access', target, details: { ...access } })
      return await readAccess(tx, collection)
    })
  }

  async #owned(actor: Actor, entity: string, name: string): Promise<CollectionRow> {
    const collection = await this.#registry.getCollection(actor, entity, name)
    requirePermission(actor, 'push', collection)
    return collection
  }
}

async function readAccess(db: Db, { id }: CollectionRow): Promise<Access> {
  const [row] = await db.query<Access>(sql`
    select c.private,
      array(select a.name from accounts a where a.id = any(c.readers) order by 1) as "accounts",
      array(select g.name from groups g where g.id = any(c.readers) order by 1) as "groups"
    from collections c where c.id = ${id}`)
  return row ?? { private: false, accounts: [], groups: [] }
}

/** A name that is not known would lock somebody out whom the owner believes to be let in. */
async function principalsNamed(
  tx: Db,
  kind: 'account' | 'group',
  names: readonly string[],
): Promise<string[]> {
  const wanted = [...new Set(names.map((name) => name.toLowerCase()))]
  const rows = await tx.query<{ id: string; name: string }>(
    kind === 'account'
      ? sql`select id, name from accounts where name = any(${wanted})`
      : sql`select id, name from groups where name = any(${wanted})`,
  )
  const found = new Set(rows.map(({ name }) => name))
  const missing = wanted.filter((name) => !found.has(name))
  if (missing.length > 0) {
    throw invalid(
      kind,
      `There is no ${kind} "${missing[0]}" here: ${kind === 'account' ? 'people are known from their first sign-in on' : 'a group is known from the first sign-in of a member on'}.`,
    )
  }
  return rows.map(({ id }) => id)
}
