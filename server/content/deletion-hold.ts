/**
 * A hold on the removal of bytes. A backup reads the rows first and copies the files afterwards, so
 * that nobody may take a file away in between. The hold is a row with an end of its own: whoever has
 * it renews it while he lives, and one that was killed blocks nobody for long.
 *
 * The advisory lock orders the two sides. Who removes bytes holds it shared, to the end of the
 * transaction, and asks after that whether there is a hold; who takes a hold waits until no such
 * transaction runs. So a removal is over before the hold is there, or does not begin.
 */
import { setTimeout } from 'node:timers/promises'

import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { Failure } from '../failure.ts'
import { newId } from '../identifiers.ts'

const leaseSeconds = 120
const renewMs = 20_000

/**
 * Called in the transaction that removes bytes, before it decides. False: leave them, a later run
 * will find them again.
 */
export async function mayRemoveBytes(tx: Db): Promise<boolean> {
  await tx.query(sql`select pg_advisory_xact_lock_shared(5082)`)
  const held = await tx.query(
    sql`select 1 from deletion_holds where until > clock_timestamp() limit 1`,
  )
  return held.length === 0
}

export interface DeletionHold {
  /** Aborted when the hold could not be renewed in time: bytes may be going. */
  readonly lost: AbortSignal
  /** Ends the hold. Throws when it had ended before, so that what was done under it proves nothing. */
  release(): Promise<void>
}

export interface HoldOptions {
  /** Shorter ones are for those who cannot wait for the end of a lease. */
  readonly leaseSeconds?: number
  readonly renewMs?: number
}

/** Takes a hold and renews it until it is released. */
export async function holdDeletions(
  database: Database,
  holder: string,
  options: HoldOptions = {},
): Promise<DeletionHold> {
  const id = newId()
  const seconds = options.leaseSeconds ?? leaseSeconds
  await database.transaction(async (tx) => {
    await tx.query(sql`select pg_advisory_xact_lock(5082)`)
    await tx.query(sql`delete from deletion_holds where until <= clock_timestamp()`)
    // By the wall clock: now() is when the transaction began, which was before the wait.
    await tx.query(sql`
      insert into deletion_holds (id, holder, until)
      values (${id}, ${holder}, clock_timestamp() + make_interval(secs => ${seconds}))`)
  })
  const lost = new AbortController()
  const over = new AbortController()
  let isLost = false
  const renewal = keep(database, id, {
    seconds,
    everyMs: options.renewMs ?? renewMs,
    over: over.signal,
    lost: () => {
      isLost = true
      lost.abort(lostHold())
    },
  })
  return {
    lost: lost.signal,
    release: async () => {
      over.abort()
      await renewal
      const [ended] = await database.query<{ inTime: boolean }>(sql`
        delete from deletion_holds where id = ${id} returning until > now() as "inTime"`)
      if (isLost || ended?.inTime !== true) throw lostHold()
    },
  }
}

interface Keeping {
  readonly seconds: number
  readonly everyMs: number
  readonly over: AbortSignal
  readonly lost: () => void
}

/** A database that is away for a moment is asked again; the end of the lease decides. */
async function keep(database: Database, id: string, keeping: Keeping): Promise<void> {
  const { seconds, everyMs, over, lost } = keeping
  let endsAt = Date.now() + seconds * 1000
  while (!over.aborted) {
    const isOver = await setTimeout(everyMs, false, { signal: over, ref: false }).catch(() => true)
    if (isOver) return
    try {
      const asked = Date.now()
      const renewed = await database.query(sql`
        update deletion_holds set until = now() + make_interval(secs => ${seconds})
        where id = ${id} and until > now() returning 1`)
      if (renewed.length === 0) {
        lost()
        return
      }
      endsAt = asked + seconds * 1000
    } catch {
      if (Date.now() > endsAt) {
        lost()
        return
      }
    }
  }
}

function lostHold(): Failure {
  return new Failure(
    'conflict',
    'storage',
    'The hold on deletions ended before the work under it (the process was stopped, or the database did not answer): begin again, what was copied is kept.',
  )
}
