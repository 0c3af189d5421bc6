/** What people do with builds: hand in, look, cancel, forget. */
import type { AccountActor, Actor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
import { requireAccount, requireAdministrator } from '../accounts/permissions.ts'
import type { BuilderSettings } from '../builder-settings.ts'
import type { Digest, NameDefaults } from '../content/names.ts'
import type { Registry } from '../content/registry.ts'
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { Failure, invalid, notFound, Throttled } from '../failure.ts'
import { newId } from '../identifiers.ts'
import { acceptDefinition, lineOfContext } from './acceptance.ts'
import {
  countBuilds,
  countQueued,
  findBuild,
  insertBuild,
  listBuilds,
  listShares,
  listWaiting,
} from './build-rows.ts'
import type { BuildCounts, BuildFilter, BuildRow } from './build-rows.ts'
import type { KnownBuilder } from './builders.ts'
import { chooseTarget } from './chosen-target.ts'
import type { WantedTarget } from './chosen-target.ts'
import type { BuildContexts } from './contexts.ts'
import type { BuildEnding } from './ending.ts'
import { heldBack, inOrder } from './fair-share.ts'
import type { OutputFiles } from './output-files.ts'
import { requireBuilder } from './rights.ts'
import type { BuildSignals } from './signals.ts'
import type { BuildSources } from './sources.ts'

export interface Submission extends WantedTarget {
  readonly definition: Buffer
  readonly arch: string | undefined
  readonly workingDir: string | undefined
  readonly buildArgs: Readonly<Record<string, string>>
  readonly contextDigest: Digest | undefined
}

export interface Place {
  /** 1 is the next; 0 has left this queue and waits in that of a batch system. */
  readonly position: number
  readonly waiting: number
  readonly reason: string
}

export interface BuildsParts {
  readonly database: Database
  readonly registry: Registry
  readonly contexts: BuildContexts
  readonly ending: BuildEnding
  readonly files: OutputFiles
  readonly signals: BuildSignals
  readonly settings: BuilderSettings
  readonly defaults: NameDefaults
  readonly sources: BuildSources
  /** Origins under which this site's library is known. */
  readonly libraryUrls: readonly string[]
  /** The builders of the site, and what keeps each from taking builds at the moment. */
  readonly builders: () => Promise<readonly KnownBuilder[]>
  /** What the job of a build waits for in its batch system; undefined when it does not. */
  readonly jobWaits: (id: string) => string | undefined
  /** Something in the queue has changed. */
  readonly wake: () => void
}

const maxListed = 1_000

export class Builds {
  readonly #parts: BuildsParts

  constructor(parts: BuildsParts) {
    this.#parts = parts
  }

  async submit(actor: Actor, submission: Submission): Promise<BuildRow> {
    const { database, settings, contexts } = this.#parts
    requireSite(settings)
    const account = requireBuilder(actor)
    const arch = await this.#chooseArch(submission.arch)
    const definition = await acceptDefinition(account, { ...submission, arch }, this.#parts)
    const id = newId()
    const { target, ephemeral } = await chooseTarget(account, id, submission, this.#parts)
    await database.transaction(async (tx) => {
      // One after the other for an account, so that two cannot both take the last place.
      await tx.query(sql`select 1 from accounts where id = ${account.accountId} for update`)
      await this.#requireRoom(tx, account)
      const { contextDigest } = submission
      const contextId =
        contextDigest === undefined
          ? null
          : await lineOfContext(definition, contexts.claim(tx, account.accountId, contextDigest))
      await insertBuild(tx, {
        id,
        accountId: account.accountId,
        tokenId: account.tokenId ?? null,
        arch,
        definition: definition.text,
        workingDir: submission.workingDir ?? '/',
        buildArgs: submission.buildArgs,
        contextId,
        targetPath: target.path,
        targetTag: target.tag,
        ephemeral,
      })
      const details = { target: `${target.path}:${target.tag}`, arch }
      await audit(tx, actor, { action: 'build.submit', target: id, details })
    })
    this.#parts.wake()
    return await this.#found(id)
  }

  async #chooseArch(wanted: string | undefined): Promise<string> {
    const builders = await this.#parts.builders()
    const offered = [...new Set(builders.flatMap(({ archs }) => archs))]
    const arch = wanted ?? offered[0] ?? ''
    if (offered.includes(arch)) return arch
    throw invalid(
      'builder',
      `No builder of this site makes images for "${arch.slice(0, 32)}": it has ${offered.join(', ') || 'none at all'}.`,
    )
  }

  async #requireRoom(tx: Db, account: AccountActor): Promise<void> {
    const { queuedPerUser, secondsPerPeriod, periodHours } = this.#parts.settings
    const queued = await countQueued(tx, account.accountId)
    if (queued >= queuedPerUser) {
      const text = `You have ${queued} builds in the queue, and that is the limit: wait for one to start, or cancel one.`
      throw new Throttled('build', text, 60)
    }
    if (secondsPerPeriod === 0) return
    const shares = await listShares(tx, periodHours)
    const used = shares.find(({ accountId }) => accountId === account.accountId)?.seconds ?? 0
    if (used < secondsPerPeriod) return
    const text = `Your builds have used ${Math.round(used / 60)} of the ${Math.round(secondsPerPeriod / 60)} minutes that everybody has in ${periodHours} hours: try again later.`
    throw new Throttled('build', text, 600)
  }

  /** One's own; an administrator anybody's. To everybody else it does not exist. */
  async find(actor: Actor, id: string): Promise<BuildRow> {
    const account = requireAccount(actor)
    const build = await findBuild(this.#parts.database, id)
    if (build === undefined || !mayUse(account, build)) throw noSuchBuild(id)
    return build
  }

  /** What became of a build that was found before. */
  async again(id: string): Promise<BuildRow> {
    return await this.#found(id)
  }

  /** The newest first; as many as a list may have, or fewer. */
  async list(
    actor: Actor,
    filter: Omit<BuildFilter, 'limit'>,
    most = maxListed,
  ): Promise<BuildRow[]> {
    const account = requireAccount(actor)
    const accountId = account.isAdmin ? filter.accountId : account.accountId
    if (accountId !== filter.accountId && filter.accountId !== null) return []
    return await listBuilds(this.#parts.database, { ...filter, accountId, limit: most })
  }

  async counts(actor: Actor): Promise<BuildCounts> {
    requireAdministrator(actor)
    return await countBuilds(this.#parts.database)
  }

  /**
   * Where the build is in the queue and what it waits for; undefined when it does not wait. Said to
   * its owner, or to another reader with the owner's name.
   */
  async place(build: BuildRow, reader?: AccountActor): Promise<Place | undefined> {
    const { database, settings, jobWaits } = this.#parts
    if (build.state === 'starting') {
      const reason = jobWaits(build.id)
      return reason === undefined ? undefined : { position: 0, waiting: 0, reason }
    }
    if (build.state !== 'queued') return undefined
    const [all, shares] = await Promise.all([
      listWaiting(database),
      listShares(database, settings.periodHours),
    ])
    const waiting = inOrder(
      all.filter(({ arch }) => arch === build.arch),
      shares,
    )
    const index = waiting.findIndex(({ id }) => id === build.id)
    if (index < 0) return undefined
    const share = shares.find(({ accountId }) => accountId === build.accountId)
    const isOwner = reader === undefined || reader.accountId === build.accountId
    const owner = isOwner ? undefined : build.accountName
    const reason =
      heldBack(share, settings, owner) ?? (await this.#whyBuildersWait(build.arch, index))
    return { position: index + 1, waiting: waiting.length, reason }
  }

  async #whyBuildersWait(arch: string, before: number): Promise<string> {
    const all = await this.#parts.builders()
    const builders = all.filter(({ archs }) => archs.includes(arch))
    if (builders.length === 0) return `no builder of this site makes images for ${arch} any more`
    const reasons = builders.map(({ unavailable }) => unavailable)
    const [first] = reasons
    if (first !== undefined && reasons.every((reason) => reason !== undefined)) return first
    if (before === 0) return 'all builders are busy, and this build is the next'
    return `all builders are busy, and ${before} ${before === 1 ? 'build comes' : 'builds come'} before this one`
  }

  /** A build that waits ends at once; of one that runs, the builder is told. Twice is harmless. */
  async cancel(actor: Actor, id: string): Promise<void> {
    const account = requireBuilder(actor)
    const build = await this.find(actor, id)
    if (build.endedAt !== null) return
    const by =
      build.accountId === account.accountId
        ? 'by its owner'
        : `by the administrator ${account.name}`
    const reason = `cancelled ${by}`
    const { database, ending, signals, wake } = this.#parts
    await database.transaction(async (tx) => {
      const [asked] = await tx.query(sql`
        update builds set cancel_requested_at = now(), cancel_reason = ${reason}
        where id = ${id} and ended_at is null and cancel_requested_at is null returning 1`)
      if (asked) await audit(tx, actor, { action: 'build.cancel', target: id })
    })
    const now = await this.#found(id)
    if (now.state === 'queued') await ending.end(id, { state: 'cancelled', reason })
    signals.changed(id)
    wake()
  }

  /** Takes an ended build out of the lists, with its output. The image stays where it is. */
  async remove(actor: Actor, id: string): Promise<void> {
    requireBuilder(actor)
    const build = await this.find(actor, id)
    if (build.endedAt === null) {
      throw new Failure('conflict', 'build', 'This build has not ended: cancel it first.')
    }
    const { database, files } = this.#parts
    await database.transaction(async (tx) => {
      const [removed] = await tx.query(sql`
        update builds set deleted_at = now(), output_bytes = 0
        where id = ${id} and deleted_at is null returning 1`)
      if (removed) await audit(tx, actor, { action: 'build.delete', target: id })
    })
    await files.remove(id)
  }

  async #found(id: string): Promise<BuildRow> {
    const build = await findBuild(this.#parts.database, id)
    if (build === undefined) throw noSuchBuild(id)
    return build
  }
}

function mayUse(account: AccountActor, build: BuildRow): boolean {
  return account.isAdmin || account.accountId === build.accountId
}

function noSuchBuild(id: string): Failure {
  return notFound('build', `You have no build ${id.slice(0, 24)}.`)
}

/** Throws where the site does not build. */
export function requireSite(settings: BuilderSettings): void {
  if (settings.enabled) return
  throw new Failure(
    'unavailable',
    'builder',
    'This site has no builder: build on your own machine and push the image.',
  )
}
