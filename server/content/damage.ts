/** Blobs whose file is gone or does not hold their bytes, and the alarm that names their images. */
import { clearAlarm, raiseAlarm } from '../alarms.ts'
import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import type { Digest } from './names.ts'

export type Fault = 'missing' | 'length' | 'content' | 'unreadable'

export interface DamagedBlob {
  readonly digest: Digest
  readonly size: number
  readonly fault: Fault
  /** Bytes of the file as it was found; null where there was none. */
  readonly foundBytes: number | null
  /** Below the store's quarantine directory. */
  readonly quarantinedAs: string | null
  readonly foundAt: Date
  /** entity/collection/container:tag, or @digest without a tag; sorted. */
  readonly images: readonly string[]
}

const alarm = 'damaged-blobs'
const namedInMessage = 10
const namedInDetails = 1000

export async function isDamaged(db: Db, digest: Digest): Promise<boolean> {
  const rows = await db.query(sql`select 1 from damaged_blobs where digest = ${digest}`)
  return rows.length > 0
}

export async function insertDamaged(
  tx: Db,
  damage: {
    readonly digest: Digest
    readonly fault: Fault
    readonly foundBytes: number | null
    readonly quarantinedAs: string | null
  },
): Promise<boolean> {
  const made = await tx.query(sql`
    insert into damaged_blobs (digest, fault, found_bytes, quarantined_as)
    values (${damage.digest}, ${damage.fault}, ${damage.foundBytes}, ${damage.quarantinedAs})
    on conflict (digest) do update
    set fault = excluded.fault, found_bytes = excluded.found_bytes,
      quarantined_as = excluded.quarantined_as
    where excluded.quarantined_as is not null
    returning 1`)
  return made.length > 0
}

/** The bytes are there again. */
export async function forgetDamage(tx: Db, digest: Digest): Promise<void> {
  const healed = await tx.query(sql`delete from damaged_blobs where digest = ${digest} returning 1`)
  if (healed.length > 0) await refreshDamageAlarm(tx)
}

/** Raises, rewords or clears it by what is damaged now. */
export async function refreshDamageAlarm(db: Db): Promise<void> {
  const damaged = await listDamaged(db)
  if (damaged.length === 0) return await clearAlarm(db, alarm)
  const images = [...new Set(damaged.flatMap((blob) => blob.images))].sort()
  const more = images.length - namedInMessage
  const named = images.slice(0, namedInMessage).join(', ') + (more > 0 ? ` and ${more} more` : '')
  const concerned = images.length === 0 ? 'No image needs them.' : `Images concerned: ${named}.`
  const files = damaged.length === 1 ? '1 stored file is' : `${damaged.length} stored files are`
  await raiseAlarm(db, {
    name: alarm,
    message: `${files} lost or damaged and not served any more. ${concerned} Pushing the same images again heals them; see berthctl scrub status.`,
    details: {
      digests: damaged.map(({ digest }) => digest),
      images: images.slice(0, namedInDetails),
    },
  })
}

export async function listDamaged(db: Db): Promise<DamagedBlob[]> {
  return await db.query<DamagedBlob>(sql`
    select x.digest, b.size, x.fault, x.found_bytes as "foundBytes",
      x.quarantined_as as "quarantinedAs", x.found_at as "foundAt",
      array(select distinct r.path || coalesce(':' || t.name, '@' || coalesce(m.sif_digest, m.digest))
        from manifest_blobs mb join repositories r on r.id = mb.repository_id
          join manifests m on m.repository_id = mb.repository_id and m.digest = mb.manifest_digest
          left join tags t on t.repository_id = m.repository_id and t.manifest_digest = m.digest
        where mb.blob_digest = x.digest order by 1) as "images"
    from damaged_blobs x join blobs b on b.digest = x.digest
    order by x.found_at, x.digest`)
}
