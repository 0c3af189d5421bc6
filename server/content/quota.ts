/**
 * The quota ledger. For every entity, at every commit:
 *
 *   used     = sum of the sizes of the distinct blobs that its repositories link to,
 *              and of the bytes that its manifests are charged
 *   reserved = sum of reserved_bytes of its open uploads
 *   used + reserved ≤ quota, except where an administrator lowered the quota below what was used
 *
 * All changes go through the entity's row, whose lock orders them: two uploads can never both take
 * the last byte. Only this file writes used_bytes and reserved_bytes.
 */
import { sql } from '../database.ts'
import type { Db } from '../database.ts'
import { Failure } from '../failure.ts'
import type { Digest } from './names.ts'

export interface Ledger {
  readonly quotaBytes: number
  readonly usedBytes: number
  readonly reservedBytes: number
}

/**
 * Every transaction that changes what an entity holds takes this lock first, before that of any
 * image or blob: with one order there is no deadlock. Inserting rows below the entity goes on.
 */
export async function lockEntity(tx: Db, entityId: number): Promise<void> {
  await tx.query(sql`select 1 from entities where id = ${entityId} for no key update`)
}

/** Takes `size` bytes out of what is free, or throws `over-quota` with the numbers. */
export async function reserve(
  tx: Db,
  entityId: number,
  size: number,
  defaultQuota: number,
): Promise<void> {
  const taken = await tx.query(sql`
    update entities set reserved_bytes = reserved_bytes + ${size}
    where id = ${entityId}
      and used_bytes + reserved_bytes + ${size} <= quota_of(quota_bytes, ${defaultQuota})
    returning 1`)
  if (taken.length === 0) throw overQuota(await readLedger(tx, entityId, defaultQuota), size)
}

export async function release(tx: Db, entityId: number, size: number): Promise<void> {
  await tx.query(
    sql`update entities set reserved_bytes = reserved_bytes - ${size} where id = ${entityId}`,
  )
}

/**
 * Lets a repository serve a blob and charges its entity, once however many repositories link it.
 * `paidBy` bytes of a reservation are given back in the same step; without one the blob must fit.
 */
export async function link(
  tx: Db,
  place: { readonly entityId: number; readonly repositoryId: number },
  blob: { readonly digest: Digest; readonly size: number },
  terms: { readonly reservedBytes: number; readonly defaultQuota: number },
): Promise<void> {
  const { entityId, repositoryId } = place
  const { digest, size } = blob
  await lockEntity(tx, entityId)
  // Before the reference to it, which takes a weaker lock: two that made theirs stronger afterwards
  // would wait for each other as soon as the sweep waits between them.
  const [kept] = await tx.query(
    sql`update blobs set condemned_at = null where digest = ${digest} returning 1`,
  )
  if (kept === undefined) {
    throw new Failure('conflict', 'blob', 'The bytes were removed at this moment: push them again.')
  }
  const [charged] = await tx.query(
    sql`select 1 from repository_blobs where entity_id = ${entityId} and digest = ${digest} limit 1`,
  )
  const charge = charged === undefined ? size : 0
  const paid = charge <= terms.reservedBytes
  const done = await tx.query(sql`
    update entities
    set used_bytes = used_bytes + ${charge}, reserved_bytes = reserved_bytes - ${terms.reservedBytes}
    where id = ${entityId}
      and (${paid} or used_bytes + reserved_bytes - ${terms.reservedBytes} + ${charge}
        <= quota_of(quota_bytes, ${terms.defaultQuota}))
    returning 1`)
  if (done.length === 0) throw overQuota(await readLedger(tx, entityId, terms.defaultQuota), size)
  await tx.query(sql`
    insert into repository_blobs (repository_id, entity_id, digest)
    values (${repositoryId}, ${entityId}, ${digest})
    on conflict do nothing`)
}

