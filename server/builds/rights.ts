/** What a credential has to be good for, before a build is touched. */
import type { AccountActor, Actor } from '../accounts/actor.ts'
import { requireAccount } from '../accounts/permissions.ts'
import { denied } from '../failure.ts'

/** An account whose credential is good for building. */
export function requireBuilder(actor: Actor): AccountActor {
  const account = requireAccount(actor)
  if (account.scope !== 'pull') return account
  throw denied(
    'token',
    'This access token is only for pulling: get one for building with get_singularity_token --scope build.',
  )
}
