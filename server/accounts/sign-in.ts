/**
 * Signing in with a name and a password: Berth's own accounts first, then the site's directory or
 * portal. Everybody who is refused hears the same words after the same time; the reason is in the
 * audit log.
 */
import { setTimeout } from 'node:timers/promises'

import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import { Failure } from '../failure.ts'
import type { AccountActor } from './actor.ts'
import { audit } from './audit.ts'
import { admitEntry } from './directory-accounts.ts'
import type { DirectoryRules } from './directory-accounts.ts'
import type { Directory, DirectoryEntry } from './directory.ts'
import { checkPassword } from './password-hash.ts'
import { Throttle } from './throttle.ts'
import type { Attempt, ThrottleLimits } from './throttle.ts'

export interface SignInOptions {
  readonly directory: Directory | undefined
  readonly rules: DirectoryRules
  readonly limits: ThrottleLimits
  /** Where people change a password that has expired. */
  readonly passwordUrl: string | undefined
  /** Refusals are answered at multiples of this many milliseconds: how long a check took is not seen. */
  readonly refusalStepMs: number
  /** Is told of each attempt, for whoever counts. */
  readonly ended?: (outcome: SignInOutcome) => void
}

export type SignInOutcome = 'accepted' | 'refused' | 'limited' | 'unavailable'

/** Why somebody was not let in, for the audit log. */
type Reason = string

const maxName = 256
const maxPassword = 1024

export class SignIn {
  readonly #database: Database
  readonly #options: SignInOptions
  readonly #throttle: Throttle

