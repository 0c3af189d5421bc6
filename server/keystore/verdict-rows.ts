/** Verdicts on images: rows and SQL. */
import type { Digest } from '../content/names.ts'
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import type { Verdict } from './image-verdict.ts'

/** Of hostile images only: nobody reads a list of a thousand signatures. */
const maxSigners = 64

/** By the database's clock, to whole milliseconds. */
export async function currentTime(db: Db): Promise<Date> {
  const [row] = await db.query<{ now: Date }>(sql`select now() as "now"`)
  return row?.now ?? new Date()
}

/** The size of a stored SIF; undefined when there is none with this digest. */
export async function sizeOfSif(db: Db, digest: Digest): Promise<number | undefined> {
  const [row] = await db.query<{ size: number }>(sql`
    select b.size from blobs b join sif_facts f on f.digest = b.digest where b.digest = ${digest}`)
  return row?.size
}

/** It is a SIF, and there is no verdict on it. */
export async function isUnchecked(db: Db, digest: Digest): Promise<boolean> {
  const rows = await db.query(sql`
    select 1 from sif_facts f where f.digest = ${digest}
      and not exists (select 1 from verdicts v where v.digest = f.digest)`)
  return rows.length > 0
}

/** See FindCertificate in image-verdict.ts. */
export async function findCertificateOf(
  db: Db,
  key: string,
  primary: string | undefined,
): Promise<Buffer | undefined> {
  const [row] = await db.query<{ bytes: Buffer }>(sql`
    select c.bytes from certificate_keys k join certificates c on c.fingerprint = k.certificate
    where (k.fingerprint = ${key} or k.key_id = ${key}) and c.tombstoned_at is null
    order by c.fingerprint = ${primary ?? ''} desc, c.fingerprint = k.fingerprint desc, c.fingerprint
    limit 1`)
  return row?.bytes
}

/** `startedAt` is when the check began: a verdict that began later is kept. Nothing for a blob that went. */
export async function putVerdict(
  database: Database,
  digest: Digest,
  verdict: Verdict,
  startedAt: Date,
): Promise<void> {
  await database.transaction(async (tx) => {
    const stored = await tx.query(sql`
      insert into verdicts (digest, state, reason, checked_at, recheck_at)
      select f.digest, ${verdict.state}, ${verdict.reason ?? null}, ${startedAt},
        ${verdict.recheckAt ?? null}
      from sif_facts f where f.digest = ${digest} for key share
      on conflict (digest) do update set state = excluded.state, reason = excluded.reason,
        checked_at = excluded.checked_at, recheck_at = excluded.recheck_at
      where verdicts.checked_at <= excluded.checked_at
      returning 1`)
    if (stored.length === 0) return
    await tx.query(sql`delete from verdict_signers where digest = ${digest}`)
    const signers = verdict.signers.slice(0, maxSigners)
    for (const [position, { fingerprint, keyId, state, reason, at }] of signers.entries()) {
      await tx.query(sql`
        insert into verdict_signers
          (digest, position, fingerprint, key_id, state, reason, signed_at)
        values (${digest}, ${position}, ${fingerprint ?? null}, ${keyId ?? null}, ${state},
          ${reason ?? null}, ${at ?? null})`)
    }
  })
}

/**
 * Signed images without a verdict, then those whose verdict may be another by now. Those checked
 * after `before` are left out, and so is `except`.
 *
 * A change of a key that was not committed when a check began may bear an earlier time than the
 * check: hence the minute. No transaction of the keystore takes as long.
 */
export async function listDue(
  db: Db,
  options: {
    readonly before: Date
    readonly except: readonly Digest[]
    readonly limit: number
  },
): Promise<readonly Digest[]> {
  const { before, except, limit } = options
  const rows = await db.query<{ digest: Digest }>(sql`
    with touched as (
      select s.digest, c.updated_at from verdict_signers s
        join certificates c on c.fingerprint = s.fingerprint
      union all
      select s.digest, c.updated_at from verdict_signers s
        join certificate_keys k on k.key_id = s.key_id
        join certificates c on c.fingerprint = k.certificate
    ), due as (
      select f.digest, null::timestamptz as checked_at from sif_facts f
      where f.signed and not exists (select 1 from verdicts v where v.digest = f.digest)
      union
      select v.digest, v.checked_at from verdicts v
      where v.recheck_at <= now() and v.checked_at < ${before}
      union
      select v.digest, v.checked_at from verdicts v join touched t on t.digest = v.digest
      where t.updated_at > v.checked_at - interval '1 minute' and v.checked_at < ${before}
    )
    select digest from due where not digest = any(${except})
    order by checked_at nulls first, digest limit ${limit}`)
  return rows.map(({ digest }) => digest)
}

/** Images with a signature of the certificate, or one that claims to be; those checked first come first. */
export async function listTouched(
  db: Db,
  certificate: string,
  limit: number,
): Promise<readonly Digest[]> {
  const rows = await db.query<{ digest: Digest }>(sql`
    select v.digest from verdicts v
    where v.digest in (
      select s.digest from verdict_signers s where s.fingerprint = ${certificate}
      union
      select s.digest from certificate_keys k join verdict_signers s on s.key_id = k.key_id
        where k.certificate = ${certificate})
    order by v.checked_at, v.digest limit ${limit}`)
  return rows.map(({ digest }) => digest)
}
