/** The server's side of a runner: one build, known by a token that is good for that build only. */
import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'

import { accountActor } from '../accounts/account-actor.ts'
import type { AccountActor } from '../accounts/actor.ts'
import type { Tokens } from '../accounts/tokens.ts'
import type { BuilderSettings } from '../builder-settings.ts'
import type { BuiltImages } from '../content/built-images.ts'
import type { Digest, NameDefaults } from '../content/names.ts'
import { parseImageReference } from '../content/names.ts'
import type { Registry } from '../content/registry.ts'
import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import { Failure, invalid, notFound, unauthenticated } from '../failure.ts'
import { findBuild, requeueBuild } from './build-rows.ts'
import type { BuildRow, FinalState } from './build-rows.ts'
import type { BuilderRests } from './builder-rests.ts'
import type { BuildContexts } from './contexts.ts'
import { parseDefinition } from './definition/parse.ts'
import type { BuildEnding } from './ending.ts'
import type { JobLimits } from './executor.ts'
import type { Acknowledged, BuildOutput } from './output.ts'
import type { BuildSignals } from './signals.ts'

/** A runner whose token was found good. */
export interface RunnerJob {
  readonly build: BuildRow
  readonly attempt: number
}

export interface JobDescription {
  readonly build: BuildRow
  /** With its build arguments in their places: what was judged at the submission is what is built. */
  readonly definition: string
  readonly limits: JobLimits
  readonly allowedHosts: readonly string[]
  readonly pullToken: string
}

export interface JobsParts {
  readonly database: Database
  readonly registry: Registry
  readonly builtImages: BuiltImages
  readonly contexts: BuildContexts
  readonly output: BuildOutput
  readonly ending: BuildEnding
  readonly tokens: Tokens
  readonly signals: BuildSignals
  readonly settings: BuilderSettings
  readonly rests: BuilderRests
  /** A builder whose walls did not hold is left alone for so long. */
  readonly wallRestSeconds: number
  /** A builder is free, or something in the queue has changed: the next build may begin. */
  readonly wake: () => void
  readonly defaults: NameDefaults
  readonly maxImageBytes: number
  /** Called when an image has arrived: its signatures are looked at. */
  readonly imageArrived: (digest: Digest) => Promise<unknown>
}

const aliveEveryMs = 5_000
/** A build's own credentials outlive its time limit by what a push of the result may take. */
const spareSeconds = 6 * 3600

export class Jobs {
  readonly #parts: JobsParts

  constructor(parts: JobsParts) {
    this.#parts = parts
  }

