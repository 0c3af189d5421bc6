/** The one permission function. Statements that list use its twin in SQL, `readable_by`. */
import { denied, Failure, unauthenticated } from '../failure.ts'
import type { AccountActor, Actor } from './actor.ts'

export type Action = 'pull' | 'push' | 'delete'

export interface Place {
  readonly entity: string
  /** Account ID of the owner; null for a space of the site. */
  readonly ownerId: string | null
  readonly private: boolean
}

export function allows(actor: Actor, action: Action, place: Place): boolean {
  const member = actor.kind === 'account' && (actor.isAdmin || place.ownerId === actor.accountId)
  return action === 'pull' ? member || !place.private : member
}

/** Throws what the caller should hear: sign in, not yours, or (what one may not see) not there. */
export function requirePermission(actor: Actor, action: Action, place: Place): void {
  if (allows(actor, action, place)) return
  if (!allows(actor, 'pull', place)) {
    throw new Failure('not-found', 'collection', 'There is no such collection.')
  }
  const { name } = requireAccount(actor)
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

/** Statements that list take the viewer's account and whether everything is shown. */
export function viewerOf(actor: Actor): { id: string | null; isAdmin: boolean } {
  return actor.kind === 'account'
    ? { id: actor.accountId, isAdmin: actor.isAdmin }
    : { id: null, isAdmin: false }
}
