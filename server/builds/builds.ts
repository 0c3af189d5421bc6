/** What people do with builds: hand in, look, cancel, forget. */
import type { AccountActor, Actor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
import {
  requireAccount,
  requireAdministrator,
  requireFullAccount,
} from '../accounts/permissions.ts'
import type { BuilderSettings } from '../builder-settings.ts'
import { parseEntityName } from '../content/names.ts'
import type { Digest, NameDefaults } from '../content/names.ts'
import type { Registry } from '../content/registry.ts'
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { denied, Failure, invalid, notFound, Throttled } from '../failure.ts'
import { newId } from '../identifiers.ts'
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
import type { BuildContexts } from './contexts.ts'
import { checkDefinition } from './definition/check.ts'
import { filesOf } from './definition/files.ts'
import type { FilesSection } from './definition/files.ts'
import { parseDefinition } from './definition/parse.ts'
import type { BuildEnding } from './ending.ts'
import { heldBack, inOrder } from './fair-share.ts'
import type { OutputFiles } from './output-files.ts'
import { requireBuilder } from './rights.ts'
import type { BuildSignals } from './signals.ts'
import { ephemeralTarget, parseTarget } from './target.ts'
import type { Target } from './target.ts'

export interface Submission {
  readonly definition: Buffer
  /** Empty: nobody named a target. */
  readonly libraryRef: string
  readonly libraryUrl: string | undefined
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
  /** Origins under which this site's library is known. */
  readonly libraryUrls: readonly string[]
  /** The builders of the site, and what keeps each from taking builds at the moment. */
  readonly builders: () => Promise<readonly KnownBuilder[]>
  /** What the job of a build waits for in its batch system; undefined when it does not. */
  readonly jobWaits: (id: string) => string | undefined
  /** Something in the queue has changed. */
  readonly wake: () => void
}

const maxDefinition = 1 << 20
const maxListed = 1_000
const maxShown = 10

export class Builds {
  readonly #parts: BuildsParts

  constructor(parts: BuildsParts) {
    this.#parts = parts
  }

  async submit(actor: Actor, submission: Submission): Promise<BuildRow> {
    const { database, settings, contexts } = this.#parts
    requireSite(settings)
    const account = requireBuilder(actor)
    const definition = this.#readDefinition(submission)
    const arch = await this.#chooseArch(submission.arch)
    const id = newId()
    const { target, ephemeral } = await this.#chooseTarget(account, id, submission)
    await database.transaction(async (tx) => {
      // One after the other for an account, so that two cannot both take the last place.
      await tx.query(sql`select 1 from accounts where id = ${account.accountId} for update`)
      await this.#requireRoom(tx, account)
      const { contextDigest } = submission
      const contextId =
        contextDigest === undefined
          ? null
          : await contexts.claim(tx, account.accountId, contextDigest)
      await insertBuild(tx, {
        id,
        accountId: account.accountId,
        tokenId: account.tokenId ?? null,
        arch,
        definition,
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

  #readDefinition(submission: Submission): string {
    const { definition } = submission
    const text = textOf(definition)
    if (text.trim() === '') throw invalid('build', 'The definition file is empty.')
    const problems = checkDefinition(parseDefinition(definition, submission.buildArgs), {
      agents: this.#parts.settings.agents,
      hasContext: submission.contextDigest !== undefined,
    })
    if (problems.length === 0) return text
    const shown = problems
      .slice(0, maxShown)
      .map(({ line, message }) => (line > 0 ? `line ${line}: ${message}` : message))
    const more = problems.length - shown.length
    if (more > 0) shown.push(`and ${more} more`)
    throw invalid('build', `The definition file cannot be built here: ${shown.join('; ')}`)
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

  /** Authorised now, so that nobody waits for a build whose image cannot be stored. */
  async #chooseTarget(
    account: AccountActor,
    id: string,
    { libraryRef, libraryUrl }: Submission,
  ): Promise<{ readonly target: Target; readonly ephemeral: boolean }> {
    const { registry, defaults, libraryUrls } = this.#parts
    const hosts = libraryUrls.map((url) => new URL(url).host)
    if (libraryUrl !== undefined && !hosts.includes(hostOf(libraryUrl))) {
      const text = `This builder stores images in ${libraryUrls[0]} only, not in ${libraryUrl.slice(0, 200)}.`
      throw invalid('build', text)
    }
    const ephemeral = libraryRef === ''
    const target = ephemeral
      ? ephemeralTarget(account.name, id, defaults)
      : parseTarget(libraryRef, defaults, hosts)
    parseEntityName(target.entity)
    if (!ephemeral) requireFullAccount(account)
    // A credential for building only may not push, and the default target is its way to build.
    if (!(await registry.mayPush({ ...account, scope: 'all' }, target.entity))) {
      throw denied(
        'entity',
        `You may not push to "${target.entity}": you are signed in as ${account.name}, and your own space is library://${account.name}/…`,
      )
    }
    return { target, ephemeral }
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

  async list(actor: Actor, filter: Omit<BuildFilter, 'limit'>): Promise<BuildRow[]> {
    const account = requireAccount(actor)
    const accountId = account.isAdmin ? filter.accountId : account.accountId
    if (accountId !== filter.accountId && filter.accountId !== null) return []
    return await listBuilds(this.#parts.database, { ...filter, accountId, limit: maxListed })
  }

  async counts(actor: Actor): Promise<BuildCounts> {
    requireAdministrator(actor)
    return await countBuilds(this.#parts.database)
  }

  /** Where the build is in the queue and what it waits for; undefined when it does not wait. */
  async place(build: BuildRow): Promise<Place | undefined> {
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
    const reason = heldBack(share, settings) ?? (await this.#whyBuildersWait(build.arch, index))
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

function textOf(definition: Buffer): string {
  if (definition.length > maxDefinition) {
    throw new Failure('too-large', 'build', 'A definition file has 1 MiB at most.')
  }
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(definition)
    if (!text.includes('\0')) return text
  } catch {
    // Said below.
  }
  throw invalid('build', 'The definition file is not a text in UTF-8.')
}

/**
 * The files that a definition names, as scs-build asks for them before every build. Throws `invalid`
 * for what cannot be read as a definition; whether it may be built is said at the submission.
 */
export function filesNamedIn(actor: Actor, definition: Buffer): readonly FilesSection[] {
  requireBuilder(actor)
  const parsed = parseDefinition(Buffer.from(textOf(definition)), {})
  const [fault] = parsed.faults
  if (fault === undefined) return filesOf(parsed)
  throw invalid('build', `line ${fault.line}: ${fault.message}`)
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

function hostOf(url: string): string {
  try {
    return new URL(url).host
  } catch {
    throw invalid('build', `"${url.slice(0, 200)}" is not the address of a library.`)
  }
}
