/** Entities, collections and repositories: rows, and the SQL that finds, makes and lists them. */
import type { Viewer } from '../accounts/permissions.ts'
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { Failure } from '../failure.ts'
import { forgetAnnounced } from './images.ts'
import type { Digest, RepositoryName, RepositoryPath } from './names.ts'
import { lockEntity } from './quota.ts'

export interface EntityRow {
  readonly id: number
  readonly name: string
  /** An account or a group; null for a space of the site. */
  readonly ownerId: string | null
  readonly ownerName: string | null
  readonly ownedByGroup: boolean
  readonly description: string
  readonly usedBytes: number
  readonly reservedBytes: number
  readonly quotaBytes: number
  readonly createdAt: Date
  readonly updatedAt: Date
}

export interface CollectionRow {
  readonly id: number
  readonly entityId: number
  readonly entity: string
  readonly name: string
  readonly ownerId: string | null
  readonly ownerName: string | null
  readonly description: string
  readonly private: boolean
  /** Accounts and groups that may pull besides those of the owner. */
  readonly readers: readonly string[]
  readonly createdBy: string | null
  readonly createdAt: Date
  readonly updatedAt: Date
  /** Paths of its repositories, sorted. */
  readonly repositories: readonly RepositoryPath[]
  /** Bytes of the distinct images in it. */
  readonly sizeBytes: number
}

export interface RepositoryRow {
  readonly id: number
  readonly entityId: number
  readonly collectionId: number
  readonly path: RepositoryPath
  readonly entity: string
  readonly collection: string
  readonly name: string
  readonly ownerId: string | null
  readonly ownerName: string | null
  readonly private: boolean
  readonly readers: readonly string[]
  readonly description: string
  readonly fullDescription: string
  readonly downloadCount: number
  readonly sizeBytes: number
  readonly createdBy: string | null
  readonly createdAt: Date
  readonly updatedAt: Date
}

export async function findEntity(
  db: Db,
  name: string,
  defaultQuota: number,
): Promise<EntityRow | undefined> {
  const [row] = await listEntities(db, defaultQuota, name)
  return row
}

export async function listEntities(
  db: Db,
  defaultQuota: number,
  name?: string,
): Promise<EntityRow[]> {
  return await db.query<EntityRow>(sql`
    select e.*, quota_of(e."ownQuotaBytes", ${defaultQuota}) as "quotaBytes"
    from entity_details e
    where e.name = coalesce(${name ?? null}, e.name)
    order by e.name`)
}

/** Who owns a space, and what it may hold when that is not the default. */
export interface EntityOwner {
  readonly accountId: string | null
  readonly groupId: string | null
  readonly quotaBytes: number | null
}

/** Makes the entity unless it is there: two pushes may create the same name at the same time. */
export async function insertEntity(db: Db, name: string, owner: EntityOwner): Promise<boolean> {
  const made = await db.query(sql`
    insert into entities (name, owner_id, owner_group_id, quota_bytes)
    values (${name}, ${owner.accountId}, ${owner.groupId}, ${owner.quotaBytes})
    on conflict (name) do nothing returning 1`)
  return made.length > 0
}

export async function findCollection(
  db: Db,
  entity: string,
  name: string,
): Promise<CollectionRow | undefined> {
  const [row] = await selectCollections(db, entity, name, { principals: [], isAdmin: true })
  return row
}

export async function listCollections(
  db: Db,
  entity: string,
  viewer: Viewer,
): Promise<CollectionRow[]> {
  return await selectCollections(db, entity, null, viewer)
}

async function selectCollections(
  db: Db,
  entity: string,
  name: string | null,
  viewer: Viewer,
): Promise<CollectionRow[]> {
  return await db.query<CollectionRow>(sql`
    select c.*,
      (select coalesce(array_agg(r.path order by r.path), '{}')
        from repositories r where r.collection_id = c.id) as "repositories",
      (select coalesce(sum(size), 0) from (
        select distinct b.digest, b.size
        from repositories r join repository_blobs l on l.repository_id = r.id
          join blobs b on b.digest = l.digest
        where r.collection_id = c.id) distinct_blobs) as "sizeBytes"
    from collection_details c
    where c."entity" = ${entity} and c.name = coalesce(${name}, c.name)
      and readable_by(c.private, c."ownerId", c.readers, ${viewer.principals}, ${viewer.isAdmin})
    order by c.name`)
}

