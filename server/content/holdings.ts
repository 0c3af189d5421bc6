/**
 * What is stored, for administrators: images and containers by what somebody looks for who needs
 * room, what the same bytes are kept as, and how much there is day by day.
 */
import type { Actor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
import { requireAdministrator } from '../accounts/permissions.ts'
import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import type { Artifacts } from './artifacts.ts'
import type { BlobStore } from './blob-store.ts'
import { parseRepository } from './names.ts'
import type { Digest, RepositoryName, RepositoryPath, Tag } from './names.ts'
import type { Registry } from './registry.ts'

export interface HoldingsFilter {
  /** Of the space: an account or a group. */
  readonly owner?: string | undefined
  readonly space?: string | undefined
  readonly repository?: string | undefined
  /** Arrived before this time. */
  readonly before?: Date | undefined
  /** Bytes, at least. */
  readonly largerThan?: number | undefined
  readonly neverPulled?: boolean | undefined
  /** Also images whose only signatures are known to be bad. */
  readonly unsigned?: boolean | undefined
  readonly order?: 'path' | 'oldest' | 'largest' | undefined
  readonly limit?: number | undefined
}

export interface StoredImage {
  readonly path: RepositoryPath
  readonly entity: string
  readonly owner: string | null
  readonly digest: Digest
  readonly tags: readonly Tag[]
  readonly arch: string
  readonly sizeBytes: number
  readonly uploadedAt: Date
  /** Of any of its manifests; null: never since Berth counts that. */
  readonly pulledAt: Date | null
  readonly signed: boolean
  readonly signatureState: string
}

export interface StoredRepository {
  readonly path: RepositoryPath
  readonly owner: string | null
  readonly private: boolean
  /** Of the distinct blobs in it. */
  readonly sizeBytes: number
  readonly images: number
  /** SIF images and all other things that a registry keeps. */
  readonly manifests: number
  readonly downloads: number
  readonly pulledAt: Date | null
  readonly updatedAt: Date
}

export interface Duplicate {
  readonly digest: Digest
  readonly sizeBytes: number
  readonly spaces: readonly string[]
  /** Containers whose image it is; empty for a layer and the like. */
  readonly images: readonly RepositoryPath[]
}

export interface DailyTotal {
  /** YYYY-MM-DD, UTC. */
  readonly day: string
  readonly storedBytes: number
  readonly chargedBytes: number
  readonly freeBytes: number
  readonly images: number
}

/** Longer than any forecast looks back. */
const keptDays = 730

export class Holdings {
  readonly #database: Database
  readonly #blobs: BlobStore
  readonly #registry: Registry
  readonly #artifacts: Artifacts

  constructor(database: Database, blobs: BlobStore, registry: Registry, artifacts: Artifacts) {
    this.#database = database
    this.#blobs = blobs
    this.#registry = registry
    this.#artifacts = artifacts
  }

  async images(actor: Actor, filter: HoldingsFilter): Promise<StoredImage[]> {
    requireAdministrator(actor)
    const { owner = null, space = null, repository = null, before = null } = filter
    const { largerThan = null, neverPulled = false, unsigned = false } = filter
    const { order = 'path', limit = null } = filter
    return await this.#database.query<StoredImage>(sql`
      select d.path, d.entity, d."ownerName" as "owner", d.digest, d.tags, d.arch, d."sizeBytes",
        d."uploadedAt", p.at as "pulledAt", s.signed, s."signatureState"
      from image_details d join image_signatures s on s.digest = d.digest
        cross join lateral (select max(m.pulled_at) as at from manifests m
          where m.repository_id = d."repositoryId" and m.sif_digest = d.digest) p
      where (${owner}::text is null or d."ownerName" = ${owner})
        and (${space}::text is null or d.entity = ${space})
        and (${repository}::text is null or d.path = ${repository})
        and (${before}::timestamptz is null or d."uploadedAt" < ${before})
        and (${largerThan}::bigint is null or d."sizeBytes" >= ${largerThan})
        and (not ${neverPulled} or p.at is null)
        and (not ${unsigned} or not s.signed)
      order by case when ${order} = 'oldest' then d."uploadedAt" end,
        case when ${order} = 'largest' then -d."sizeBytes" end, d.path, d.digest
      limit ${limit}`)
  }

  /** Deletes an image with its tags as its owner would: it can be restored for a while. */
  async deleteImage(
    actor: Actor,
    image: { readonly path: RepositoryPath; readonly digest: Digest },
  ): Promise<void> {
    requireAdministrator(actor)
    const reference = {
      kind: 'digest',
      repository: nameOf(image.path),
      digest: image.digest,
    } as const
    await this.#registry.deleteImage(actor, reference, undefined)
  }

  async repositories(
    actor: Actor,
    filter: Pick<HoldingsFilter, 'owner' | 'space' | 'repository' | 'order' | 'limit'>,
  ): Promise<StoredRepository[]> {
    requireAdministrator(actor)
    const { owner = null, space = null, repository = null, order = 'path', limit = null } = filter
    return await this.#database.query<StoredRepository>(sql`
      select r.path, r."ownerName" as "owner", r.private, s.bytes as "sizeBytes",
        (select count(*) from images i
          where i.repository_id = r.id and i.manifest_digest is not null) as "images",
        m.count as "manifests", r."downloadCount" as "downloads", m.pulled as "pulledAt",
        r."updatedAt"
      from repository_details r
        cross join lateral (select count(*) as count, max(pulled_at) as pulled from manifests
          where repository_id = r.id) m
        cross join lateral (select coalesce(sum(b.size), 0) as bytes
          from repository_blobs l join blobs b on b.digest = l.digest
          where l.repository_id = r.id) s
      where (${owner}::text is null or r."ownerName" = ${owner})
        and (${space}::text is null or r.entity = ${space})
        and (${repository}::text is null or r.path = ${repository})
        -- What was deleted can be restored into a container that is empty until then.
        and m.count > 0
      order by case when ${order} = 'oldest' then r."updatedAt" end,
        case when ${order} = 'largest' then -s.bytes end, r.path
      limit ${limit}`)
  }

  /**
   * Deletes all that a container holds, each with a row of its own in the audit log; what can be
   * restored brings the container back. Returns how many manifests went.
   */
  async deleteRepository(actor: Actor, path: RepositoryPath): Promise<number> {
    const admin = requireAdministrator(actor)
    const name = nameOf(path)
    let gone = 0
    // An index goes before what it names: a manifest that one needs could not go alone.
    for (;;) {
      const [manifest] = await this.#database.query<{ digest: Digest }>(sql`
        select m.digest from manifests m join repositories r on r.id = m.repository_id
        where r.path = ${path}
        order by (m.sif_digest is not null), (m.subject is not null) desc, m.created_at desc, m.digest
        limit 1`)
      if (manifest === undefined) break
      const { digest } = manifest
      await this.#artifacts.deleteManifest(admin, name, { kind: 'digest', digest })
      gone += 1
    }
    await audit(this.#database, admin, {
      action: 'repository.delete',
      target: path,
      details: { manifests: gone },
    })
    return gone
  }

  /** Blobs that more than one space is charged for; what costs most quota first. */
  async duplicates(
    actor: Actor,
    filter: { readonly space?: string | undefined; readonly limit: number },
  ): Promise<Duplicate[]> {
    requireAdministrator(actor)
    const { space = null, limit } = filter
    return await this.#database.query<Duplicate>(sql`
      select b.digest, b.size as "sizeBytes", array_agg(distinct e.name order by e.name) as "spaces",
        array(select r.path from images i join repositories r on r.id = i.repository_id
          where i.digest = b.digest and i.manifest_digest is not null order by r.path) as "images"
      from repository_blobs l join blobs b on b.digest = l.digest join entities e on e.id = l.entity_id
      group by b.digest, b.size
      having count(distinct l.entity_id) > 1
        and (${space}::text is null or bool_or(e.name = ${space}))
      order by b.size * (count(distinct l.entity_id) - 1) desc, b.digest limit ${limit}`)
  }

  /** Writes down how much there is today; the last count of a day stays. */
  async countDay(): Promise<DailyTotal> {
    const freeBytes = await this.#blobs.freeBytes()
    const [row] = await this.#database.query<DailyTotal>(sql`
      insert into daily_totals (day, stored_bytes, charged_bytes, free_bytes, images)
      select (now() at time zone 'utc')::date,
        (select coalesce(sum(size), 0) from blobs), (select coalesce(sum(used_bytes), 0) from entities),
        ${freeBytes}, (select count(*) from images where manifest_digest is not null)
      on conflict (day) do update set counted_at = now(), stored_bytes = excluded.stored_bytes,
        charged_bytes = excluded.charged_bytes, free_bytes = excluded.free_bytes,
        images = excluded.images
      returning day::text as "day", stored_bytes as "storedBytes", charged_bytes as "chargedBytes",
        free_bytes as "freeBytes", images`)
    await this.#database.query(
      sql`delete from daily_totals where day < (now() at time zone 'utc')::date - ${keptDays}::int`,
    )
    if (row === undefined) throw new Error('The day was not written down.')
    return row
  }

  /** The days of the last `days`, oldest first; days on which nothing ran are not there. */
  async days(actor: Actor, days: number): Promise<DailyTotal[]> {
    requireAdministrator(actor)
    return await this.#database.query<DailyTotal>(sql`
      select day::text as "day", stored_bytes as "storedBytes", charged_bytes as "chargedBytes",
        free_bytes as "freeBytes", images
      from daily_totals where day >= (now() at time zone 'utc')::date - ${days}::int order by day`)
  }

  /** As `countDay`, without writing it down. */
  async today(actor: Actor): Promise<Omit<DailyTotal, 'day'>> {
    requireAdministrator(actor)
    const freeBytes = await this.#blobs.freeBytes()
    const [row] = await this.#database.query<Omit<DailyTotal, 'day' | 'freeBytes'>>(sql`
      select (select coalesce(sum(size), 0) from blobs) as "storedBytes",
        (select coalesce(sum(used_bytes), 0) from entities) as "chargedBytes",
        (select count(*) from images where manifest_digest is not null) as "images"`)
    return { storedBytes: 0, chargedBytes: 0, images: 0, ...row, freeBytes }
  }
}

/** A path of the database is whole: no part of it is missing. */
function nameOf(path: string): RepositoryName {
  return parseRepository(path, { entity: '', collection: '' })
}
