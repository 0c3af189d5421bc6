/**
 * The queue at work: gives builds to builders in turn, watches over those that run, and ends what
 * nobody goes on with. Each round runs in one process at a time; everything that matters is in the
 * rows, so that a restart goes on where the last process stopped.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'

import type { BuilderHost, BuilderSettings } from '../builder-settings.ts'
import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import { Failure } from '../failure.ts'
import type { Log } from '../log.ts'
import {
  findBuild,
  listActive,
  listShares,
  listUnwanted,
  listWaiting,
  requeueBuild,
} from './build-rows.ts'
import type { ActiveBuild } from './build-rows.ts'
import type { BuilderRests } from './builder-rests.ts'
import type { Builders, KnownBuilder } from './builders.ts'
import type { BuildEnding } from './ending.ts'
import type { Executor } from './executor.ts'
import { heldBack, inOrder } from './fair-share.ts'
import type { JobFiles } from './job-files.ts'
import { hashOf, limitsOf } from './jobs.ts'
import type { BuildOutput } from './output.ts'
import type { BuildSignals } from './signals.ts'

export interface QueueParts {
  readonly database: Database
  readonly log: Log
  readonly settings: BuilderSettings
  readonly builders: Builders
  readonly rests: BuilderRests
  readonly executorOf: (builder: BuilderHost) => Executor
  readonly jobFiles: JobFiles
  readonly output: BuildOutput
  readonly ending: BuildEnding
  readonly signals: BuildSignals
  readonly times?: Partial<QueueTimes>
}

/** Seconds. */
export interface QueueTimes {
  /** Between two rounds when nothing happens. */
  readonly round: number
  /** A runner that is silent for so long is lost. */
  readonly lost: number
  /** From the start of a job's process to its first request. */
  readonly arrival: number
  /** Between two questions to an executor about one job. */
  readonly ask: number
  /** A runner that was asked to end its build itself has so long for that. */
  readonly polite: number
  /** A builder that could not start a job is left alone for so long. */
  readonly rest: number
  /** A builder whose walls did not hold is left alone for so long. */
  readonly wallRest: number
  /** More than a build may take, before the queue ends what its runner did not. */
  readonly overtime: number
}

/** A build whose runner is lost twice has ended within a minute, with the time that ending one takes. */
export const usualQueueTimes: QueueTimes = {
  round: 1,
  lost: 20,
  arrival: 20,
  ask: 5,
  polite: 2,
  rest: 20,
  wallRest: 300,
  overtime: 60,
}
const maxAttempts = 2

export class BuildQueue {
  readonly #parts: QueueParts
  readonly #times: QueueTimes
  /** Since when this process could have heard a runner. */
  #openedAt = performance.now()
  /** As they were when this round began. */
  #builders: readonly KnownBuilder[] = []
  #isFirstRound = true
  readonly #asked = new Map<string, number>()
  /** Builds whose job waits in a batch system, and what for. */
  readonly #jobsWaiting = new Map<string, string>()
  /** Builds whose job is being ended at this moment. */
  readonly #ending = new Map<string, Promise<void>>()
  #stop: AbortController | undefined
  #woken = new AbortController()
  #running: Promise<void> = Promise.resolve()

  constructor(parts: QueueParts) {
    this.#parts = parts
    this.#times = { ...usualQueueTimes, ...parts.times }
  }

