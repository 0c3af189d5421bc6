/** Library tags: (repository, tag, architecture) → image. */
import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import type { Arch, Digest, Tag } from './names.ts'

export interface TagRow {
  readonly name: Tag
  readonly arch: Arch
  readonly manifestDigest: Digest
  readonly imageDigest: Digest
  readonly updatedAt: Date
}

/** Oldest change first, so that a map built from it keeps the last set of each name. */
export async function selectTags(
  db: Db,
  repositoryId: number,
  filter: { name?: Tag } = {},
): Promise<TagRow[]> {
  return await db.query<TagRow>(sql`
    select t.name, t.arch, t.manifest_digest as "manifestDigest", i.digest as "imageDigest",
      t.updated_at as "updatedAt"
    from tags t join images i
      on i.repository_id = t.repository_id and i.manifest_digest = t.manifest_digest
    where t.repository_id = ${repositoryId} and t.name = coalesce(${filter.name ?? null}, t.name)
    order by t.updated_at, t.name, t.arch`)
}

/** Points the tag of this architecture to the image; the other architectures keep theirs. */
export async function setTagForArch(
  tx: Db,
  repositoryId: number,
  tag: { readonly name: Tag; readonly arch: string; readonly manifestDigest: Digest },
  updatedBy: string,
): Promise<void> {
  await tx.query(sql`
    insert into tags (repository_id, name, arch, manifest_digest, updated_by)
    values (${repositoryId}, ${tag.name}, ${tag.arch}, ${tag.manifestDigest}, ${updatedBy})
    on conflict (repository_id, name, arch) do update
    set manifest_digest = excluded.manifest_digest, updated_by = excluded.updated_by,
      updated_at = now()`)
}

/** Returns how many architectures of the tag were removed. */
export async function removeTag(
  tx: Db,
  repositoryId: number,
  name: Tag,
  arch: string | undefined,
): Promise<number> {
  const removed = await tx.query(sql`
    delete from tags
    where repository_id = ${repositoryId} and name = ${name} and arch = coalesce(${arch ?? null}, arch)
    returning 1`)
  return removed.length
}

export async function isTagged(
  tx: Db,
  repositoryId: number,
  manifestDigest: Digest,
): Promise<boolean> {
  const rows = await tx.query(sql`
    select 1 from tags where repository_id = ${repositoryId} and manifest_digest = ${manifestDigest}
    limit 1`)
  return rows.length > 0
}
