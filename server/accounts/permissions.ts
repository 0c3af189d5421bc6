/** The one permission function. Statements that list use its twin in SQL, `readable_by`. */
import { denied, Failure, unauthenticated } from '../failure.ts'
import type { AccountActor, Actor } from './actor.ts'

export type Action = 'pull' | 'push' | 'delete'

export interface Place {
  readonly entity: string
  /** The account or the group that owns the entity; null for a space of the site. */
  readonly ownerId: string | null
  readonly private: boolean
  /** Accounts and groups that may pull when it is private, besides those of the owner. */
  readonly readers: readonly string[]
}

/** Who lists: the principals whose private places are shown, and whether everything is. */
export interface Viewer {
  readonly principals: readonly string[]
  readonly isAdmin: boolean
}

export function allows(actor: Actor, action: Action, place: Place): boolean {
  if (action === 'pull') return !place.private || isMember(actor, place) || isReader(actor, place)
  return isMember(actor, place) && actor.kind === 'account' && actor.scope === 'all'
}

/** Throws what the caller should hear: sign in, not yours, or (what one may not see) not there. */
export function requirePermission(actor: Actor, action: Action, place: Place): void {
  if (allows(actor, action, place)) return
  if (!allows(actor, 'pull', place)) {
    throw new Failure('not-found', 'collection', 'There is no such collection.')
  }
  const { name } = requireFullAccount(actor)
  const verb = action === 'push' ? 'push to' : 'delete from'
  throw denied(
    'entity',
    `You may not ${verb} "${place.entity}": you are signed in as ${name}, and your own space is library://${name}/…`,
  )
}

export function requireAccount(actor: Actor): AccountActor {
  if (actor.kind === 'account') return actor
  throw unauthenticated(
    actor.rejected
      ? 'The access token is not valid any more (expired or revoked): get a new one with get_singularity_token and sign in with it (remote login).'
      : 'Sign in first: get a token with get_singularity_token and use it with remote login.',
  )
}

/** An account whose credential is good for everything that the account may do. */
export function requireFullAccount(actor: Actor): AccountActor {
  const account = requireAccount(actor)
  if (account.scope === 'all') return account
  const purpose = account.scope === 'pull' ? 'only for pulling' : 'only for pulling and building'
  throw denied(
    'token',
    `This access token is ${purpose}: get one for everything with get_singularity_token.`,
  )
}

export function requireAdministrator(actor: Actor): AccountActor {
  const account = requireFullAccount(actor)
  if (account.isAdmin) return account
  throw denied(
    'account',
    `This is for administrators of the site, and you are signed in as ${account.name}.`,
  )
}

export function viewerOf(actor: Actor): Viewer {
  return actor.kind === 'account'
    ? { principals: actor.principals, isAdmin: actor.isAdmin }
    : { principals: [], isAdmin: false }
}

function isMember(actor: Actor, { ownerId }: Place): boolean {
  if (actor.kind !== 'account') return false
  return actor.isAdmin || (ownerId !== null && actor.principals.includes(ownerId))
}

function isReader(actor: Actor, { readers }: Place): boolean {
  return actor.kind === 'account' && readers.some((reader) => actor.principals.includes(reader))
}