export async function insertCollection(
  db: Db,
  entity: string,
  name: string,
  options: { readonly private: boolean; readonly createdBy: string },
): Promise<boolean> {
  const made = await db.query(sql`
    insert into collections (entity_id, name, private, created_by)
    select id, ${name}, ${options.private}, ${options.createdBy} from entities where name = ${entity}
    on conflict (entity_id, name) do nothing returning 1`)
  return made.length > 0
}

export async function findRepository(
  db: Db,
  path: RepositoryPath,
): Promise<RepositoryRow | undefined> {
  const [row] = await db.query<RepositoryRow>(sql`
    select r.*,
      (select coalesce(sum(b.size), 0) from repository_blobs l join blobs b on b.digest = l.digest
        where l.repository_id = r.id) as "sizeBytes"
    from repository_details r
    where r.path = ${path}`)
  return row
}

/** The repositories of one collection; the caller has checked that it may be read. */
export async function listRepositories(db: Db, collectionId: number): Promise<RepositoryRow[]> {
  return await db.query<RepositoryRow>(sql`
    select r.*,
      (select coalesce(sum(b.size), 0) from repository_blobs l join blobs b on b.digest = l.digest
        where l.repository_id = r.id) as "sizeBytes"
    from repository_details r
    where r."collectionId" = ${collectionId}
    order by r.path`)
}

export async function insertRepository(
  db: Db,
  name: RepositoryName,
  options: { readonly description: string; readonly createdBy: string },
): Promise<boolean> {
  const made = await db.query(sql`
    insert into repositories (collection_id, entity_id, path, name, description, created_by)
    select c.id, e.id, ${name.path}, ${name.container}, ${options.description}, ${options.createdBy}
    from entities e join collections c on c.entity_id = e.id
    where e.name = ${name.entity} and c.name = ${name.collection}
    on conflict (path) do nothing returning 1`)
  return made.length > 0
}

const attempts = 5

/**
 * Runs work that makes names and then needs them. A broken push next door that made the same ones
 * may be removing them at that moment: then once more.
 */
export async function repeatIfRemoved<Result>(work: () => Promise<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work()
    } catch (error) {
      const removed =
        error instanceof Failure &&
        ((error.kind === 'conflict' && error.subject !== 'collection') ||
          (error.kind === 'not-found' && error.subject === 'repository'))
      if (!removed || attempt === attempts) throw error
    }
  }
}

/**
 * Removes the names that a push made before it failed: the announced image, and what is empty
 * without it. Not while somebody else is pushing there, who wants the names.
 */
export async function forgetPush(
  database: Database,
  repository: { readonly id: number; readonly entityId: number },
  digest: Digest,
): Promise<void> {
  try {
    await database.transaction(async (tx) => {
      await lockEntity(tx, repository.entityId)
      await forgetAnnounced(tx, repository.id, digest)
      await removeIfEmpty(tx, repository.id)
    })
  } catch (error) {
    if (!(error instanceof Failure) || error.kind !== 'conflict') throw error
  }
}

/**
 * Removes a repository that holds nothing and is in nobody's hands, and the collection and entity
 * above it when they are empty as well: what a refused push leaves is nothing.
 */
export async function removeIfEmpty(tx: Db, repositoryId: number): Promise<void> {
  const [row] = await tx.query<{ collectionId: number; entityId: number }>(sql`
    delete from repositories r
    where r.id = ${repositoryId}
      and not exists (select 1 from images i where i.repository_id = r.id)
      and not exists (select 1 from manifests m where m.repository_id = r.id)
      and not exists (select 1 from uploads u where u.repository_id = r.id)
      and not exists (select 1 from repository_blobs l where l.repository_id = r.id)
      and not exists (select 1 from deleted_images d where d.repository_id = r.id)
      and not exists (select 1 from retention_rules k where k.repository_id = r.id)
    returning collection_id as "collectionId", entity_id as "entityId"`)
  if (row === undefined) return
  // A private collection, a quota and a rule were set on purpose: they stay.
  await tx.query(sql`
    delete from collections c
    where c.id = ${row.collectionId} and not c.private
      and not exists (select 1 from repositories r where r.collection_id = c.id)
      and not exists (select 1 from retention_rules k where k.collection_id = c.id)`)
  await tx.query(sql`
    delete from entities e
    where e.id = ${row.entityId} and e.quota_bytes is null
      and not exists (select 1 from collections c where c.entity_id = e.id)
      and not exists (select 1 from uploads u where u.entity_id = e.id)
      and not exists (select 1 from retention_rules k where k.entity_id = e.id)`)
}
