/** Search by part of a name: repositories first (trigram index), then what belongs to them. */
import type { Viewer } from '../accounts/permissions.ts'
import { plannedAnew, sql } from '../database.ts'
import type { Db } from '../database.ts'
import { selectImages } from './images.ts'
import type { ImageRow } from './images.ts'
import type { Arch } from './names.ts'
import type { RepositoryPath } from './names.ts'
import { findRepository } from './places.ts'
import type { RepositoryRow } from './places.ts'
import { selectTags } from './tags.ts'
import type { TagRow } from './tags.ts'

export interface SearchQuery {
  /** Part of entity/collection/container, at least three characters, any case. */
  readonly value: string
  /** Any of these architectures; filters the images only. */
  readonly archs: readonly Arch[]
  readonly signed: boolean | undefined
  readonly encrypted: boolean | undefined
}

export interface SearchResult {
  readonly entities: readonly { readonly name: string; readonly description: string }[]
  readonly collections: readonly {
    readonly entity: string
    readonly name: string
    readonly description: string
    readonly private: boolean
  }[]
  readonly repositories: readonly {
    readonly repository: RepositoryRow
    readonly tags: readonly TagRow[]
  }[]
  readonly images: readonly ImageRow[]
}

/** More than this of each kind is not listed: a narrower word finds the rest. */
const limit = 100

export async function searchPlaces(
  db: Db,
  query: SearchQuery,
  viewer: Viewer,
): Promise<SearchResult> {
  const pattern = `%${query.value.toLowerCase().replace(/[\\%_]/g, '\\$&')}%`
  const entities = await db.query<SearchResult['entities'][number]>(
    plannedAnew(sql`
    select name, description from entities where name like ${pattern} order by name limit ${limit}`),
  )
  const collections = await db.query<SearchResult['collections'][number]>(
    plannedAnew(sql`
    select c."entity", c.name, c.description, c.private
    from collection_details c
    where c.name like ${pattern}
      and readable_by(c.private, c."ownerId", c.readers, ${viewer.principals}, ${viewer.isAdmin})
    order by c."entity", c.name limit ${limit}`),
  )
  const paths = await db.query<{ path: RepositoryPath }>(
    plannedAnew(sql`
    select r.path
    from repositories r join collection_details c on c.id = r.collection_id
    where r.path like ${pattern}
      and readable_by(c.private, c."ownerId", c.readers, ${viewer.principals}, ${viewer.isAdmin})
      and exists (select 1 from images i where i.repository_id = r.id and i.manifest_digest is not null)
    order by r.path limit ${limit}`),
  )
  const found = await Promise.all(paths.map(async ({ path }) => await describe(db, path)))
  const repositories = found.filter((one) => one !== undefined)
  return {
    entities,
    collections,
    repositories,
    images: repositories.flatMap(({ images }) => images.filter((image) => matches(image, query))),
  }
}

async function describe(db: Db, path: RepositoryPath) {
  const repository = await findRepository(db, path)
  if (repository === undefined) return undefined
  const tags = await selectTags(db, repository.id)
  return { repository, tags, images: await selectImages(db, repository.id) }
}

function matches(image: ImageRow, query: SearchQuery): boolean {
  return (
    (query.archs.length === 0 || query.archs.some((arch) => arch === image.arch)) &&
    (query.signed === undefined || query.signed === image.signed) &&
    (query.encrypted === undefined || query.encrypted === image.encrypted)
  )
}
