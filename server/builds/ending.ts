/** How a build ends: once, with a reason, its output closed by a line that says so. */
import type { Actor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
import type { Tokens } from '../accounts/tokens.ts'
import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import { findBuild } from './build-rows.ts'
import type { BuildRow, FinalState } from './build-rows.ts'
import type { BuildOutput } from './output.ts'
import type { BuildSignals } from './signals.ts'
import { referenceOf } from './target.ts'

/** Who speaks when the queue itself ends a build. */
const queueActor: Actor = { kind: 'anonymous', rejected: false, address: 'builder' }

export interface End {
  readonly state: FinalState
  /** For people; may be empty where it succeeded. */
  readonly reason: string
  /** Only this attempt, for a runner that may have been given up meanwhile. */
  readonly attempt?: number
}

export class BuildEnding {
  readonly #database: Database
  readonly #output: BuildOutput
  readonly #tokens: Tokens
  readonly #signals: BuildSignals

  constructor(database: Database, output: BuildOutput, tokens: Tokens, signals: BuildSignals) {
    this.#database = database
    this.#output = output
    this.#tokens = tokens
    this.#signals = signals
  }

  /**
   * False when it has ended before, or success is claimed without an image. The line in the output,
   * the state and the end of the build's credentials are one transaction: who sees the end of the
   * output finds the state.
   */
  async end(id: string, { state, reason, attempt }: End): Promise<boolean> {
    const done = await this.#database.transaction(async (tx) => {
      const [open] = await tx.query(sql`
        select 1 from builds where id = ${id} and ended_at is null
          and (${attempt ?? null}::integer is null or attempts = ${attempt ?? null})
          and (${state} <> 'succeeded' or image_digest is not null)
        for update`)
      const build = open && (await findBuild(tx, id))
      if (build === undefined) return false
      await this.#output.note(tx, id, lastLine(build, state, reason))
      await tx.query(sql`
        update builds set state = ${state}, reason = ${reason}, ended_at = now(),
          job_token_hash = null
        where id = ${id}`)
      await this.#tokens.endForBuild(tx, id)
      const details = { state, reason, account: build.accountName, builder: build.builder }
      await audit(tx, queueActor, { action: 'build.end', target: id, details })
      return true
    })
    if (done) this.#signals.changed(id)
    return done
  }
}

/** Stock clients show nothing but the output: the reason has to be in it (protocol.md 8.4). */
function lastLine(build: BuildRow, state: FinalState, reason: string): string {
  if (state === 'failed') return `Build failed: ${reason}`
  if (state === 'cancelled') return `Build cancelled: ${reason}`
  return `Image stored: ${referenceOf(build)}`
}
