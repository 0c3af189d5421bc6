/** The site's LDAP servers as sign-in and re-validation use them: reached, bound to, searched. */
import { randomBytes } from 'node:crypto'

import { ResultCodeError } from 'ldapts'
import type { SearchOptions } from 'ldapts'

import { Failure } from '../failure.ts'
import type { LdapServer, LdapSettings } from '../ldap-settings.ts'
import type { Log } from '../log.ts'
import { accountState, stateAttributes } from './account-state.ts'
import type { AccountState } from './account-state.ts'
import { Connection, Unreachable } from './connection.ts'
import type { SearchResult } from './connection.ts'
import type { Entry } from './entry.ts'
import { byName, parseFilter } from './filters.ts'
import { findGroups, namesOf } from './group-lookup.ts'
import { readPerson } from './person.ts'
import type { Person } from './person.ts'
import { Servers } from './servers.ts'
import { noReport } from './steps.ts'
import type { Report } from './steps.ts'

/** One entry, understood. */
export interface Examined {
  readonly entry: Entry
  readonly person: Person | { readonly malformed: string }
  readonly state: AccountState
}

export class LdapAccess {
  readonly settings: LdapSettings
  readonly #log: Log
  readonly #report: Report
  readonly #servers: Servers

  constructor(settings: LdapSettings, log: Log, report: Report = noReport) {
    for (const filter of [settings.userFilter, settings.groups.filter]) {
      if (filter !== undefined) parseFilter(filter)
    }
    this.settings = settings
    this.#log = log
    this.#report = report
    this.#servers = new Servers(settings.servers)
  }

  /**
   * Does the work on the first server that can; those that cannot are passed over. Each server gets a
   * share of the time that leaves as much for the others and for what comes afterwards. The
   * connection that the work got stays open until `endsAt`.
   */
  async reach<T>(
    endsAt: number,
    work: (connection: Connection) => Promise<T>,
    first?: LdapServer,
  ): Promise<T> {
    const inOrder = this.#servers.inOrder()
    const order =
      first === undefined ? inOrder : [first, ...inOrder.filter((server) => server !== first)]
    let failure: unknown
    for (const [index, server] of order.entries()) {
      const now = performance.now()
      const share = (endsAt - now) / (order.length - index + 1)
      try {
        return await this.#try(server, { until: now + share, endsAt }, work)
      } catch (error) {
        if (!(error instanceof Unreachable)) throw error
        failure = error
        this.#servers.failed(server)
        this.#report({ step: 'server', url: server.url, failure: error.message })
        this.#log.warn({ err: error, 'directory.server': server.url }, 'a directory server failed')
      }
    }
    throw failure
  }

  async #try<T>(
    server: LdapServer,
    time: { readonly until: number; readonly endsAt: number },
    work: (connection: Connection) => Promise<T>,
  ): Promise<T> {
    const { ca, timeoutMs } = this.settings
    const connection = await Connection.open(server, {
      ca,
      endsAt: time.until,
      operationMs: timeoutMs,
    })
    try {
      this.#report({ step: 'server', url: server.url })
      if (connection.peer !== undefined)
        this.#report({ step: 'certificate', peer: connection.peer })
      const result = await work(connection)
      connection.endBy(time.endsAt)
      this.#servers.answered(server)
      return result
    } catch (error) {
      connection.close()
      throw error
    }
  }

  /** A connection on which the site's service account searches, or nobody in particular. */
  async bindService(connection: Connection): Promise<Connection> {
    const { service } = this.settings
    this.#report({ step: 'service-bind', as: service?.dn ?? 'anonymous' })
    if (service !== undefined) await connection.bind(service.dn, service.password.reveal())
    return connection
  }

  /** Two at most: more than one is as bad as many. */
  async searchName(connection: Connection, name: string): Promise<readonly Entry[]> {
    const filter = byName(this.settings, name)
    const base = this.settings.base ?? ''
    // The directory may give up a little before we do; its own clock counts whole seconds.
    const timeLimit = Math.max(1, Math.floor(this.settings.timeoutMs / 1000))
    const { entries } = await this.searchPeople(connection, base, {
      filter,
      sizeLimit: 2,
      timeLimit,
    })
    return entries
  }

  /** The entry itself; nothing when the site's filter does not leave it. */
  async readEntry(connection: Connection, dn: string): Promise<Entry | undefined> {
    const filter = parseFilter(this.settings.userFilter ?? '(objectClass=*)')
    const { entries } = await this.searchPeople(connection, dn, { filter, scope: 'base' })
    return entries[0]
  }

  async searchPeople(
    connection: Connection,
    base: string,
    options: SearchOptions,
  ): Promise<SearchResult> {
    const result = await connection.search(base, {
      ...options,
      attributes: this.#attributes(),
      explicitBufferAttributes: ['objectGUID'],
    })
    const { references } = result
    const found = result.entries.map(({ dn }) => dn)
    this.#report({ step: 'search', base, filter: String(options.filter), found, references })
    if (references.length > 0) {
      this.#log.debug({ 'directory.references': references }, 'the directory refers to others')
    }
    return result
  }

  examine(entry: Entry): Examined {
    const person = readPerson(entry, this.settings)
    const state = accountState(entry, this.settings, new Date())
    const seen = this.#attributes().map((name) => [name, this.#valuesOf(entry, name)] as const)
    this.#report({ step: 'entry', dn: entry.dn, attributes: Object.fromEntries(seen) })
    this.#report({ step: 'person', person })
    this.#report({ step: 'state', ...state })
    return { entry, person, state }
  }

  async groupNames(connection: Connection, entry: Entry): Promise<string[]> {
    const groups = await findGroups(connection, this.settings, entry)
    this.#report({ step: 'groups', method: this.settings.groups.method, groups })
    return namesOf(groups)
  }

  reportBind(as: string, result: string): void {
    this.#report({ step: 'password-bind', as, result })
  }

  /** A name below the base that nobody has, with a password that nobody has. */
  nobody(): { readonly dn: string; readonly password: string } {
    const name = randomBytes(12).toString('hex')
    const dn = `${this.settings.attributes.name}=${name},${this.settings.base ?? ''}`
    return { dn, password: randomBytes(12).toString('hex') }
  }

  /** What a person or a log gets to see of an error; a Failure goes through as it is. */
  failureOf(error: unknown): unknown {
    if (error instanceof Unreachable) {
      return unavailable('The directory does not answer: try again in a few minutes.', error)
    }
    if (error instanceof ResultCodeError) {
      this.#log.error({ err: error }, 'the directory refuses what Berth asks')
      return unavailable(
        `The directory refuses what is asked of it (LDAP result ${error.code}): tell the administrators.`,
        error,
      )
    }
    return error
  }

  #attributes(): string[] {
    const { attributes, groups } = this.settings
    const { name, id, mail, fullName } = attributes
    const memberOf = groups.method === 'member_of' ? ['memberOf'] : []
    return [...new Set([name, id, mail, fullName, ...memberOf, ...stateAttributes(this.settings)])]
  }

  #valuesOf(entry: Entry, attribute: string): readonly string[] {
    if (attribute !== 'objectGUID') return entry.texts(attribute)
    const bytes = entry.bytes(attribute)
    return bytes === undefined ? [] : [bytes.toString('hex')]
  }
}

function unavailable(message: string, cause: unknown): Failure {
  return new Failure('unavailable', 'directory', message, { cause })
}
