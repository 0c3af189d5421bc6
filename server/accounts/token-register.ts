/** Access tokens by the account that they speak for: their owners' business, and administrators'. */
import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import { denied, notFound } from '../failure.ts'
import { findAccountById } from './accounts.ts'
import type { AccountActor, Actor, TokenScope } from './actor.ts'
import { audit } from './audit.ts'
import { requireAdministrator, requireFullAccount } from './permissions.ts'

export interface TokenRecord {
  readonly id: string
  readonly accountId: string
  readonly label: string
  readonly scope: TokenScope
  readonly issuedAt: Date
  readonly expiresAt: Date
  readonly revokedAt: Date | null
}

export interface TokenInUse extends TokenRecord {
  readonly lastUsedAt: Date | null
  readonly lastUsedFrom: string | null
}

export class TokenRegister {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** Live tokens in the order of their issue; with `all`, also the revoked and expired ones. */
  async list(
    actor: Actor,
    accountId: string,
    options: { readonly all: boolean },
  ): Promise<TokenRecord[]> {
    const account = requireFullAccount(actor)
    if (account.accountId !== accountId) await this.#requireOther(actor, accountId)
    return await this.#database.query<TokenRecord>(sql`
      select id, account_id as "accountId", label, scope, issued_at as "issuedAt",
        expires_at as "expiresAt", revoked_at as "revokedAt"
      from tokens where account_id = ${accountId} and build_id is null
        and (${options.all} or revoked_at is null and expires_at > now())
      order by issued_at, id`)
  }

  /** One's own; an administrator anybody's. Others do not hear whether there is such a token. */
  async find(actor: Actor, id: string): Promise<TokenInUse> {
    const account = requireFullAccount(actor)
    const [token] = await this.#database.query<TokenInUse>(sql`
      select id, account_id as "accountId", label, scope, issued_at as "issuedAt",
        expires_at as "expiresAt", revoked_at as "revokedAt", last_used_at as "lastUsedAt",
        last_used_from as "lastUsedFrom"
      from tokens where id = ${id}`)
    if (token !== undefined && mayManage(account, token.accountId)) return token
    if (account.isAdmin) throw notFound('token', `There is no token with the ID ${id}.`)
    throw denied('token', `You have no token with the ID ${id}.`)
  }

  /** Ends every live token of an account, and says how many those were. */
  async revokeAll(actor: Actor, accountId: string): Promise<number> {
    const account = requireFullAccount(actor)
    if (!mayManage(account, accountId)) {
      throw notFound('account', 'You may revoke your own tokens only.')
    }
    if (account.accountId !== accountId) await this.#requireOther(actor, accountId)
    return await this.#database.transaction(async (tx) => {
      const revoked = await tx.query<{ id: string }>(sql`
        update tokens set revoked_at = now()
        where account_id = ${accountId} and revoked_at is null and expires_at > now()
        returning id`)
      for (const { id } of revoked) await audit(tx, account, { action: 'token.revoke', target: id })
      return revoked.length
    })
  }

  async #requireOther(actor: Actor, accountId: string): Promise<void> {
    requireAdministrator(actor)
    if ((await findAccountById(this.#database, accountId)) === undefined) {
      throw notFound('account', `There is no account with the ID ${accountId}.`)
    }
  }
}

function mayManage(account: AccountActor, ownerId: string): boolean {
  return account.isAdmin || account.accountId === ownerId
}
