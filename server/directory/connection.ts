/**
 * One connection to one server, used by one sign-in and then gone. It never comes back by itself:
 * ldapts opens a lost connection again, and after StartTLS it would do so in clear. Whatever hangs
 * ends with the connection's time.
 */
import { once } from 'node:events'
import { connect as connectTcp } from 'node:net'
import type { Socket } from 'node:net'
import { connect as connectTls, TLSSocket } from 'node:tls'

import { Client, ResultCodeError } from 'ldapts'
import type { SearchOptions } from 'ldapts'

import type { LdapServer } from '../ldap-settings.ts'
import { Entry } from './entry.ts'
import { peerOf, tlsOptions } from './tls-peer.ts'
import type { TlsPeer } from './tls-peer.ts'

/** The server cannot be reached, does not answer in time or says that it cannot work: ask another. */
export class Unreachable extends Error {
  override readonly name = 'Unreachable'

  constructor(server: LdapServer, cause: unknown) {
    super(`${server.url}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
}

export interface ConnectionOptions {
  readonly ca: string | undefined
  /** When the connection ends, whatever happens on it; milliseconds of performance.now(). */
  readonly endsAt: number
  /** What a single request may take. */
  readonly operationMs: number
}

export interface SearchResult {
  readonly entries: readonly Entry[]
  /** Where the server says that the rest is to be found. Nobody goes there. */
  readonly references: readonly string[]
}

const startTls = '1.3.6.1.4.1.1466.20037' // RFC 4511, 4.14.1
const whoAmI = '1.3.6.1.4.1.4203.1.11.3' // RFC 4532
const busy = 51
const unavailable = 52

export class Connection {
  readonly server: LdapServer
  readonly #operationMs: number
  readonly #sockets: Socket[]
  /** Rejects when the connection is over, for those who wait for an answer on it. */
  readonly #over: Promise<never>
  #end: (reason: Error) => void = () => {}
  #timer: NodeJS.Timeout | undefined
  #client: Client | undefined

  private constructor(server: LdapServer, { endsAt, operationMs }: ConnectionOptions) {
    this.server = server
    this.#operationMs = operationMs
    const tcp = connectTcp({ host: server.host, port: server.port, noDelay: true })
    this.#sockets = [tcp]
    this.#over = new Promise((_resolve, reject) => (this.#end = reject))
    this.#over.catch(() => {}) // often nobody waits
    tcp.on('error', (error) => this.#end(error))
    tcp.on('close', () => this.#end(new Error('the connection was closed')))
    this.endBy(endsAt)
  }

  /** Throws Unreachable for everything that goes wrong, a certificate that is not right among them. */
  static async open(server: LdapServer, options: ConnectionOptions): Promise<Connection> {
    const connection = new Connection(server, options)
    try {
      await connection.#establish(options.ca)
      return connection
    } catch (error) {
      connection.#destroy()
      throw new Unreachable(server, error)
    }
  }

  /** Sets another end than the one before. */
  endBy(endsAt: number): void {
    clearTimeout(this.#timer)
    const leftMs = Math.max(0, endsAt - performance.now())
    this.#timer = setTimeout(() => {
      this.#end(new Error('no answer in time'))
      this.#destroy()
    }, leftMs)
  }

  /** What is known of the server's certificate; undefined without TLS. */
  get peer(): TlsPeer | undefined {
    const socket = this.#sockets.at(-1)
    return socket instanceof TLSSocket ? peerOf(socket) : undefined
  }

  /** Throws ResultCodeError when the server refuses. An empty name or password never goes out. */
  async bind(name: string, password: string): Promise<void> {
    // Both would be accepted without a check (RFC 4513, 5.1.1 and 5.1.2).
    if (name === '' || password === '') throw new TypeError('a bind needs a name and a password')
    await this.#ask(async (client) => await client.bind(name, password))
  }

  async search(base: string, options: SearchOptions): Promise<SearchResult> {
    const found = await this.#ask(async (client) => await client.search(base, options))
    return {
      entries: found.searchEntries.map((entry) => new Entry(entry)),
      references: found.searchReferences,
    }
  }

  /** Whom the server takes us for: "dn:uid=alice,…", "u:DOMAIN\alice", or empty for nobody. */
  async whoAmI(): Promise<string> {
    const { value } = await this.#ask(async (client) => await client.exop(whoAmI))
    return value ?? ''
  }

  /** Says good-bye without waiting for an answer. */
  close(): void {
    clearTimeout(this.#timer)
    const client = this.#client
    this.#client = undefined
    if (client === undefined) {
      this.#destroy()
      return
    }
    void client.unbind().then(
      () => this.#destroy(),
      () => this.#destroy(),
    )
  }

  async #establish(ca: string | undefined): Promise<void> {
    const [tcp] = this.#sockets
    if (tcp === undefined) return
    await this.#orOver(once(tcp, 'connect'))
    if (this.server.security === 'start-tls') {
      // With a client of its own: what somebody in between sent after the answer, in clear, stays
      // behind in that client's buffer and cannot become the answer to a bind.
      const greeter = this.#clientOn(tcp)
      await this.#orOver(greeter.exop(startTls))
      tcp.removeAllListeners('data')
    }
    if (this.server.security === 'none') {
      this.#client = this.#clientOn(tcp)
      return
    }
    const tls = connectTls({ ...tlsOptions(this.server.certificateName, ca), socket: tcp })
    this.#sockets.push(tls)
    tls.on('error', (error: Error) => this.#end(error))
    await this.#orOver(once(tls, 'secureConnect'))
    this.#client = this.#clientOn(tls)
  }

  /** A client of ldapts on a socket that stands already; it cannot open another. */
  #clientOn(socket: Socket): Client {
    let isTaken = false
    const takeOnce = (): Socket => {
      if (isTaken) throw new Error('the connection was closed')
      isTaken = true
      return socket
    }
    return new Client({
      url: 'ldap://localhost', // not looked up: the socket is there
      timeout: this.#operationMs,
      createConnection: takeOnce,
    })
  }

  async #ask<T>(request: (client: Client) => Promise<T>): Promise<T> {
    if (this.#client === undefined) throw new Unreachable(this.server, 'the connection was closed')
    try {
      return await this.#orOver(request(this.#client))
    } catch (error) {
      if (error instanceof ResultCodeError && error.code !== busy && error.code !== unavailable) {
        throw error
      }
      this.#destroy()
      throw new Unreachable(this.server, error)
    }
  }

  async #orOver<T>(work: Promise<T>): Promise<T> {
    return await Promise.race([work, this.#over])
  }

  #destroy(): void {
    clearTimeout(this.#timer)
    this.#client = undefined
    for (const socket of this.#sockets) socket.destroy()
  }
}
