/**
 * Builder hosts: programs on other machines, or beside the server, that ask for builds with a token
 * of their own. The token is good for nothing else, and is kept as its SHA-256.
 */
import { randomBytes } from 'node:crypto'

import type { Actor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
import { requireAdministrator } from '../accounts/permissions.ts'
import type { BuilderSettings } from '../builder-settings.ts'
import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import { denied, Failure, invalid, notFound, unauthenticated } from '../failure.ts'
import { forgetRest } from './builder-rests.ts'
import type { BuilderRests } from './builder-rests.ts'
import type { HostAnswer, HostPresence, HostReport } from './host-presence.ts'
import { hashOf } from './jobs.ts'

export interface BuilderHostRow {
  readonly name: string
  readonly addedAt: Date
  /** Null before it has come for the first time. */
  readonly heardAt: Date | null
  /** Not heard of for half a minute, or never. */
  readonly silent: boolean
  /** Go names. */
  readonly archs: readonly string[]
  readonly slots: number
  readonly version: string
  readonly selfTestAt: Date | null
  /** Null when all walls held. */
  readonly selfTestFailure: string | null
}

export interface BuilderHostsParts {
  readonly database: Database
  readonly settings: BuilderSettings
  readonly presence: HostPresence
  readonly rests: BuilderRests
  /** Something has changed that builds may wait for. */
  readonly wake: () => void
}

const namePattern = /^[a-z0-9]+(?:[._-][a-z0-9]+)*$/
const maxName = 64

export class BuilderHosts {
  readonly #parts: BuilderHostsParts

  constructor(parts: BuilderHostsParts) {
    this.#parts = parts
  }

  /** Returns the token, which is in no other place. */
  async add(actor: Actor, name: string): Promise<string> {
    requireAdministrator(actor)
    if (!namePattern.test(name) || name.length > maxName) {
      const text = `"${name.slice(0, maxName)}" is no name of a builder: lower case letters and digits, with single . _ - between them.`
      throw invalid('builder', text)
    }
    const configured = this.#parts.settings.builders.find((one) => one.name === name)
    if (configured !== undefined && configured.executor !== 'host') {
      const text = `The configuration has a builder ${name} whose executor is "${configured.executor}": choose another name, or make it "host".`
      throw new Failure('conflict', 'builder', text)
    }
    const token = `berth_builder_${randomBytes(32).toString('base64url')}`
    await this.#parts.database.transaction(async (tx) => {
      const [added] = await tx.query(sql`
        insert into builder_hosts (name, token_hash) values (${name}, ${hashOf(token)})
        on conflict do nothing returning 1`)
      if (added === undefined) {
        const text = `There is a builder ${name}: remove it first, if its token is lost.`
        throw new Failure('conflict', 'builder', text)
      }
      await audit(tx, actor, { action: 'builder.add', target: name })
    })
    return token
  }

  /** Its token ends with the next request. Returns how many builds it had, which begin anew elsewhere. */
  async remove(actor: Actor, name: string): Promise<number> {
    requireAdministrator(actor)
    return await this.#parts.database.transaction(async (tx) => {
      const [removed] = await tx.query(
        sql`delete from builder_hosts where name = ${name} returning 1`,
      )
      if (removed === undefined) {
        throw notFound('builder', `There is no builder host ${name.slice(0, maxName)}.`)
      }
      await forgetRest(tx, name)
      await audit(tx, actor, { action: 'builder.remove', target: name })
      const active = await tx.query(sql`
        select 1 from builds where builder = ${name} and state in ('starting', 'running')`)
      return active.length
    })
  }

  async list(): Promise<BuilderHostRow[]> {
    return await this.#parts.database.query<BuilderHostRow>(sql`
      select name, added_at as "addedAt", heard_at as "heardAt",
        coalesce(heard_at < now() - interval '30 seconds', true) as "silent", archs, slots, version,
        self_test_at as "selfTestAt", self_test_failure as "selfTestFailure"
      from builder_hosts order by name`)
  }

  /** The name of the builder that this token is of. */
  async authenticate(token: string): Promise<string> {
    const [row] = await this.#parts.database.query<{ name: string }>(
      sql`select name from builder_hosts where token_hash = ${hashOf(token)}`,
    )
    if (row !== undefined) return row.name
    throw unauthenticated(
      'This is no token of a builder (any more): "berthctl builder add NAME" makes one.',
    )
  }

  /** One question of a builder host; `named` is what it calls itself. */
  async exchange(
    name: string,
    named: string,
    report: HostReport,
    signal: AbortSignal,
  ): Promise<HostAnswer> {
    if (named !== name) {
      throw denied('builder', `This token is of the builder ${name}, not of ${named}.`)
    }
    const { presence, wake } = this.#parts
    presence.requireOnly(name, report)
    const wasHere = presence.isHere(name)
    const unwanted = await this.#unwanted(name, report)
    const changed = await this.#note(name, report)
    const answer = presence.exchange(name, report, unwanted, signal)
    if (!wasHere || changed || report.leaving) wake()
    return await answer
  }

  /** True when builds may wait for what it says. */
  async #note(name: string, { archs, slots, version, selfTest }: HostReport): Promise<boolean> {
    const { database, rests } = this.#parts
    await database.query(sql`
      update builder_hosts set heard_at = now(), archs = ${archs}, slots = ${slots},
        version = ${version}, self_test_at = ${selfTest?.at ?? null},
        self_test_failure = ${selfTest?.failure ?? null}
      where name = ${name}`)
    if (selfTest === null) return false
    if (selfTest.failure === null) return await rests.end(name, 'self-test')
    await rests.begin(name, selfTest.failure, 'self-test', null)
    return false
  }

  /** Its runs that no build goes on with: of builds that have ended, or were given to somebody else. */
  async #unwanted(name: string, { runs }: HostReport): Promise<Set<string>> {
    const active = await this.#parts.database.query<{ id: string; handle: string | null }>(sql`
      select id, handle from builds where builder = ${name} and state in ('starting', 'running')`)
    const isWanted = (run: string, id: string): boolean =>
      // A build that is being started has no handle yet.
      active.some((build) => build.handle === run || (build.handle === null && build.id === id))
    return new Set(runs.filter(({ run, id }) => !isWanted(run, id)).map(({ run }) => run))
  }
}
