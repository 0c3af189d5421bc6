/**
 * Signing in with LDAP. Either the entry is searched and then its name is bound with the password on
 * a second connection, or the person's own name is bound first and the entry is read as that person.
 * The password goes out once, to one server, after the certificate was checked.
 */
import { ResultCodeError } from 'ldapts'

import { isAccountName } from '../accounts/accounts.ts'
import type { Directory, DirectoryAnswer, RefusalReason } from '../accounts/directory.ts'
import { isDnTemplate } from '../ldap-settings.ts'
import type { LdapServer, LdapSettings } from '../ldap-settings.ts'
import type { Log } from '../log.ts'
import { bindRefusal } from './bind-refusal.ts'
import type { Connection } from './connection.ts'
import { escapeRdnValue, isWithin, parseDn } from './distinguished-name.ts'
import type { Entry } from './entry.ts'
import { LdapAccess } from './ldap-access.ts'
import type { Examined } from './ldap-access.ts'
import { standingOf } from './ldap-standing.ts'
import { noReport } from './steps.ts'
import type { Report } from './steps.ts'

type Admit = (canonical: string) => Promise<void>

/** Resolves with undefined when the directory accepts the password. */
type PasswordAnswer = DirectoryAnswer | undefined

const insufficientAccess = 50

export class LdapDirectory implements Directory {
  readonly provider = 'ldap'
  /** Absent where people can be read by themselves only. */
  readonly standing?: NonNullable<Directory['standing']>
  readonly #settings: LdapSettings
  readonly #access: LdapAccess

  constructor(settings: LdapSettings, log: Log, report: Report = noReport) {
    this.#settings = settings
    const access = new LdapAccess(settings, log, report)
    this.#access = access
    if (canSearch(settings)) this.standing = async (ids) => await standingOf(access, log, ids)
  }

  async signIn(name: string, password: string, admit: Admit): Promise<DirectoryAnswer> {
    const endsAt = performance.now() + this.#settings.timeoutMs
    try {
      return this.#settings.directBind === undefined
        ? await this.#searchThenBind(name, password, admit, endsAt)
        : await this.#bindThenRead(this.#settings.directBind, name, password, admit, endsAt)
    } catch (error) {
      throw this.#access.failureOf(error)
    }
  }

  /**
   * What the directory would say of a person, without a password: for the administrator. Undefined
   * where nobody but the person can be asked.
   */
  async lookUp(name: string): Promise<DirectoryAnswer | undefined> {
    if (!canSearch(this.#settings)) return undefined
    const endsAt = performance.now() + this.#settings.timeoutMs
    const access = this.#access
    try {
      const { connection, entries } = await this.#find(name, endsAt)
      try {
        const examined = this.#examineOnly(entries)
        const refusal = refusalBefore(entries, examined)
        if (refusal !== undefined || examined === undefined) return refusal
        return await this.#accept(connection, examined)
      } finally {
        connection.close()
      }
    } catch (error) {
      throw access.failureOf(error)
    }
  }

  async #searchThenBind(
    name: string,
    password: string,
    admit: Admit,
    endsAt: number,
  ): Promise<DirectoryAnswer> {
    const access = this.#access
    const { connection, entries } = await this.#find(name, endsAt)
    try {
      const examined = this.#examineOnly(entries)
      const person = examined?.person
      await admit(person && 'name' in person ? person.name : name)
      const refusal = refusalBefore(entries, examined)
      if (refusal !== undefined || examined === undefined) {
        await this.#bindNobody(connection.server, endsAt)
        return refusal ?? refuse('unknown')
      }
      const answer = await this.#bindOnce(examined, password, connection.server, endsAt)
      if (answer !== undefined) return answer
      const { dn } = examined.entry
      // Read again: a bind with an expired password leaves its mark in the entry.
      const present = await access.readEntry(connection, dn)
      return present === undefined
        ? refuse('unknown', 'the entry went away meanwhile')
        : await this.#welcome(connection, access.examine(present))
    } finally {
      connection.close()
    }
  }

  async #bindThenRead(
    template: string,
    name: string,
    password: string,
    admit: Admit,
    endsAt: number,
  ): Promise<DirectoryAnswer> {
    await admit(name)
    // The directory sees one person in many spellings of a name, and throttling sees many names.
    if (!isAccountName(name)) return refuse('malformed', 'not a name that the library can have')
    const as = bindName(template, name)
    const connection = await this.#access.reach(endsAt, async (open) => open)
    try {
      const answer = await this.#bind(connection, as, password, name)
      return answer ?? (await this.#readAs(connection, template, as, name))
    } finally {
      connection.close()
    }
  }

  /** The person's own entry, read by that person. */
  async #readAs(
    connection: Connection,
    template: string,
    as: string,
    name: string,
  ): Promise<DirectoryAnswer> {
    const access = this.#access
    try {
      const entries = isDnTemplate(template)
        ? [await access.readEntry(connection, as)].filter((entry) => entry !== undefined)
        : await access.searchName(connection, name)
      const [entry] = entries
      if (entry === undefined || entries.length > 1) {
        return refuse(entry === undefined ? 'unknown' : 'ambiguous')
      }
      if (!isDnTemplate(template) && !(await this.#isSelf(connection, entry))) {
        return refuse('unknown', `${as} is not the entry with this name`)
      }
      const examined = access.examine(entry)
      return refusalBefore(entries, examined) ?? (await this.#welcome(connection, examined))
    } catch (error) {
      // OpenLDAP lets somebody in who must set a new password, and then refuses everything else.
      const isRestricted =
        error instanceof ResultCodeError &&
        error.code === insufficientAccess &&
        /restricted to bind\/unbind\/abandon\/StartTLS\/modify password/i.test(error.message)
      if (isRestricted) return { outcome: 'password-expired', name }
      throw error
    }
  }

  /**
   * Whether the entry is that of the person who is bound. In Active Directory alice@realm may be the
   * principal name of somebody whose login name is another, while a second person is called alice.
   */
  async #isSelf(connection: Connection, entry: Entry): Promise<boolean> {
    const identity = await connection.whoAmI()
    if (identity.startsWith('u:')) {
      const login = identity.slice(identity.lastIndexOf('\\') + 1).toLowerCase()
      return entry.text(this.#settings.attributes.name)?.toLowerCase() === login
    }
    return identity.startsWith('dn:') && isSameDn(identity.slice(3), entry.dn)
  }

  /** Undefined for nobody, and for more than one. */
  #examineOnly(entries: readonly Entry[]): Examined | undefined {
    const [entry] = entries
    return entry !== undefined && entries.length === 1 ? this.#access.examine(entry) : undefined
  }

  async #find(
    name: string,
    endsAt: number,
  ): Promise<{ connection: Connection; entries: readonly Entry[] }> {
    const access = this.#access
    return await access.reach(endsAt, async (open) => {
      const connection = await access.bindService(open)
      return { connection, entries: await access.searchName(connection, name) }
    })
  }