  constructor(database: Database, options: SignInOptions) {
    this.#database = database
    this.#options = options
    this.#throttle = new Throttle(database, options.limits, async (subject) => {
      await this.#auditRefusal(subject, 'throttled', 'unknown')
    })
  }

  /**
   * The account, or Failure: `unauthenticated` for a wrong name or password, `throttled` after too
   * many of those, `unavailable` when the directory does not answer.
   */
  async withPassword(name: string, password: string, address: string): Promise<AccountActor> {
    const startedAt = performance.now()
    try {
      const account = await this.#check(name, password, address)
      this.#options.ended?.('accepted')
      return account
    } catch (error) {
      this.#options.ended?.(outcomeOf(error))
      if (error instanceof Failure && error.kind === 'unauthenticated') {
        await this.#waitForStep(startedAt)
      }
      throw error
    }
  }

  async forgetOldAttempts(): Promise<number> {
    return await this.#throttle.forgetOld()
  }

  async #check(typed: string, password: string, address: string): Promise<AccountActor> {
    const name = typed.normalize('NFC').trim().toLowerCase()
    const byAddress = await this.#throttle.admitAddress(address)
    // NUL cannot be in a name, and at the end of a password it would not change the key that scrypt
    // derives (HMAC pads with it): such a pair is nobody's. An empty password never reaches a
    // directory: some take it for an anonymous bind, which succeeds (RFC 4513, 5.1.2).
    if (!isLoginName(name) || !isPassword(password)) {
      throw await this.#refuse(name, 'malformed', address)
    }
    const attempts: Attempt[] = [byAddress]
    const admit = async (canonical: string): Promise<void> => {
      attempts.push(await this.#throttle.admitAccount(canonical.toLowerCase()))
    }
    try {
      const account = await this.#identify(name, password, address, admit)
      for (const attempt of attempts) await attempt.succeeded()
      return account
    } catch (error) {
      const isAnswer = error instanceof Failure && error.kind === 'unauthenticated'
      if (!isAnswer) {
        // Not a wrong password; of those that throttling refused nothing was checked.
        for (const attempt of attempts) await attempt.withdraw()
      }
      throw error
    }
  }

  async #identify(
    name: string,
    password: string,
    address: string,
    admit: (canonical: string) => Promise<void>,
  ): Promise<AccountActor> {
    const local = await this.#findLocal(name)
    const { directory } = this.#options
    if (local === undefined && directory !== undefined) {
      return await this.#askDirectory(directory, name, password, address, admit)
    }
    await admit(name)
    const isRight = await checkPassword(password, local?.hash ?? undefined)
    if (local === undefined) throw await this.#refuse(name, 'unknown', address)
    if (!isRight) throw await this.#refuse(name, 'password', address)
    if (local.disabled) throw await this.#refuse(name, 'disabled', address)
    return await this.#welcome(local.id, address)
  }

  async #askDirectory(
    directory: Directory,
    name: string,
    password: string,
    address: string,
    admit: (canonical: string) => Promise<void>,
  ): Promise<AccountActor> {
    const answer = await directory.signIn(name, password, admit)
    if (answer.outcome === 'refused') {
      throw await this.#refuse(name, answer.reason, address, answer.detail)
    }
    if (answer.outcome === 'password-expired') {
      await this.#refuse(answer.name, 'password-expired', address)
      const { passwordUrl } = this.#options
      const where = passwordUrl === undefined ? 'it' : `it at ${passwordUrl}`
      throw refused(`The password is right, but it has expired: change ${where} and try again.`)
    }
    return await this.#admit(directory.provider, answer.entry, address)
  }

  async #admit(
    provider: Directory['provider'],
    entry: DirectoryEntry,
    address: string,
  ): Promise<AccountActor> {
    const admitted = await admitEntry(this.#database, provider, entry, this.#options.rules)
    if ('accountId' in admitted) return await this.#welcome(admitted.accountId, address)
    await this.#refuse(entry.name, admitted.reason, address)
    throw refused(admitted.message)
  }

  /** Writes the sign-in down and says who it is. */
  async #welcome(accountId: string, address: string): Promise<AccountActor> {
    return await this.#database.transaction(async (tx) => {
      const [row] = await tx.query<{ name: string; isAdmin: boolean; principals: string[] }>(sql`
        update accounts set signed_in_at = now() where id = ${accountId}
        returning name, is_admin as "isAdmin", principals_of(id) as "principals"`)
      if (row === undefined) throw refused()
      const account: AccountActor = {
        kind: 'account',
        accountId,
        ...row,
        scope: 'all',
        tokenId: undefined,
        tokenExpiresAt: undefined,
        address,
      }
      await audit(tx, account, { action: 'account.sign-in', target: row.name })
      return account
    })
  }

  async #findLocal(
    name: string,
  ): Promise<{ id: string; hash: string | null; disabled: boolean } | undefined> {
    const [row] = await this.#database.query<{
      id: string
      hash: string | null
      disabled: boolean
    }>(sql`
      select id, password_hash as "hash", disabled_at is not null as "disabled"
      from accounts where name = ${name} and provider = 'local'`)
    return row
  }

  async #refuse(name: string, reason: Reason, address: string, detail?: string): Promise<Failure> {
    // What was typed is not written down unless it is somebody's name: people type their password
    // into the wrong field.
    const [known] = await this.#database.query(
      sql`select 1 from accounts where name = ${isLoginName(name) ? name : ''}`,
    )
    const target = known === undefined ? 'unknown account' : name
    await this.#auditRefusal(target, reason, address, detail)
    return refused()
  }

  async #auditRefusal(
    target: string,
    reason: Reason,
    address: string,
    detail?: string,
  ): Promise<void> {
    const nobody = { kind: 'anonymous', rejected: true, address } as const
    const details = detail === undefined ? { reason } : { reason, detail }
    await audit(this.#database, nobody, {
      action: 'account.sign-in',
      target,
      outcome: 'refused',
      details,
    })
  }

  async #waitForStep(startedAt: number): Promise<void> {
    const { refusalStepMs } = this.#options
    if (refusalStepMs === 0) return
    const elapsed = performance.now() - startedAt
    await setTimeout(refusalStepMs - (elapsed % refusalStepMs))
  }
}

function outcomeOf(error: unknown): SignInOutcome {
  const kind = error instanceof Failure ? error.kind : undefined
  if (kind === 'throttled') return 'limited'
  return kind === 'unauthenticated' ? 'refused' : 'unavailable'
}

function refused(message = 'The name or the password is wrong.'): Failure {
  return new Failure('unauthenticated', 'account', message)
}

/** What can be a login name at all; the directory decides which are. */
function isLoginName(name: string): boolean {
  return name !== '' && name.length <= maxName && !/[\p{Cc}\p{Cs}]/u.test(name)
}

function isPassword(password: string): boolean {
  return password !== '' && password.length <= maxPassword && !password.includes('\0')
}
