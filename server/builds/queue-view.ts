/** The queue as people see it: everybody the numbers, whoever is signed in the turns, nobody others' names. */
import type { AccountActor, Actor } from '../accounts/actor.ts'
import type { Database } from '../database.ts'
import { listOpen, listShares } from './build-rows.ts'
import type { OpenBuild } from './build-rows.ts'
import { inOrder } from './fair-share.ts'

export interface QueueView {
  readonly waiting: number
  readonly running: number
  readonly builders: readonly BuilderView[]
  /** Those that run, then those that wait in the order of their turn; none for the anonymous. */
  readonly builds: readonly QueuedBuild[]
}

interface BuilderView {
  readonly name: string
  readonly archs: readonly string[]
  readonly slots: number
  readonly busy: number
  readonly isAvailable: boolean
  /** Why it takes nothing now, for whoever is signed in; empty when it does. */
  readonly reason: string
}

export interface QueuedBuild {
  /** Undefined for a build of somebody else. */
  readonly id: string | undefined
  /** Undefined for a build of somebody else. */
  readonly account: string | undefined
  readonly state: OpenBuild['state']
  readonly arch: string
  /** 1 is the next of its architecture; undefined when it waits no more. */
  readonly place: number | undefined
  readonly submittedAt: Date
  readonly startedAt: Date | null
}

export interface QueueViewParts {
  readonly database: Database
  readonly periodHours: number
  readonly builders: () => Promise<readonly ListedBuilder[]>
}

interface ListedBuilder {
  readonly name: string
  readonly archs: readonly string[]
  readonly slots: number
  /** Why it takes nothing at the moment; undefined when it does. */
  readonly unavailable: string | undefined
}

export async function viewQueue(actor: Actor, parts: QueueViewParts): Promise<QueueView> {
  const { database, periodHours } = parts
  const [open, shares, builders] = await Promise.all([
    listOpen(database),
    listShares(database, periodHours),
    parts.builders(),
  ])
  const active = open.filter(({ state }) => state !== 'queued')
  const queued = open.filter(({ state }) => state === 'queued')
  const reader = actor.kind === 'account' ? actor : undefined
  const byId = new Map(queued.map((build) => [build.id, build]))
  const turns = inOrder(queued, shares).flatMap(({ id }) => byId.get(id) ?? [])
  const places = new Map<string, number>()
  const waiting = turns.map((build) => {
    const place = (places.get(build.arch) ?? 0) + 1
    places.set(build.arch, place)
    return { build, place }
  })
  return {
    waiting: queued.length,
    running: active.length,
    builders: builders.map(({ name, archs, slots, unavailable }) => ({
      name,
      archs,
      slots,
      busy: active.filter(({ builder }) => builder === name).length,
      isAvailable: unavailable === undefined,
      // It may name programs and machines of the site.
      reason: reader === undefined ? '' : (unavailable ?? ''),
    })),
    builds:
      reader === undefined
        ? []
        : [
            ...active.map((build) => seenBy(reader, build, undefined)),
            ...waiting.map(({ build, place }) => seenBy(reader, build, place)),
          ],
  }
}

function seenBy(reader: AccountActor, build: OpenBuild, place: number | undefined): QueuedBuild {
  const isShown = reader.isAdmin || reader.accountId === build.accountId
  const { state, arch, submittedAt, startedAt } = build
  return {
    id: isShown ? build.id : undefined,
    account: isShown ? build.accountName : undefined,
    state,
    arch,
    place,
    submittedAt,
    startedAt,
  }
}
