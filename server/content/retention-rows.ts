/** What rules keep and what they let go: rows and SQL. retention.ts has the verbs. */
import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import { parseManifest } from './manifest-document.ts'
import type { Digest, RepositoryPath, Tag } from './names.ts'

export interface RuleRow {
  readonly id: number
  readonly entityId: number
  /** entity, entity/collection or entity/collection/container. */
  readonly place: string
  readonly keepLast: number | null
  readonly pulledWithinDays: number | null
  readonly keepTagged: boolean
  readonly eachContainer: boolean
  readonly active: boolean
  readonly setAt: Date
}

/** The place of a rule, with whoever owns the space. */
export interface RulePlace {
  readonly entityId: number
  readonly collectionId: number | null
  readonly repositoryId: number | null
  readonly entity: string
  readonly ownerId: string | null
}

export interface DoomedImage {
  readonly repositoryId: number
  readonly path: RepositoryPath
  /** Of the SIF, or of the manifest where there is none. */
  readonly digest: Digest
  readonly manifests: readonly Digest[]
  readonly tags: readonly Tag[]
  readonly sizeBytes: number
  readonly arrivedAt: Date
  readonly pulledAt: Date | null
}

/** In the order of their places, of one space or of all. */
export async function selectRules(
  db: Db,
  filter: { readonly entityId?: number; readonly principals?: readonly string[] | undefined } = {},
): Promise<RuleRow[]> {
  return await db.query<RuleRow>(sql`
    select k.id, k.entity_id as "entityId",
      concat_ws('/', e.name, c.name, r.name) as "place", k.keep_last as "keepLast",
      k.pulled_within_days as "pulledWithinDays", k.keep_tagged as "keepTagged",
      k.each_container as "eachContainer", k.active, k.set_at as "setAt"
    from retention_rules k join entity_details e on e.id = k.entity_id
      left join collections c on c.id = k.collection_id
      left join repositories r on r.id = k.repository_id
    where k.entity_id = coalesce(${filter.entityId ?? null}, k.entity_id)
      and (${filter.principals ?? null}::text[] is null
        or e."ownerId" = any(${filter.principals ?? null}))
    order by e.name, c.name nulls first, r.name nulls first`)
}

/** Undefined where a part of the name is not there. */
export async function findPlace(
  db: Db,
  names: {
    readonly entity: string
    readonly collection: string | undefined
    readonly container: string | undefined
  },
): Promise<RulePlace | undefined> {
  const { entity, collection = null, container = null } = names
  const [row] = await db.query<RulePlace>(sql`
    select e.id as "entityId", c.id as "collectionId", r.id as "repositoryId", e.name as "entity",
      e."ownerId"
    from entity_details e
      left join collections c on c.entity_id = e.id and c.name = ${collection}
      left join repositories r on r.collection_id = c.id and r.name = ${container}
    where e.name = ${entity} and (${collection}::text is null or c.id is not null)
      and (${container}::text is null or r.id is not null)`)
  return row
}

/**
 * The images of a space that its rules let go at this moment, oldest first. The rules are those that
 * are active and, for a look beforehand, the one `including`; `only` leaves out what other rules let
 * go. An image that is part of an index which a client pushed stays with the index; what was attached
 * to a manifest stays with that.
 */
