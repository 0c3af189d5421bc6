/** Keys of a large site, as rows: 100,000 certificates that are only searched need no mathematics. */
import { join } from 'node:path'

import { openDatabase, sql } from '../../server/database.ts'
import { openEmbeddedPostgres } from '../../server/embedded-postgres.ts'
import { createLog } from '../../server/log.ts'

export const seededKeys = 100_000

export interface SeededKey {
  readonly fingerprint: string
  readonly email: string
  /** In the user IDs of some twenty people. */
  readonly familyName: string
}

/** Into the database of a running server; returns one of the keys. */
export async function seedKeys(dataDirectory: string): Promise<SeededKey> {
  const log = createLog('silent')
  const server = await openEmbeddedPostgres(join(dataDirectory, 'postgres'), log)
  const database = openDatabase(server.address, log)
  try {
    await database.transaction(async (tx) => {
      await tx.query(sql`
        create temporary table people on commit drop as
        select n, upper(substr(encode(sha256(n::text::bytea), 'hex'), 1, 40)) as fingerprint,
          -- 5,000 family names of three syllables each, 200 given names of two.
          initcap(substr('bakadafagahajakalamanapara', 1 + 2 * (n % 13), 2)
            || substr('setelemenerepeke', 1 + 2 * (n / 13 % 8), 2)
            || substr('sontonmonlonronbanmandenkin', 1 + 3 * (n / 104 % 9), 3)
            || chr(97 + n / 936 % 5)) as family,
          initcap(substr('anelimorusti', 1 + 2 * (n / 7 % 6), 2)
            || substr('nalarasamita', 1 + 2 * (n / 42 % 6), 2)) as given
        from generate_series(1, ${seededKeys}) as n`)
      await tx.query(sql`
        insert into certificates (fingerprint, version, algorithm, bits, created_at, revoked,
          bytes, owner_name)
        select fingerprint, 4, 22, 256, now(), false, decode(repeat('00', 600), 'hex'), 'user' || n
        from people`)
      await tx.query(sql`
        insert into certificate_keys (certificate, fingerprint, key_id)
        select fingerprint, fingerprint, right(fingerprint, 16) from people`)
      await tx.query(sql`
        insert into certificate_user_ids
          (certificate, position, user_id, email, created_at, revoked)
        select fingerprint, 0,
          given || ' ' || family || ' (signing) <user' || n || '@example.org>',
          'user' || n || '@example.org', now(), false
        from people`)
    })
    await database.query(sql`analyze certificates, certificate_keys, certificate_user_ids`)
    const [key] = await database.query<SeededKey>(sql`
      select certificate as fingerprint, email, split_part(user_id, ' ', 2) as "familyName"
      from certificate_user_ids where email = ${`user${seededKeys / 2}@example.org`}`)
    if (key === undefined) throw new Error('the keys are not there')
    return key
  } finally {
    await database.close()
    await server.leave()
  }
}
