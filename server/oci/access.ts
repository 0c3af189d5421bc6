/**
 * Who asks the registry, and what for. Accepted are the registry's own tokens, an access token as
 * Bearer, and HTTP Basic with the account's name and an access token; without any of them public
 * content can be pulled, where the site lets people.
 */
import type { Request, RequestHandler } from 'express'

import type { Actor } from '../accounts/actor.ts'
import { catalogName } from '../accounts/registry-tokens.ts'
import type { Bearer, Grant, RegistryAction, RegistryTokens } from '../accounts/registry-tokens.ts'
import type { Tokens } from '../accounts/tokens.ts'
import type { RepositoryName } from '../content/names.ts'
import { unauthenticated } from '../failure.ts'
import type { Failure } from '../failure.ts'
import { bearerToken, passwordOf, setActor } from '../http/actor.ts'

interface Caller {
  readonly actor: Actor
  /** Undefined: nothing is granted beforehand, the permissions of the account decide alone. */
  readonly grants: readonly Grant[] | undefined
  readonly hasCredential: boolean
}

export interface AccessOptions {
  readonly tokens: Tokens
  readonly registryTokens: RegistryTokens
  readonly anonymousPull: boolean
}

const callers = new WeakMap<Request, Caller>()
const scopes = new WeakMap<Request, string>()

/** Finds the caller. A credential that is not good is refused here, so that clients renew it. */
export function identifyCaller(options: AccessOptions): RequestHandler {
  return async (req, _res, next) => {
    const caller = await findCaller(req, options)
    callers.set(req, caller)
    setActor(req, caller.actor)
    next()
  }
}

async function findCaller(req: Request, options: AccessOptions): Promise<Caller> {
  const address = req.ip ?? 'unknown'
  const basic = passwordOf(req)
  if (basic !== undefined) {
    const account = await options.tokens.authenticate(basic.password, address)
    if (account?.name !== basic.name.toLowerCase()) throw wrongCredential()
    return { actor: account, grants: undefined, hasCredential: true }
  }
  const token = bearerToken(req)
  if (token === undefined) {
    return { actor: anonymous(address), grants: undefined, hasCredential: false }
  }
  if (!options.registryTokens.claimsToBe(token)) {
    const account = await options.tokens.authenticate(token, address)
    if (account === undefined) throw wrongCredential()
    return { actor: account, grants: undefined, hasCredential: true }
  }
  const inSession = /\/blobs\/uploads\/[0-9a-f]{32}$/.test(req.path)
  const bearer = await options.registryTokens.verify(token, address, { inSession })
  if (bearer === undefined) throw wrongCredential()
  return { actor: actorOfBearer(bearer, address), grants: bearer.grants, hasCredential: true }
}

/** The caller, who may do this as far as his token goes; the domain checks the permission itself. */
export function callerFor(
  req: Request,
  name: RepositoryName,
  action: RegistryAction,
  options: { readonly anonymousPull: boolean },
): Actor {
  scopes.set(req, `repository:${name.path}:${action === 'push' ? 'pull,push' : action}`)
  const { actor, grants } = callerOf(req)
  const isGranted = grants?.some(
    (grant) => grant.name === name.path && grant.actions.includes(action),
  )
  const isUnsigned = actor.kind === 'anonymous'
  if (isUnsigned && (isGranted === false || action !== 'pull' || !options.anonymousPull)) {
    throw unauthenticated('Sign in with your user name and an access token.')
  }
  if (isGranted === false) throw notGranted(name, action)
  return actor
}

/** The same whether the repository is there or not. */
function notGranted({ path, entity }: RepositoryName, action: RegistryAction): Failure {
  return unauthenticated(
    `Your sign-in does not allow to ${action} "${path}": ask the owner of "${entity}" for access, or choose a name that begins with your own.`,
  )
}

/** Who lists the repositories. A token for some of them is no token for the names of all. */
export function catalogReader(req: Request, options: { readonly anonymousPull: boolean }): Actor {
  scopes.set(req, `${catalogName}:*`)
  const { actor, grants } = callerOf(req)
  if (grants?.some(({ name }) => name === catalogName) === false) {
    throw unauthenticated('The token does not allow to list the repositories.')
  }
  if (actor.kind === 'anonymous' && !options.anonymousPull) {
    throw unauthenticated('Sign in with your user name and an access token.')
  }
  return actor
}

/**
 * The caller as a reader of another repository, or of any: where his token does not name it, he
 * reads what everybody may.
 */
export function readerFor(req: Request, name: RepositoryName | undefined): Actor {
  const { actor, grants } = callerOf(req)
  const isGranted = grants?.some(
    (grant) => grant.name === name?.path && grant.actions.includes('pull'),
  )
  return isGranted === false ? anonymous(actor.address) : actor
}

export function callerOf(req: Request): Caller {
  return callers.get(req) ?? { actor: anonymous(''), grants: undefined, hasCredential: false }
}

/** The scope to ask for, once the route is known. */
export function scopeOf(req: Request): string | undefined {
  return scopes.get(req)
}

function actorOfBearer({ account }: Bearer, address: string): Actor {
  return account ?? anonymous(address)
}

function anonymous(address: string): Actor {
  return { kind: 'anonymous', rejected: false, address }
}

export function wrongCredential(): Failure {
  return unauthenticated(
    'The user name or the token is wrong, or the token is over: sign in with your user name and an access token (get_singularity_token) as password.',
  )
}