export async function selectDoomed(
  db: Db,
  entityId: number,
  options: {
    readonly including?: number
    readonly only?: number
    readonly limit: number
  },
): Promise<DoomedImage[]> {
  const parts = await partsOfIndexes(db, entityId)
  return await db.query<DoomedImage>(sql`
    with part as (
      select * from unnest(${parts.map((one) => one.repositoryId)}::bigint[],
        ${parts.map((one) => one.index)}::text[], ${parts.map((one) => one.part)}::text[])
        as p(repository_id, index, part)),
    governed as (
      select distinct on (r.id) r.id as repository_id, r.path, k.id as rule_id, k.keep_last,
        k.pulled_within_days, k.keep_tagged, k.each_container
      from repositories r join retention_rules k on k.entity_id = r.entity_id
        and (k.collection_id is null or k.collection_id = r.collection_id)
        and (k.repository_id is null or k.repository_id = r.id)
      where r.entity_id = ${entityId} and (k.active or k.id = ${options.including ?? null}::bigint)
      order by r.id, k.repository_id nulls last, k.collection_id nulls last),
    pulled as (
      select m.repository_id, m.digest, greatest(m.pulled_at, (
        select max(child.pulled_at) from part p join manifests child
          on child.repository_id = p.repository_id and child.digest = p.part
        where p.repository_id = m.repository_id and p.index = m.digest)) as at
      from manifests m join governed g on g.repository_id = m.repository_id),
    image as (
      select m.repository_id, coalesce(m.sif_digest, m.digest) as digest,
        array_agg(m.digest order by m.digest) as manifests,
        max(coalesce(i.uploaded_at, m.created_at)) as arrived_at, max(pulled.at) as pulled_at,
        bool_or(exists (select 1 from tags t
          where t.repository_id = m.repository_id and t.manifest_digest = m.digest)) as tagged
      from manifests m join governed g on g.repository_id = m.repository_id
        join pulled on pulled.repository_id = m.repository_id and pulled.digest = m.digest
        left join images i on i.repository_id = m.repository_id and i.digest = m.sif_digest
      where not m.composed and not exists (select 1 from manifests s
        where s.repository_id = m.repository_id and s.digest = m.subject)
      group by m.repository_id, coalesce(m.sif_digest, m.digest)
      having not bool_or(exists (select 1 from part p
        where p.repository_id = m.repository_id and p.part = m.digest))),
    ranked as (
      select image.*, g.path, g.rule_id, g.keep_last, g.pulled_within_days, g.keep_tagged,
        row_number() over (
        partition by g.rule_id, case when g.each_container then g.repository_id end
        order by image.arrived_at desc, image.digest) as place
      from image join governed g using (repository_id))
    select ranked.repository_id as "repositoryId", ranked.path, ranked.digest, ranked.manifests,
      (select coalesce(array_agg(distinct t.name order by t.name), '{}') from tags t
        where t.repository_id = ranked.repository_id
          and t.manifest_digest = any(ranked.manifests)) as "tags",
      (select coalesce(sum(b.size), 0) from blobs b where b.digest in (
        select mb.blob_digest from manifest_blobs mb
        where mb.repository_id = ranked.repository_id
          and mb.manifest_digest = any(ranked.manifests))) as "sizeBytes",
      ranked.arrived_at as "arrivedAt", ranked.pulled_at as "pulledAt"
    from ranked
    where (${options.only ?? null}::bigint is null or ranked.rule_id = ${options.only ?? null})
      and not (ranked.keep_tagged and ranked.tagged)
      and not coalesce(ranked.place <= ranked.keep_last, false)
      and not coalesce(greatest(ranked.arrived_at, ranked.pulled_at)
        > now() - make_interval(days => ranked.pulled_within_days), false)
    order by ranked.arrived_at, ranked.digest
    limit ${options.limit}`)
}

/** Which manifests the indexes name that clients pushed: the bytes say it, and no table does. */
async function partsOfIndexes(
  db: Db,
  entityId: number,
): Promise<{ readonly repositoryId: number; readonly index: Digest; readonly part: Digest }[]> {
  const indexes = await db.query<{
    readonly repositoryId: number
    readonly digest: Digest
    readonly mediaType: string
    readonly bytes: Buffer
  }>(sql`
    select m.repository_id as "repositoryId", m.digest, m.media_type as "mediaType", m.bytes
    from manifests m join repositories r on r.id = m.repository_id
    where r.entity_id = ${entityId} and m.config_digest is null and not m.composed`)
  return indexes.flatMap(({ repositoryId, digest, mediaType, bytes }) => {
    const { isIndex, parts } = parseManifest(bytes, mediaType)
    return isIndex ? parts.map((part) => ({ repositoryId, index: digest, part: part.digest })) : []
  })
}
