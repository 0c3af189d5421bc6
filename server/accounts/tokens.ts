/**
 * Access tokens: RS256 JWTs, because the stock enterprise plugin reads `sub` out of them and clients
 * take files of 200 to 4096 characters only. What makes one valid is the live row with its SHA-256:
 * revocation and expiry act with the next request, on every process, and neither a new signing key
 * nor a new host name ends a token.
 */
import { createHash } from 'node:crypto'

import { SignJWT } from 'jose'

import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { denied, Failure, notFound } from '../failure.ts'
import { newId } from '../identifiers.ts'
import { findAccountById } from './accounts.ts'
import type { AccountRow } from './accounts.ts'
import type { AccountActor, Actor, TokenScope } from './actor.ts'
import { audit } from './audit.ts'
import { requireAdministrator } from './permissions.ts'
import { signerOf } from './signing-key.ts'
import type { SigningKeys } from './signing-key.ts'

export interface TokenRow {
  readonly id: string
  readonly label: string
  readonly scope: TokenScope
  readonly issuedAt: Date
  readonly expiresAt: Date
  readonly revokedAt: Date | null
  readonly lastUsedAt: Date | null
  readonly lastUsedFrom: string | null
}

export interface IssuedToken {
  readonly token: string
  readonly id: string
  readonly expiresAt: Date
}

export interface TokensOptions {
  readonly keys: SigningKeys
  /** The site's address, as `iss`. */
  readonly issuer: string
  readonly validDays: number
  readonly perAccount: number
}

interface LiveToken {
  readonly tokenId: string
  readonly hash: Buffer
  readonly accountId: string
  readonly name: string
  readonly principals: string[]
  readonly isAdmin: boolean
  readonly scope: TokenScope
  readonly tokenExpiresAt: Date
  readonly stale: boolean
}

const maxLabel = 200
const maxTokenLength = 4096

export class Tokens {
  readonly #database: Database
  readonly #options: TokensOptions

  constructor(database: Database, options: TokensOptions) {
    this.#database = database
    this.#options = options
  }

  /** The token is in the answer and nowhere else. */
  async issue(
    account: AccountActor,
    label: string,
    scope: TokenScope = 'all',
  ): Promise<IssuedToken> {
    const { validDays } = this.#options
    return await this.#issue(account, account, { label, scope, seconds: validDays * 86_400 })
  }

