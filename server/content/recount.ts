import type { AccountActor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
/**
 * Proves the quota ledger: what each space holds is counted anew from its links, its manifests and
 * its open uploads, under the lock of its row, and compared with the numbers that quota.ts keeps.
 */
import { clearAlarm, raiseAlarm } from '../alarms.ts'
import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import { correctLedger, lockEntity } from './quota.ts'

/** Bytes; what the ledger says and what was counted. */
interface Drift {
  readonly entity: string
  readonly usedBytes: number
  readonly countedUsedBytes: number
  readonly reservedBytes: number
  readonly countedReservedBytes: number
}

export interface RecountResult {
  readonly spaces: number
  /** Spaces whose numbers differed, whether or not they were put right. */
  readonly drifted: readonly Drift[]
  readonly repaired: boolean
}

const alarm = 'quota-drift'

/** `repairBy` puts right what differs, in the audit log under this name. */
export async function recount(
  database: Database,
  options: { readonly repairBy?: AccountActor | undefined } = {},
): Promise<RecountResult> {
  const { repairBy } = options
  const entities = await database.query<{ id: number }>(sql`select id from entities order by id`)
  const drifted: Drift[] = []
  for (const { id } of entities) {
    const drift = await recountOne(database, id, repairBy)
    if (drift !== undefined) drifted.push(drift)
  }
  const repaired = repairBy !== undefined && drifted.length > 0
  if (drifted.length === 0 || repaired) {
    await clearAlarm(database, alarm)
  } else {
    await raiseAlarm(database, {
      name: alarm,
      message: `The quota ledger is wrong: ${drifted.map(wordsOf).join('; ')}. Put it right with berthctl quota recount --repair.`,
      details: { drifted },
    })
  }
  return { spaces: entities.length, drifted, repaired }
}

async function recountOne(
  database: Database,
  entityId: number,
  repairBy: AccountActor | undefined,
): Promise<Drift | undefined> {
  return await database.transaction(async (tx) => {
    // Whoever changes what the space holds has this lock until his commit: after it was taken here,
    // links and ledger are of the same moment.
    await lockEntity(tx, entityId)
    const [row] = await tx.query<Drift>(sql`
      select e.name as "entity", e.used_bytes as "usedBytes", e.reserved_bytes as "reservedBytes",
        (select coalesce(sum(b.size), 0) from blobs b where b.digest in (
            select l.digest from repository_blobs l where l.entity_id = e.id))
          + (select coalesce(sum(m.charged_bytes), 0) from manifests m
              join repositories r on r.id = m.repository_id
            where r.entity_id = e.id) as "countedUsedBytes",
        (select coalesce(sum(u.reserved_bytes), 0) from uploads u
          where u.entity_id = e.id) as "countedReservedBytes"
      from entities e where e.id = ${entityId}`)
    if (row === undefined) return undefined
    const { usedBytes, countedUsedBytes, reservedBytes, countedReservedBytes } = row
    if (usedBytes === countedUsedBytes && reservedBytes === countedReservedBytes) return undefined
    if (repairBy !== undefined) {
      await correctLedger(tx, entityId, {
        usedBytes: countedUsedBytes,
        reservedBytes: countedReservedBytes,
      })
      await audit(tx, repairBy, {
        action: 'quota.recount',
        target: row.entity,
        details: { usedBytes, countedUsedBytes, reservedBytes, countedReservedBytes },
      })
    }
    return row
  })
}

function wordsOf(drift: Drift): string {
  const { entity, usedBytes, countedUsedBytes, reservedBytes, countedReservedBytes } = drift
  const used = `${entity} has ${usedBytes} bytes as used and holds ${countedUsedBytes}`
  if (reservedBytes === countedReservedBytes) return used
  return `${used}, and ${reservedBytes} as reserved where uploads have ${countedReservedBytes}`
}