  /** Throws `unauthenticated` for a token that is not, or not any more, a job's. */
  async authenticate(token: string): Promise<RunnerJob> {
    const [row] = await this.#parts.database.query<{ id: string; attempts: number }>(sql`
      select id, attempts from builds
      where job_token_hash = ${hashOf(token)} and state in ('starting', 'running')`)
    const build = row && (await findBuild(this.#parts.database, row.id))
    if (build !== undefined && row !== undefined) return { build, attempt: row.attempts }
    throw unauthenticated('This job is over: the build has ended, or was given to another runner.')
  }

  /** The runner has come. Asking again is harmless, and makes a new credential for pulling. */
  async take(job: RunnerJob): Promise<JobDescription> {
    const { database, tokens, settings } = this.#parts
    const { build } = job
    const account = await this.#account(build)
    const limits = { ...limitsOf(settings), imageBytes: await this.#imageBytes(job) }
    await database.query(sql`
      update builds set state = 'running', started_at = coalesce(started_at, now()),
        heartbeat_at = now()
      where id = ${build.id} and state in ('starting', 'running')`)
    this.#parts.signals.changed(build.id)
    const seconds = settings.secondsPerBuild + spareSeconds
    const pullToken = await tokens.issueForBuild(account, build.id, seconds)
    const { text } = parseDefinition(build.definition, build.buildArgs)
    // One that was taken by an older server, and that this one would refuse, goes as it is.
    const definition = text === '' ? build.definition : text
    return { build, definition, limits, allowedHosts: settings.allowedHosts, pullToken }
  }

  async append(job: RunnerJob, offset: number, bytes: Buffer): Promise<Acknowledged> {
    return await this.#parts.output.append(job.build.id, offset, bytes)
  }

  async context({ build }: RunnerJob): Promise<{ file: FileHandle; size: number }> {
    if (build.contextId === null) throw notFound('context', 'This build has no files.')
    return await this.#parts.contexts.open(build.contextId)
  }

  /** Stores the result as the account's own push. */
  async image(
    { build, attempt }: RunnerJob,
    source: AsyncIterable<Buffer>,
    size: number,
  ): Promise<void> {
    const { builtImages, defaults, database } = this.#parts
    if (size < 1) throw invalid('upload', 'The image is empty.')
    if (build.cancelRequestedAt !== null) throw cancelled(build)
    const account = await this.#account(build)
    const reference = parseImageReference(`${build.targetPath}:${build.targetTag}`, defaults)
    if (reference.kind !== 'tag') throw invalid('build', 'The target of this build is not a tag.')
    const alive = setInterval(() => this.#sayAlive(build.id), aliveEveryMs)
    try {
      const pushed = await builtImages.push(account, {
        name: reference.repository,
        tag: reference.tag,
        arch: build.arch,
        size,
        source,
      })
      await this.#parts.imageArrived(pushed.digest)
      const [kept] = await database.query(sql`
        update builds set image_digest = ${pushed.digest}, image_bytes = ${size},
          heartbeat_at = now()
        where id = ${build.id} and state = 'running' and attempts = ${attempt} returning 1`)
      if (kept === undefined) throw cancelled(build)
    } finally {
      clearInterval(alive)
    }
  }

  /** The runner tells the end; false when success is claimed and no image has come. */
  async end(job: RunnerJob, state: FinalState, reason: string): Promise<boolean> {
    const { build, attempt } = job
    const wanted = build.cancelRequestedAt !== null && state !== 'succeeded'
    const end = wanted
      ? { state: 'cancelled' as const, reason: build.cancelReason || 'cancelled' }
      : { state, reason: reason || defaultReason(state) }
    const done = await this.#parts.ending.end(build.id, { ...end, attempt })
    if (done) this.#parts.wake()
    return done
  }

  /** The runner has proven the walls around the build. */
  async wallsHold({ build }: RunnerJob): Promise<void> {
    if (build.builder === null) return
    if (await this.#parts.rests.end(build.builder, 'build')) this.#parts.wake()
  }

  /** The walls do not hold: the build waits as before, and its builder rests. */
  async unable({ build, attempt }: RunnerJob, reason: string): Promise<void> {
    const { database, output, rests, wallRestSeconds, signals, wake } = this.#parts
    const why = reason || 'its runner gave no reason'
    if (build.builder !== null) await rests.begin(build.builder, why, 'build', wallRestSeconds)
    if (build.cancelRequestedAt !== null) {
      const cancel = { state: 'cancelled' as const, reason: build.cancelReason || 'cancelled' }
      await this.#parts.ending.end(build.id, { ...cancel, attempt })
    }
    await database.transaction(async (tx) => {
      const { id, handle } = build
      if (!(await requeueBuild(tx, { id, handle, attempts: attempt }, false))) return
      const line = `The builder ${build.builder} cannot build now, its self-test failed (${why}): the build waits again.`
      await output.note(tx, id, line)
    })
    signals.changed(build.id)
    wake()
  }

  #sayAlive(id: string): void {
    void this.#parts.database
      .query(sql`update builds set heartbeat_at = now() where id = ${id}`)
      .catch(() => {}) // the next one tells
  }

  /** The account as it is now: one that was closed meanwhile has nothing built. */
  async #account(build: BuildRow): Promise<AccountActor> {
    const account = await accountActor(this.#parts.database, build.accountId, 'builder')
    if (account !== undefined) return account
    throw new Failure(
      'denied',
      'account',
      `The account ${build.accountName} is not active any more.`,
    )
  }

  /**
   * What the target's space has free now is the most that the image may have: its size is not known
   * before it is there, and the push reserves exactly that. A space that has become full while the build
   * waited ends it here, before it takes its time.
   */
  async #imageBytes({ build, attempt }: RunnerJob): Promise<number> {
    const { registry, ending, maxImageBytes } = this.#parts
    const [entity = ''] = build.targetPath.split('/')
    try {
      return Math.min(await registry.roomIn(entity), maxImageBytes)
    } catch (error) {
      if (!(error instanceof Failure) || error.kind !== 'over-quota') throw error
      await ending.end(build.id, { state: 'failed', reason: error.message, attempt })
      throw error
    }
  }
}

export function limitsOf(settings: BuilderSettings): Omit<JobLimits, 'imageBytes'> {
  return {
    seconds: settings.secondsPerBuild,
    cpus: settings.cpus,
    memoryBytes: settings.memoryBytes,
    processes: settings.processes,
    scratchBytes: settings.scratchBytes,
    outputBytes: settings.maxOutputBytes,
  }
}

export function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}

function cancelled(build: BuildRow): Failure {
  const reason = build.cancelReason || 'it was given to another runner'
  return new Failure('conflict', 'build', `The image is not wanted any more: ${reason}.`)
}

function defaultReason(state: FinalState): string {
  if (state === 'succeeded') return ''
  return state === 'failed' ? 'the builder gave no reason' : 'cancelled'
}