/** Ends the right to serve a blob; the bytes are given back when no repository of the entity has it. */
export async function unlink(
  tx: Db,
  place: { readonly entityId: number; readonly repositoryId: number },
  digest: Digest,
): Promise<void> {
  const { entityId, repositoryId } = place
  await lockEntity(tx, entityId)
  const [removed] = await tx.query<{ size: number }>(sql`
    delete from repository_blobs link using blobs
    where link.repository_id = ${repositoryId} and link.digest = ${digest}
      and blobs.digest = link.digest
    returning blobs.size`)
  if (removed === undefined) return
  // The grace time begins anew, whatever a sweep thought of the blob before.
  await tx.query(sql`update blobs set condemned_at = null where digest = ${digest}`)
  await tx.query(sql`
    update entities set used_bytes = used_bytes - ${removed.size}
    where id = ${entityId} and not exists (
      select 1 from repository_blobs where entity_id = ${entityId} and digest = ${digest})`)
}

/** Charges the entity for bytes that are kept in the database: a manifest that a client pushed. */
export async function charge(
  tx: Db,
  entityId: number,
  size: number,
  defaultQuota: number,
): Promise<void> {
  const taken = await tx.query(sql`
    update entities set used_bytes = used_bytes + ${size}
    where id = ${entityId}
      and used_bytes + reserved_bytes + ${size} <= quota_of(quota_bytes, ${defaultQuota})
    returning 1`)
  if (taken.length === 0) throw overQuota(await readLedger(tx, entityId, defaultQuota), size)
}

export async function credit(tx: Db, entityId: number, size: number): Promise<void> {
  await tx.query(sql`update entities set used_bytes = used_bytes - ${size} where id = ${entityId}`)
}

/** After a restore: the bytes of uploads that were open when the backup was made are in none. */
export async function endAllUploads(tx: Db): Promise<void> {
  await tx.query(sql`delete from uploads`)
  await tx.query(sql`update entities set reserved_bytes = 0 where reserved_bytes <> 0`)
}

/** What a recount found (recount.ts), under the entity's lock. */
export async function correctLedger(
  tx: Db,
  entityId: number,
  counted: { readonly usedBytes: number; readonly reservedBytes: number },
): Promise<void> {
  await tx.query(sql`
    update entities
    set used_bytes = ${counted.usedBytes}, reserved_bytes = ${counted.reservedBytes}
    where id = ${entityId}`)
}

export async function readLedger(db: Db, entityId: number, defaultQuota: number): Promise<Ledger> {
  const [row] = await db.query<Ledger>(sql`
    select quota_of(quota_bytes, ${defaultQuota}) as "quotaBytes", used_bytes as "usedBytes",
      reserved_bytes as "reservedBytes"
    from entities where id = ${entityId}`)
  return row ?? { quotaBytes: defaultQuota, usedBytes: 0, reservedBytes: 0 }
}

/** Bytes of a space that has no quota of its own: the site's row, or else the configuration. */
export async function defaultQuotaOf(db: Db, configured: number): Promise<number> {
  const [row] = await db.query<{ bytes: number }>(
    sql`select quota_of(null, ${configured}) as "bytes"`,
  )
  return row?.bytes ?? configured
}

/** What is free now. Throws `over-quota` with the numbers when that is nothing. */
export function roomIn(ledger: Ledger): number {
  const free = ledger.quotaBytes - ledger.usedBytes - ledger.reservedBytes
  if (free > 0) return free
  throw new Failure(
    'over-quota',
    'entity',
    `quota exceeded: ${usageOf(ledger)}, so that no image fits any more. Delete images that are not needed and try again.`,
  )
}

function overQuota(ledger: Ledger, size: number): Failure {
  return new Failure(
    'over-quota',
    'entity',
    `quota exceeded: ${usageOf(ledger)}, and this image needs ${inUnits(size)}. Delete images that are not needed and push again.`,
  )
}

function usageOf({ usedBytes, reservedBytes, quotaBytes }: Ledger): string {
  const running = reservedBytes > 0 ? ` and ${inUnits(reservedBytes)} in running uploads` : ''
  return `${inUnits(usedBytes)} used${running} of ${inUnits(quotaBytes)}`
}

/** 1536 → "1.50 KiB". Whole bytes are added where the rounding could hide the reason. */
function inUnits(size: number): string {
  if (size < 1024) return `${size} B`
  const exponent = Math.min(Math.floor(Math.log2(size) / 10), 5)
  const unit = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'][exponent] ?? 'B'
  return `${(size / 2 ** (10 * exponent)).toFixed(2)} ${unit}`
}
