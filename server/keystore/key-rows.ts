/** Certificates: rows and SQL. */
import { plannedAnew, sql } from '../database.ts'
import type { Db } from '../database.ts'
import type { Certificate } from './certificate.ts'

export interface KeyRow {
  readonly fingerprint: string
  readonly version: 4 | 6
  readonly algorithm: number
  readonly bits: number
  readonly createdAt: Date
  readonly expiresAt: Date | null
  readonly revoked: boolean
  readonly bytes: Buffer
  readonly ownerId: string | null
  /** The account's name now; its last one when it is gone. */
  readonly ownerName: string
  readonly pushedAt: Date
  readonly updatedAt: Date
  readonly retiredAt: Date | null
  readonly tombstonedAt: Date | null
  readonly userIds: readonly UserIdRow[]
}

export interface UserIdRow {
  readonly text: string
  readonly email: string | null
  readonly createdAt: Date
  readonly expiresAt: Date | null
  readonly revoked: boolean
}

/** In the order of their fingerprints, after `after`; at most `limit`. Tombstones are not among them. */
export interface KeyPage {
  readonly after: string
  readonly limit: number
}

export async function findKey(db: Db, fingerprint: string): Promise<KeyRow | undefined> {
  const [row] = await withUserIds(db, [fingerprint])
  return row
}

/** The same under a lock, for a change. */
export async function lockKey(tx: Db, fingerprint: string): Promise<KeyRow | undefined> {
  await tx.query(sql`select 1 from certificates where fingerprint = ${fingerprint} for update`)
  return await findKey(tx, fingerprint)
}

/** By the fingerprint of the primary key or of a subkey. */
export async function keysByFingerprint(db: Db, fingerprint: string): Promise<KeyRow[]> {
  const rows = await db.query<{ fingerprint: string }>(sql`
    select distinct k.certificate as "fingerprint"
    from certificate_keys k join certificates c on c.fingerprint = k.certificate
    where k.fingerprint = ${fingerprint} and c.tombstoned_at is null order by 1 limit 3`)
  return await rowsOf(db, rows)
}

/** By the 64-bit key ID of the primary key or of a subkey. */
export async function keysById(db: Db, keyId: string): Promise<KeyRow[]> {
  const rows = await db.query<{ fingerprint: string }>(sql`
    select distinct k.certificate as "fingerprint"
    from certificate_keys k join certificates c on c.fingerprint = k.certificate
    where k.key_id = ${keyId} and c.tombstoned_at is null order by 1 limit 3`)
  return await rowsOf(db, rows)
}

/** By the last 32 bits of a fingerprint, which clients show: those collide, so that more than one
 * answer is none. */
export async function keysByShortId(db: Db, shortId: string): Promise<KeyRow[]> {
  const rows = await db.query<{ fingerprint: string }>(sql`
    select distinct k.certificate as "fingerprint"
    from certificate_keys k join certificates c on c.fingerprint = k.certificate
    where right(k.fingerprint, 8) = ${shortId} and c.tombstoned_at is null order by 1 limit 3`)
  return await rowsOf(db, rows)
}

/** Whose user IDs have these words in them, in whatever case. */
export async function keysByWords(db: Db, words: string, page: KeyPage): Promise<KeyRow[]> {
  const pattern = `%${words.toLowerCase().replace(/[\\%_]/g, '\\$&')}%`
  const rows = await db.query<{ fingerprint: string }>(
    plannedAnew(sql`
    select distinct u.certificate as "fingerprint"
    from certificate_user_ids u join certificates c on c.fingerprint = u.certificate
    where lower(u.user_id) like ${pattern} and c.tombstoned_at is null
      and u.certificate > ${page.after}
    order by 1 limit ${page.limit}`),
  )
  return await rowsOf(db, rows)
}

/** One user ID as a whole, or the mail address in one; not by what has been revoked. */
export async function keysByIdentity(db: Db, identity: string, page: KeyPage): Promise<KeyRow[]> {
  const wanted = identity.toLowerCase()
  const rows = await db.query<{ fingerprint: string }>(sql`
    select u.certificate as "fingerprint" from (
        select certificate from certificate_user_ids where email = ${wanted} and not revoked
        union
        select certificate from certificate_user_ids
        where lower(user_id) = ${wanted} and not revoked) u
      join certificates c on c.fingerprint = u.certificate
    where c.tombstoned_at is null and u.certificate > ${page.after}
    order by 1 limit ${page.limit}`)
  return await rowsOf(db, rows)
}

/** All that an account pushed, or all there are. */
export async function keysOfOwner(db: Db, ownerId: string | null): Promise<KeyRow[]> {
  const rows = await db.query<{ fingerprint: string }>(sql`
    select fingerprint from certificates
    where tombstoned_at is null and (${ownerId}::text is null or owner_id = ${ownerId})
    order by fingerprint`)
  return await rowsOf(db, rows)
}