  /**
   * An administrator's token for somebody whom Berth has no password of, such as a robot: never for
   * an administrator, and so neither for himself, since a token that begets such tokens could not
   * be revoked. `seconds` is how long it lives, at most as long as any token.
   */
  async issueFor(
    actor: Actor,
    accountId: string,
    options: { readonly label: string; readonly seconds: number },
  ): Promise<IssuedToken> {
    const admin = requireAdministrator(actor)
    const account = await findAccountById(this.#database, accountId)
    if (account === undefined) {
      throw notFound('account', `There is no account with the ID ${accountId}.`)
    }
    if (account.isAdmin) {
      throw denied(
        'token',
        `${account.name} is an administrator, who gets tokens with the password only: get_singularity_token.`,
      )
    }
    if (account.disabledAt !== null || account.suspendedAt !== null) {
      throw new Failure('conflict', 'account', `The account ${account.name} is not active.`)
    }
    const { label } = options
    const seconds = Math.min(options.seconds, this.#options.validDays * 86_400)
    const owner = { accountId, name: account.name }
    return await this.#issue(admin, owner, { label, scope: 'all', seconds })
  }

  async #issue(
    issuer: AccountActor,
    owner: { readonly accountId: string; readonly name: string },
    terms: { readonly label: string; readonly scope: TokenScope; readonly seconds: number },
  ): Promise<IssuedToken> {
    const { perAccount } = this.#options
    const { label, scope } = terms
    const { accountId } = owner
    const id = newId()
    const issuedAt = Math.floor(Date.now() / 1000)
    const expiresAt = issuedAt + terms.seconds
    const token = await this.#sign(id, owner, scope, { issuedAt, expiresAt })
    await this.#database.transaction(async (tx) => {
      await tx.query(sql`select 1 from accounts where id = ${accountId} for update`)
      const live = await this.#live(tx, accountId)
      if (live.length >= perAccount) {
        const who = issuer.accountId === accountId ? 'You have' : `${owner.name} has`
        throw new Failure(
          'conflict',
          'token',
          `${who} ${live.length} live tokens, and ${perAccount} is the limit: revoke one that is not used any more.`,
        )
      }
      await tx.query(sql`
        insert into tokens (id, account_id, hash, label, scope, issued_at, expires_at)
        values (${id}, ${accountId}, ${hashOf(token)}, ${label.slice(0, maxLabel)}, ${scope},
          to_timestamp(${issuedAt}), to_timestamp(${expiresAt}))`)
      const details = { label, scope, account: owner.name }
      await audit(tx, issuer, { action: 'token.issue', target: id, details })
    })
    return { token, id, expiresAt: new Date(expiresAt * 1000) }
  }

  /**
   * For the runner of a build, which pulls with the rights of the account. It replaces the one before,
   * ends with the build, and is neither listed nor counted. The label is one that clients hide.
   */
  async issueForBuild(account: AccountActor, buildId: string, seconds: number): Promise<string> {
    const id = newId()
    const issuedAt = Math.floor(Date.now() / 1000)
    const token = await this.#sign(id, account, 'pull', { issuedAt, expiresAt: issuedAt + seconds })
    await this.#database.transaction(async (tx) => {
      await this.endForBuild(tx, buildId)
      await tx.query(sql`
        insert into tokens (id, account_id, hash, label, scope, build_id, issued_at, expires_at)
        values (${id}, ${account.accountId}, ${hashOf(token)}, ${`Remote Build ${buildId}`}, 'pull',
          ${buildId}, to_timestamp(${issuedAt}), to_timestamp(${issuedAt + seconds}))`)
      const details = { scope: 'pull', account: account.name, build: buildId }
      await audit(tx, account, { action: 'token.issue', target: id, details })
    })
    return token
  }

  async endForBuild(tx: Db, buildId: string): Promise<void> {
    await tx.query(sql`delete from tokens where build_id = ${buildId}`)
  }

  async #sign(
    id: string,
    owner: { readonly accountId: string; readonly name: string },
    scope: TokenScope,
    times: { readonly issuedAt: number; readonly expiresAt: number },
  ): Promise<string> {
    const { keys, issuer } = this.#options
    const { kid, key } = signerOf(keys)
    return await new SignJWT({ username: owner.name, scope })
      .setProtectedHeader({ alg: 'RS256', kid, typ: 'JWT' })
      .setJti(id)
      .setSubject(owner.accountId)
      .setIssuer(issuer)
      .setIssuedAt(times.issuedAt)
      .setExpirationTime(times.expiresAt)
      .sign(key)
  }

  /** The account behind a token, or undefined unless the token is live right now. */
  async authenticate(token: string, address: string): Promise<AccountActor | undefined> {
    if (token.length > maxTokenLength) return undefined
    const [row] = await this.#database.query<LiveToken>(sql`
      select t.* from live_tokens t where t.hash = ${hashOf(token)}`)
    return row && (await this.#used(row, address))
  }

  /** The same by the Token ID, for credentials that were made from the token. */
  async authenticateById(id: string, address: string): Promise<AccountActor | undefined> {
    const [row] = await this.#database.query<LiveToken>(sql`
      select t.* from live_tokens t where t."tokenId" = ${id}`)
    return row && (await this.#used(row, address))
  }

  async #used(row: LiveToken, address: string): Promise<AccountActor> {
    const { stale, hash: _, ...account } = row
    if (stale) {
      await this.#database.query(sql`
        update tokens set last_used_at = now(), last_used_from = ${address} where id = ${row.tokenId}`)
    }
    return { kind: 'account', ...account, address }
  }

  /** Live tokens of the account; with `all`, also those that were revoked or have expired. */
  async list(account: AccountActor, options: { all?: boolean } = {}): Promise<TokenRow[]> {
    return options.all === true
      ? await this.#every(this.#database, account.accountId)
      : await this.#live(this.#database, account.accountId)
  }

  /** The owner revokes his own, an administrator anybody's. Revoking twice succeeds. */
  async revoke(account: AccountActor, id: string): Promise<void> {
    await this.#database.transaction(async (tx) => {
      const [row] = await tx.query<{ wasLive: boolean }>(sql`
        update tokens t set revoked_at = coalesce(t.revoked_at, now())
        from (select id, revoked_at is null as live from tokens where id = ${id} for update) before
        where t.id = before.id and (t.account_id = ${account.accountId} or ${account.isAdmin})
        returning before.live as "wasLive"`)
      if (row === undefined)
        throw notFound('token', `You have no token with the ID ${id.slice(0, 24)}.`)
      if (row.wasLive) await audit(tx, account, { action: 'token.revoke', target: id })
    })
  }

  /** The account that a request speaks for, with what /v1/rbac/users/current shows of it. */
  async accountOf(actor: AccountActor): Promise<AccountRow> {
    const account = await findAccountById(this.#database, actor.accountId)
    if (account === undefined) throw notFound('account', 'The account does not exist any more.')
    return account
  }

  async #live(db: Db, accountId: string): Promise<TokenRow[]> {
    const rows = await this.#every(db, accountId)
    const now = new Date()
    return rows.filter((row) => row.revokedAt === null && row.expiresAt > now)
  }

  async #every(db: Db, accountId: string): Promise<TokenRow[]> {
    return await db.query<TokenRow>(sql`
      select id, label, scope, issued_at as "issuedAt", expires_at as "expiresAt",
        revoked_at as "revokedAt", last_used_at as "lastUsedAt", last_used_from as "lastUsedFrom"
      from tokens where account_id = ${accountId} and build_id is null order by issued_at, id`)
  }
}

/** From 30 days before its end a token says so wherever somebody may notice. */
export function endsSoon(expiresAt: Date): boolean {
  return expiresAt.getTime() - Date.now() < 30 * 86_400_000
}

function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