  /** On a connection of its own: other servers may be reached instead, but only one gets the password. */
  async #bindOnce(
    { entry, person, state }: Examined,
    password: string,
    server: LdapServer,
    endsAt: number,
  ): Promise<PasswordAnswer> {
    const connection = await this.#access.reach(endsAt, async (open) => open, server)
    try {
      const name = 'name' in person ? person.name : ''
      const answer = await this.#bind(connection, entry.dn, password, name)
      if (answer?.outcome === 'refused' && answer.reason === 'password' && state.attemptsLock) {
        return refuse('locked', state.attemptsLock.detail)
      }
      return answer
    } finally {
      connection.close()
    }
  }

  async #bind(
    connection: Connection,
    as: string,
    password: string,
    name: string,
  ): Promise<PasswordAnswer> {
    try {
      await connection.bind(as, password)
      this.#access.reportBind(as, 'the password is right')
      return undefined
    } catch (error) {
      if (!(error instanceof ResultCodeError)) throw error
      const refusal = bindRefusal(error, this.#settings.preset)
      this.#access.reportBind(as, refusal?.detail ?? error.message)
      if (refusal === undefined) throw error
      if (refusal.outcome === 'refused') return refuse(refusal.reason, refusal.detail)
      return { outcome: 'password-expired', name }
    }
  }

  /** The work that a wrong password of somebody would have made, with nobody's name and password. */
  async #bindNobody(server: LdapServer, endsAt: number): Promise<void> {
    const connection = await this.#access.reach(endsAt, async (open) => open, server)
    try {
      const { dn, password } = this.#access.nobody()
      await connection.bind(dn, password)
    } catch (error) {
      if (!(error instanceof ResultCodeError)) throw error
    } finally {
      connection.close()
    }
  }

  /** Somebody whose password is right. */
  async #welcome(connection: Connection, examined: Examined): Promise<DirectoryAnswer> {
    const { person, state } = examined
    if ('malformed' in person) return refuse('malformed', person.malformed)
    if (state.passwordExpired !== undefined) {
      return { outcome: 'password-expired', name: person.name }
    }
    return await this.#accept(connection, examined)
  }

  async #accept(connection: Connection, { entry, person }: Examined): Promise<DirectoryAnswer> {
    if ('malformed' in person) return refuse('malformed', person.malformed)
    const groups = await this.#access.groupNames(connection, entry)
    return { outcome: 'accepted', entry: { ...person, groups } }
  }
}

/** Whether people can be searched without a password of theirs. */
function canSearch({ base, service, directBind }: LdapSettings): boolean {
  return base !== undefined && (service !== undefined || directBind === undefined)
}

/** What speaks against somebody before the password is looked at. */
function refusalBefore(
  entries: readonly Entry[],
  examined: Examined | undefined,
): DirectoryAnswer | undefined {
  if (examined === undefined) return refuse(entries.length === 0 ? 'unknown' : 'ambiguous')
  const { barred } = examined.state
  if (barred !== undefined) return refuse(barred.reason, barred.detail)
  return 'malformed' in examined.person ? refuse('malformed', examined.person.malformed) : undefined
}

function refuse(reason: RefusalReason, detail?: string): DirectoryAnswer {
  return { outcome: 'refused', reason, ...(detail === undefined ? {} : { detail }) }
}

function bindName(template: string, name: string): string {
  return template.replace('{user}', () => (isDnTemplate(template) ? escapeRdnValue(name) : name))
}

function isSameDn(one: string, other: string): boolean {
  const left = parseDn(one)
  const right = parseDn(other)
  return left !== undefined && left.length === right?.length && isWithin(left, right)
}