/** Tombstones too; of one owner, by the name that the account has now, or had when it went. */
export async function keysOfSite(db: Db, owner: string | undefined): Promise<KeyRow[]> {
  const rows = await db.query<{ fingerprint: string }>(sql`
    select c.fingerprint from certificates c left join accounts a on a.id = c.owner_id
    where ${owner ?? null}::text is null or coalesce(a.name, c.owner_name) = ${owner ?? null}
    order by c.fingerprint`)
  return await rowsOf(db, rows)
}

export async function countKeys(db: Db, ownerId: string): Promise<number> {
  const [row] = await db.query<{ count: number }>(
    sql`select count(*) from certificates where owner_id = ${ownerId}`,
  )
  return row?.count ?? 0
}

/** False where it is there already. */
export async function insertKey(
  tx: Db,
  certificate: Certificate,
  owner: { readonly id: string; readonly name: string },
): Promise<boolean> {
  const inserted = await tx.query(sql`
    insert into certificates (fingerprint, version, algorithm, bits, created_at, expires_at,
      revoked, bytes, owner_id, owner_name)
    values (${certificate.fingerprint}, ${certificate.version}, ${certificate.algorithm},
      ${certificate.bits}, ${certificate.createdAt}, ${certificate.expiresAt ?? null},
      ${certificate.revoked}, ${certificate.bytes}, ${owner.id}, ${owner.name})
    on conflict do nothing returning fingerprint`)
  if (inserted.length === 0) return false
  await putParts(tx, certificate)
  return true
}

export async function updateKey(tx: Db, certificate: Certificate): Promise<void> {
  await tx.query(sql`
    update certificates set expires_at = ${certificate.expiresAt ?? null},
      revoked = ${certificate.revoked}, bytes = ${certificate.bytes}, updated_at = now()
    where fingerprint = ${certificate.fingerprint}`)
  await putParts(tx, certificate)
}

export async function setRetired(tx: Db, fingerprint: string, retired: boolean): Promise<void> {
  await tx.query(sql`
    update certificates
    set retired_at = case when ${retired} then coalesce(retired_at, now()) end, updated_at = now()
    where fingerprint = ${fingerprint}`)
}

/** The bytes and what they said of people go; the fingerprint stays, so that it is not taken again. */
export async function setTombstone(tx: Db, fingerprint: string): Promise<void> {
  await tx.query(sql`delete from certificate_user_ids where certificate = ${fingerprint}`)
  await tx.query(sql`
    update certificates set tombstoned_at = now(), bytes = '', updated_at = now()
    where fingerprint = ${fingerprint}`)
}

async function putParts(tx: Db, certificate: Certificate): Promise<void> {
  const { fingerprint, keyFingerprints, keyIds, userIds } = certificate
  await tx.query(sql`delete from certificate_keys where certificate = ${fingerprint}`)
  await tx.query(sql`
    insert into certificate_keys (certificate, fingerprint, key_id)
    select ${fingerprint}, f, i from unnest(${keyFingerprints}::text[], ${keyIds}::text[]) as k(f, i)
    on conflict do nothing`)
  await tx.query(sql`delete from certificate_user_ids where certificate = ${fingerprint}`)
  for (const [position, userId] of userIds.entries()) {
    await tx.query(sql`
      insert into certificate_user_ids
        (certificate, position, user_id, email, created_at, expires_at, revoked)
      values (${fingerprint}, ${position}, ${userId.text}, ${userId.email ?? null},
        ${userId.createdAt}, ${userId.expiresAt ?? null}, ${userId.revoked})`)
  }
}

async function rowsOf(
  db: Db,
  found: readonly { readonly fingerprint: string }[],
): Promise<KeyRow[]> {
  if (found.length === 0) return []
  return await withUserIds(
    db,
    found.map(({ fingerprint }) => fingerprint),
  )
}

async function withUserIds(db: Db, fingerprints: readonly string[]): Promise<KeyRow[]> {
  const rows = await db.query<Omit<KeyRow, 'userIds'>>(sql`
    select c.fingerprint, c.version, c.algorithm, c.bits, c.created_at as "createdAt",
      c.expires_at as "expiresAt", c.revoked, c.bytes, c.owner_id as "ownerId",
      coalesce(a.name, c.owner_name) as "ownerName", c.pushed_at as "pushedAt",
      c.updated_at as "updatedAt", c.retired_at as "retiredAt", c.tombstoned_at as "tombstonedAt"
    from certificates c left join accounts a on a.id = c.owner_id
    where c.fingerprint = any(${fingerprints}) order by c.fingerprint`)
  const userIds = await db.query<UserIdRow & { readonly certificate: string }>(sql`
    select certificate, user_id as "text", email, created_at as "createdAt",
      expires_at as "expiresAt", revoked
    from certificate_user_ids where certificate = any(${fingerprints})
    order by certificate, position`)
  return rows.map((row) => ({
    ...row,
    userIds: userIds.filter(({ certificate }) => certificate === row.fingerprint),
  }))
}