  start(): void {
    if (this.#stop !== undefined) return
    this.#stop = new AbortController()
    this.#running = this.#run(this.#stop.signal)
  }

  /** Jobs go on: their runners find the next process. */
  async stop(): Promise<void> {
    this.#stop?.abort()
    this.#woken.abort()
    await this.#running
    await Promise.allSettled(this.#ending.values())
  }

  /** Something has changed: the next round begins at once. */
  wake(): void {
    this.#woken.abort()
  }

  /** What the job of this build waits for in its batch system; undefined when it does not. */
  jobWaits(id: string): string | undefined {
    return this.#jobsWaiting.get(id)
  }

  async #run(stop: AbortSignal): Promise<void> {
    const { database, log } = this.#parts
    while (!stop.aborted) {
      this.#woken = new AbortController()
      try {
        await database.exclusively('build queue', async () => await this.#round())
      } catch (error) {
        log.error({ err: error }, 'a round of the build queue failed')
        // While the database is away no sign of life is written down: it is not the runners' silence.
        this.#openedAt = performance.now()
      }
      const { signal } = this.#woken
      await delay(this.#times.round * 1000, undefined, { signal }).catch(() => {})
    }
  }

  async #round(): Promise<void> {
    const { database, ending, builders, rests } = this.#parts
    this.#builders = await builders.list()
    if (this.#isFirstRound) await rests.forgetAllBut(this.#builders.map(({ name }) => name))
    this.#isFirstRound = false
    for (const id of await listUnwanted(database)) {
      await ending.end(id, { state: 'cancelled', reason: notWanted })
    }
    const active = await listActive(database)
    this.#forgetAllBut(active)
    await Promise.all(active.map(async (build) => await this.#watch(build)))
    await this.#giveOut(active)
  }

  #forgetAllBut(active: readonly ActiveBuild[]): void {
    const ids = new Set(active.map(({ id }) => id))
    for (const known of [this.#asked, this.#jobsWaiting]) {
      for (const id of known.keys()) if (!ids.has(id)) known.delete(id)
    }
  }

  // Starting

  async #giveOut(active: readonly ActiveBuild[]): Promise<void> {
    for (const builder of this.#builders) {
      if (builder.unavailable !== undefined) continue
      const used = active.filter((build) => build.builder === builder.name).length
      const slots = builder.onProbation ? Math.min(builder.slots, 1) : builder.slots
      for (let free = slots - used; free > 0; free -= 1) {
        const id = await this.#next(builder)
        if (id === undefined || !(await this.#begin(id, builder))) break
      }
    }
  }

  async #next(builder: BuilderHost): Promise<string | undefined> {
    const { database, settings } = this.#parts
    const waiting = await listWaiting(database)
    if (waiting.length === 0) return undefined
    const shares = await listShares(database, settings.periodHours)
    const byAccount = new Map(shares.map((share) => [share.accountId, share]))
    const first = inOrder(waiting, shares).find(
      ({ arch, accountId }) =>
        builder.archs.includes(arch) && heldBack(byAccount.get(accountId), settings) === undefined,
    )
    return first?.id
  }

  /** False when the builder cannot start anything now. */
  async #begin(id: string, builder: BuilderHost): Promise<boolean> {
    const { database, executorOf, jobFiles, settings, signals, log } = this.#parts
    const executor = executorOf(builder)
    const token = randomBytes(32).toString('base64url')
    const [row] = await database.query<{ arch: string; attempts: number }>(sql`
      update builds set state = 'starting', builder = ${builder.name}, handle = null,
        job_token_hash = ${hashOf(token)}, heartbeat_at = now(), attempts = attempts + 1,
        attempt_from = output_bytes, attempt_bytes = 0
      where id = ${id} and state = 'queued' and cancel_requested_at is null
      returning arch, attempts`)
    if (row === undefined) return true
    try {
      const jobFile = await jobFiles.write(builder, id, token)
      const limits = { ...limitsOf(settings), imageBytes: Number.MAX_SAFE_INTEGER }
      const handle = await executor.start({ id, arch: row.arch, limits, jobFile })
      await database.query(sql`update builds set handle = ${handle} where id = ${id}`)
      log.info({ 'build.id': id, 'builder.name': builder.name, handle }, 'a build was started')
      return true
    } catch (error) {
      await jobFiles.remove(builder, id)
      log.error({ err: error, 'builder.name': builder.name }, 'a builder could not start a build')
      this.#parts.builders.tire(builder.name, error, this.#times.rest)
      await database.query(sql`
        update builds set state = 'queued', builder = null, job_token_hash = null,
          attempts = attempts - 1
        where id = ${id} and state = 'starting'`)
      return false
    } finally {
      signals.changed(id)
    }
  }

  #builderOf(build: ActiveBuild): KnownBuilder | undefined {
    return this.#builders.find(({ name }) => name === build.builder)
  }

  // Watching

  async #watch(build: ActiveBuild): Promise<void> {
    if (this.#ending.has(build.id)) return
    try {
      await this.#look(build)
    } catch (error) {
      this.#parts.log.error({ err: error, 'build.id': build.id }, 'a build could not be watched')
    }
  }

  async #look(build: ActiveBuild): Promise<void> {
    const { settings } = this.#parts
    const silentFor = Math.min(build.silentFor, (performance.now() - this.#openedAt) / 1000)
    if (!build.wanted) {
      this.#finish(build, 'cancelled', notWanted)
    } else if (build.cancelledFor !== null) {
      // A runner that is there ends its build itself, and tells what it printed last.
      const waits = build.state === 'running' && build.cancelledFor < this.#times.polite
      if (!waits) this.#finish(build, 'cancelled', build.cancelReason)
    } else if (build.runningFor > settings.secondsPerBuild + this.#times.overtime) {
      const most = Math.round(settings.secondsPerBuild / 6) / 10
      this.#finish(build, 'failed', `it took longer than the ${most} minutes that a build has`)
    } else if (silentFor > this.#times.lost && build.state === 'running') {
      this.#lose(build, `its runner was silent for ${Math.round(silentFor)} seconds`)
    } else if (build.handle === null) {
      if (silentFor > this.#times.lost) this.#lose(build, 'nobody knows whether it was started')
    } else {
      await this.#ask(build, build.handle, silentFor)
    }
  }

  /** A job may be gone, or there, or still be waiting in a batch system. */
  async #ask(build: ActiveBuild, handle: string, silentFor: number): Promise<void> {
    const builder = this.#builderOf(build)
    if (builder === undefined) {
      this.#lose(build, `this site has no builder ${build.builder} any more`)
      return
    }
    const executor = this.#parts.executorOf(builder)
    // A runner that has been heard is there.
    if (silentFor < this.#times.ask) return
    const now = performance.now()
    if (now - (this.#asked.get(build.id) ?? 0) < this.#times.ask * 1000) return
    this.#asked.set(build.id, now)
    const state = await this.#stateOf(build, executor, handle)
    if (state !== 'pending') this.#jobsWaiting.delete(build.id)
    if (state === 'gone') {
      const why = (await executor.reason(handle).catch(() => '')) ?? ''
      // It may have told the end while we asked.
      const current = await findBuild(this.#parts.database, build.id)
      const isSame = current?.endedAt === null && current.handle === handle
      if (isSame) this.#lose(build, why || 'its runner ended without a word')
    } else if (state === 'running' && build.state === 'starting') {
      // The time begins when the job does, which in a batch system is later than its start here.
      if (silentFor > this.#times.arrival) {
        this.#lose(build, 'its runner never reached this server')
      }
    } else if (state === 'pending') {
      await this.#parts.database.query(sql`
        update builds set heartbeat_at = now() where id = ${build.id} and state = 'starting'`)
    }
  }

  /** A job whose batch system does not answer waits like one in it, as long as no runner has come. */
  async #stateOf(
    build: ActiveBuild,
    executor: Executor,
    handle: string,
  ): Promise<'pending' | 'running' | 'gone'> {
    try {
      const state = await executor.state(handle)
      if (state !== 'pending') return state
      const why = await executor.reason(handle)
      this.#jobsWaiting.set(build.id, why)
    } catch (error) {
      if (build.state !== 'starting') throw error
      const why = error instanceof Failure ? error.message : 'it does not answer'
      this.#jobsWaiting.set(build.id, `nobody knows how far its job is: ${why}`)
      this.#parts.log.warn({ err: error, 'build.id': build.id }, 'a job could not be asked for')
    }
    return 'pending'
  }

  /** Once more from the beginning, or never again. */
  #lose(build: ActiveBuild, why: string): void {
    if (build.attempts >= maxAttempts) {
      this.#finish(build, 'failed', `the builder was lost: ${why}`)
      return
    }
    this.#endJob(build, async () => await this.#requeue(build, why))
  }

  #finish(build: ActiveBuild, state: 'failed' | 'cancelled', reason: string): void {
    const { ending } = this.#parts
    this.#endJob(build, async () => {
      await ending.end(build.id, { state, reason, attempt: build.attempts })
    })
  }

  /** Ends process or job first: a build that is over, or begins anew, has none any more. */
  #endJob(build: ActiveBuild, then: () => Promise<void>): void {
    const { executorOf, jobFiles, log } = this.#parts
    const builder = this.#builderOf(build)
    const work = async (): Promise<void> => {
      // What a runner says when it is ended is not the reason, unless somebody has cancelled.
      if (build.cancelledFor === null) await this.#silence(build)
      try {
        if (builder && build.handle !== null) await executorOf(builder).cancel(build.handle)
      } catch (error) {
        log.error({ err: error, 'build.id': build.id }, 'a job could not be ended')
      }
      if (builder) await jobFiles.remove(builder, build.id)
      await then()
    }
    const running = work()
      .catch((error: unknown) => {
        log.error({ err: error, 'build.id': build.id }, 'a build could not be ended')
      })
      .finally(() => {
        this.#ending.delete(build.id)
        this.#asked.delete(build.id)
        this.#jobsWaiting.delete(build.id)
        this.wake()
      })
    this.#ending.set(build.id, running)
  }

  async #silence(build: ActiveBuild): Promise<void> {
    await this.#parts.database.query(sql`
      update builds set job_token_hash = null
      where id = ${build.id} and attempts = ${build.attempts}
        and handle is not distinct from ${build.handle}`)
  }

  async #requeue(build: ActiveBuild, why: string): Promise<void> {
    const { database, output, signals } = this.#parts
    await database.transaction(async (tx) => {
      if (!(await requeueBuild(tx, build, true))) return
      await output.note(tx, build.id, `The builder was lost (${why}): the build begins anew.`)
    })
    signals.changed(build.id)
  }
}

const notWanted =
  'the account is not active any more, or the access token that the build was handed in with was revoked'
