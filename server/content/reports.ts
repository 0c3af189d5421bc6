/** What is stored, space by space: for administrators everything, for others what is theirs. */
import type { Actor } from '../accounts/actor.ts'
import { requireAccount, viewerOf } from '../accounts/permissions.ts'
import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import type { RepositoryPath } from './names.ts'

export interface EntityReport {
  readonly entity: string
  /** Bytes that count against its quota. */
  readonly sizeBytes: number
  readonly collections: number
}

export interface CollectionReport {
  readonly entity: string
  readonly collection: string
  /** Bytes of the distinct images in it. */
  readonly sizeBytes: number
  readonly repositories: number
}

export interface RepositoryReport {
  readonly path: RepositoryPath
  readonly entity: string
  readonly collection: string
  readonly repository: string
  readonly sizeBytes: number
  readonly images: number
}

export interface LibraryCounts {
  readonly entities: number
  readonly collections: number
  readonly repositories: number
  readonly images: number
}

export class LibraryReports {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async entities(actor: Actor): Promise<EntityReport[]> {
    const { principals, isAdmin } = viewerOf(requireAccount(actor))
    return await this.#database.query<EntityReport>(sql`
      select e.name as "entity", e."usedBytes" as "sizeBytes",
        (select count(*) from collections c where c.entity_id = e.id) as "collections"
      from entity_details e where ${isAdmin} or e."ownerId" = any(${principals})
      order by e.name`)
  }

  /**
   * Of readable images, how many have a signature of each key (or one that claims to be), by the
   * fingerprint of the key.
   */
  async imagesByKey(actor: Actor): Promise<ReadonlyMap<string, number>> {
    const { principals, isAdmin } = viewerOf(requireAccount(actor))
    const rows = await this.#database.query<{ fingerprint: string; count: number }>(sql`
      select w.fingerprint, count(*) as "count"
      from (select distinct digest, fingerprint from verdict_signers) w
        join image_details d on d.digest = w.digest
      where w.fingerprint is not null
        and readable_by(d.private, d."ownerId", d.readers, ${principals}, ${isAdmin})
      group by w.fingerprint`)
    return new Map(rows.map(({ fingerprint, count }) => [fingerprint, count]))
  }

  async collections(actor: Actor): Promise<CollectionReport[]> {
    const { principals, isAdmin } = viewerOf(requireAccount(actor))
    return await this.#database.query<CollectionReport>(sql`
      select c."entity", c.name as "collection",
        (select count(*) from repositories r where r.collection_id = c.id) as "repositories",
        (select coalesce(sum(size), 0) from (
          select distinct b.digest, b.size
          from repositories r join repository_blobs l on l.repository_id = r.id
            join blobs b on b.digest = l.digest
          where r.collection_id = c.id) distinct_blobs) as "sizeBytes"
      from collection_details c where ${isAdmin} or c."ownerId" = any(${principals})
      order by c."entity", c.name`)
  }

  async repositories(actor: Actor): Promise<RepositoryReport[]> {
    const { principals, isAdmin } = viewerOf(requireAccount(actor))
    return await this.#database.query<RepositoryReport>(sql`
      select r.path, r."entity", r."collection", r.name as "repository",
        (select count(*) from images i
          where i.repository_id = r.id and i.manifest_digest is not null) as "images",
        (select coalesce(sum(b.size), 0) from repository_blobs l join blobs b on b.digest = l.digest
          where l.repository_id = r.id) as "sizeBytes"
      from repository_details r where ${isAdmin} or r."ownerId" = any(${principals})
      order by r.path`)
  }

  /** How much there is of what the caller may see: what one may not see does not exist. */
  async counts(actor: Actor): Promise<LibraryCounts> {
    const { principals, isAdmin } = viewerOf(actor)
    const [row] = await this.#database.query<LibraryCounts>(sql`
      with readable as materialized (select c.id from collection_details c
        where readable_by(c.private, c."ownerId", c.readers, ${principals}, ${isAdmin}))
      select (select count(*) from entities) as "entities",
        (select count(*) from readable) as "collections",
        (select count(*) from repositories r join readable c on c.id = r.collection_id) as "repositories",
        (select count(*) from images i join repositories r on r.id = i.repository_id
          join readable c on c.id = r.collection_id
          where i.manifest_digest is not null) as "images"`)
    return row ?? { entities: 0, collections: 0, repositories: 0, images: 0 }
  }
}
