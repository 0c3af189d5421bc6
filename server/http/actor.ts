/** Who makes the request, by its Authorization header; found once, asked for by the routes. */
import type { NextFunction, Request, RequestHandler, Response } from 'express'

import type { AccountActor, Actor } from '../accounts/actor.ts'
import { requireAccount } from '../accounts/permissions.ts'
import type { SignIn } from '../accounts/sign-in.ts'
import { endsSoon } from '../accounts/tokens.ts'
import type { Tokens } from '../accounts/tokens.ts'

const actors = new WeakMap<Request, Actor>()

/**
 * Schemes come as Bearer, BEARER and bearer, and with an empty token from clients that are logged
 * out (protocol.md 0.2). A token that is not live makes the caller anonymous, not an error: public
 * reading goes on, and what needs an account says that the token is over.
 */
export function identify(tokens: Tokens): RequestHandler {
  return async (req: Request, res: Response, next: NextFunction): Promise<void> => {
    const address = req.ip ?? 'unknown'
    const token = bearerToken(req)
    const account = token === undefined ? undefined : await tokens.authenticate(token, address)
    const rejected = token !== undefined && account === undefined
    actors.set(req, account ?? { kind: 'anonymous', rejected, address })
    if (account?.tokenExpiresAt && endsSoon(account.tokenExpiresAt)) {
      res.set('Berth-Token-Expires', account.tokenExpiresAt.toISOString())
    }
    next()
  }
}

/** For an edge that finds the caller in its own way. */
export function setActor(req: Request, actor: Actor): void {
  actors.set(req, actor)
}

export function actorOf(req: Request): Actor {
  return actors.get(req) ?? { kind: 'anonymous', rejected: false, address: req.ip ?? 'unknown' }
}

/** For sites that let nobody in without a token. */
export function signedInOnly(): RequestHandler {
  return (req, _res, next) => {
    requireAccount(actorOf(req))
    next()
  }
}

export function bearerToken(req: Request): string | undefined {
  return bearerOf(req.get('authorization'))
}

/** The token of an Authorization header. */
export function bearerOf(header: string | undefined): string | undefined {
  return /^bearer +(\S+) *$/i.exec(header ?? '')?.[1]
}

/** The account whose name and password came as HTTP Basic; undefined when none did. */
export async function passwordAccount(
  req: Request,
  signIn: SignIn,
): Promise<AccountActor | undefined> {
  const basic = passwordOf(req)
  if (basic === undefined) return undefined
  return await signIn.withPassword(basic.name, basic.password, req.ip ?? 'unknown')
}

/** Name and password of HTTP Basic, in UTF-8 (RFC 7617). */
export function passwordOf(req: Request): { name: string; password: string } | undefined {
  const match = /^basic +([A-Za-z0-9+/=_-]+) *$/i.exec(req.get('authorization') ?? '')
  if (match?.[1] === undefined) return undefined
  const text = Buffer.from(match[1], 'base64').toString('utf8')
  const colon = text.indexOf(':')
  if (colon < 0) return undefined
  return { name: text.slice(0, colon), password: text.slice(colon + 1) }
}
