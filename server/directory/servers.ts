/** Which server is asked next. One that failed is asked last for half a minute. */
import type { LdapServer } from '../ldap-settings.ts'

const avoidedMs = 30_000

export class Servers {
  readonly #servers: readonly LdapServer[]
  readonly #now: () => number
  readonly #avoidedUntil = new Map<LdapServer, number>()

  /** `now` counts milliseconds and never goes back. */
  constructor(servers: readonly LdapServer[], now: () => number = () => performance.now()) {
    this.#servers = servers
    this.#now = now
  }

  /**
   * All of them: when every server failed lately they are tried all the same, because otherwise a
   * short outage of the network would keep people out for the rest of the half minute.
   */
  inOrder(): readonly LdapServer[] {
    const now = this.#now()
    const isAvoided = (server: LdapServer): boolean => (this.#avoidedUntil.get(server) ?? 0) > now
    return [
      ...this.#servers.filter((server) => !isAvoided(server)),
      ...this.#servers.filter(isAvoided),
    ]
  }

  failed(server: LdapServer): void {
    this.#avoidedUntil.set(server, this.#now() + avoidedMs)
  }

  answered(server: LdapServer): void {
    this.#avoidedUntil.delete(server)
  }
}
