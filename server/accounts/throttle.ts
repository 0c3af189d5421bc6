/**
 * Guessing passwords is stopped by counting, in the database: the count is shared by all processes
 * and survives restarts. An attempt is counted before its password is checked, so that a hundred at
 * once are not a hundred guesses, and is forgotten when the password was right.
 */
import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import { Throttled } from '../failure.ts'

export interface ThrottleLimits {
  /** Below the number that would lock a person out of the site's directory. */
  readonly failuresPerAccount: number
  readonly accountWindowMinutes: number
  /** An address may be a login node that hundreds of people share. */
  readonly failuresPerAddress: number
  readonly addressWindowMinutes: number
}

/** `account:<name>` or `address:<IP address>`. */
export type Subject = `account:${string}` | `address:${string}`

export interface Attempt {
  /** The password was right: this attempt, and the account's earlier ones, count no more. */
  succeeded(): Promise<void>
  /** Nobody could say whether the password is right: this attempt does not count. */
  withdraw(): Promise<void>
}

/** The first refusal of a subject in a window is for the audit log; a flood must not fill it. */
export type Told = (subject: Subject) => Promise<void>

export class Throttle {
  readonly #database: Database
  readonly #limits: ThrottleLimits
  readonly #told: Told

  constructor(database: Database, limits: ThrottleLimits, told: Told) {
    this.#database = database
    this.#limits = limits
    this.#told = told
  }

  async admitAddress(address: string): Promise<Attempt> {
    const { failuresPerAddress, addressWindowMinutes } = this.#limits
    const subject: Subject = `address:${address}`
    const id = await this.#admit(subject, failuresPerAddress, addressWindowMinutes)
    const withdraw = async (): Promise<void> => await this.#forget(id)
    return { succeeded: withdraw, withdraw }
  }

  /** `name` is canonical where the directory knows it, so that ALICE and alice are one account. */
  async admitAccount(name: string): Promise<Attempt> {
    const { failuresPerAccount, accountWindowMinutes } = this.#limits
    const subject: Subject = `account:${name}`
    const id = await this.#admit(subject, failuresPerAccount, accountWindowMinutes)
    return {
      succeeded: async () => {
        await this.#database.query(sql`delete from sign_in_attempts where subject = ${subject}`)
      },
      withdraw: async () => await this.#forget(id),
    }
  }

  /** Removes what no window reaches any more. */
  async forgetOld(): Promise<number> {
    const { accountWindowMinutes, addressWindowMinutes } = this.#limits
    const minutes = Math.max(accountWindowMinutes, addressWindowMinutes)
    const rows = await this.#database.query(sql`
      delete from sign_in_attempts where at < now() - make_interval(mins => ${minutes}) returning 1`)
    return rows.length
  }

  async #admit(subject: Subject, limit: number, windowMinutes: number): Promise<number> {
    const outcome = await this.#database.transaction(async (tx) => {
      await tx.query(sql`select pg_advisory_xact_lock(hashtextextended(${subject}, 5080))`)
      const recent = await tx.query<{ id: number; told: boolean; seconds: number }>(sql`
        select id, told, ceil(extract(epoch from
          at + make_interval(mins => ${windowMinutes}) - now()))::int as "seconds"
        from sign_in_attempts
        where subject = ${subject} and at > now() - make_interval(mins => ${windowMinutes})
        order by at desc limit ${limit}`)
      const [newest] = recent
      if (newest === undefined || recent.length < limit) {
        const [row] = await tx.query<{ id: number }>(
          sql`insert into sign_in_attempts (subject) values (${subject}) returning id`,
        )
        return { id: row?.id ?? 0 }
      }
      if (!newest.told) {
        await tx.query(sql`update sign_in_attempts set told = true where id = ${newest.id}`)
      }
      // The oldest of those that count is the first to leave the window.
      return { isFirst: !newest.told, seconds: recent.at(-1)?.seconds ?? 60 }
    })
    if ('id' in outcome) return outcome.id
    if (outcome.isFirst) await this.#told(subject)
    throw new Throttled('account', tooMany(outcome.seconds), outcome.seconds)
  }

  async #forget(id: number): Promise<void> {
    await this.#database.query(sql`delete from sign_in_attempts where id = ${id}`)
  }
}

function tooMany(seconds: number): string {
  const wait = seconds > 90 ? `${Math.ceil(seconds / 60)} minutes` : `${seconds} seconds`
  return `Too many wrong passwords: try again in ${wait}. Access tokens that you have go on working.`
}
