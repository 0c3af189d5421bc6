/**
 * Builders whose walls did not hold. Such a one rests, an alarm says so, and then a single build may
 * try it; when the walls hold again, both are taken back. The rows outlive a restart and are what
 * berthctl shows.
 */
import { clearAlarm, raiseAlarm } from '../alarms.ts'
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'

export interface BuilderRest {
  readonly builder: string
  readonly reason: string
  readonly since: Date
  /** It takes nothing now; when false, one build at a time, until the walls have held. */
  readonly resting: boolean
}

/** The self-test of a builder host by itself, or the one before a build. */
type FoundBy = 'self-test' | 'build'

export class BuilderRests {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async list(): Promise<BuilderRest[]> {
    return await this.#database.query<BuilderRest>(sql`
      select builder, reason, since, coalesce(until > now(), true) as "resting"
      from builder_rests order by builder`)
  }

  /** `seconds`: how long it rests; of a self-test, until the next one that passes. */
  async begin(
    builder: string,
    reason: string,
    foundBy: FoundBy,
    seconds: number | null,
  ): Promise<void> {
    await this.#database.transaction(async (tx) => {
      // What a build finds does not shorten the rest of a builder host that knows it by itself.
      await tx.query(sql`
        insert into builder_rests (builder, reason, found_by, until)
        values (${builder}, ${reason}, ${foundBy}, now() + make_interval(secs => ${seconds}))
        on conflict (builder) do update
        set reason = excluded.reason, found_by = excluded.found_by, until = excluded.until
        where excluded.found_by = 'self-test' or builder_rests.found_by = 'build'`)
      const message = `The builder ${builder} takes no builds: its self-test failed: ${reason}`
      await raiseAlarm(tx, { name: alarmOf(builder), message, details: { builder, reason } })
    })
  }

  /** The walls have held. A self-test does not end the rest that a build has asked for. */
  async end(builder: string, foundBy: FoundBy): Promise<boolean> {
    return await this.#database.transaction(async (tx) => {
      const [ended] = await tx.query(sql`
        delete from builder_rests
        where builder = ${builder} and (found_by = ${foundBy} or until < now()) returning 1`)
      if (ended !== undefined) await clearAlarm(tx, alarmOf(builder))
      return ended !== undefined
    })
  }

  /** Of builders that are not there any more. */
  async forgetAllBut(builders: readonly string[]): Promise<void> {
    await this.#database.transaction(async (tx) => {
      const gone = await tx.query<{ builder: string }>(sql`
        delete from builder_rests where builder <> all(${builders}::text[]) returning builder`)
      for (const { builder } of gone) await clearAlarm(tx, alarmOf(builder))
    })
  }
}

/** With a builder that is removed, in the transaction of that. */
export async function forgetRest(tx: Db, builder: string): Promise<void> {
  await tx.query(sql`delete from builder_rests where builder = ${builder}`)
  await clearAlarm(tx, alarmOf(builder))
}

function alarmOf(builder: string): string {
  return `builder ${builder}`
}
