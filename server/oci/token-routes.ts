/** /registry/token: short-lived tokens for the registry, by GET with HTTP Basic or OAuth2 POST. */
import express from 'express'
import type { Request, Router } from 'express'
import { z } from 'zod'

import type { AccountActor } from '../accounts/actor.ts'
import { catalogName } from '../accounts/registry-tokens.ts'
import type { Grant, RegistryTokens } from '../accounts/registry-tokens.ts'
import type { Tokens } from '../accounts/tokens.ts'
import { parseOciRepository } from '../content/names.ts'
import type { NameDefaults } from '../content/names.ts'
import type { Registry } from '../content/registry.ts'
import { Failure, invalid, unauthenticated } from '../failure.ts'
import { bearerToken, passwordOf } from '../http/actor.ts'
import { parse } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'
import type { Log } from '../log.ts'
import { wrongCredential } from './access.ts'
import { ociErrors } from './problem.ts'
import type { Challenge } from './problem.ts'
import { parseScopes } from './scopes.ts'

export interface TokenRouteParts {
  readonly registry: Registry
  readonly tokens: Tokens
  readonly registryTokens: RegistryTokens
  readonly defaults: NameDefaults
  readonly anonymousPull: boolean
  readonly challenge: Challenge
  readonly log: Log
}

const word = z.string().max(8192)
const form = z.looseObject({
  grant_type: z.enum(['password', 'refresh_token']),
  username: word.optional(),
  password: word.optional(),
  refresh_token: word.optional(),
  scope: z.union([word, z.array(word).max(32)]).optional(),
})

export function registryTokenRoutes(parts: TokenRouteParts): Router {
  const { registry, tokens, registryTokens, defaults } = parts
  const router = newRouter()

  router.get('/registry/token', async (req, res) => {
    const credential = passwordOf(req)?.password ?? bearerToken(req)
    const account = await signIn(req, passwordOf(req)?.name, credential)
    const grants = await grantsFor(account, scopesOf(req))
    const issued = await registryTokens.issue(account, grants)
    const wantsRefresh = new URL(req.url, 'http://x').searchParams.get('offline_token') === 'true'
    res.set('Cache-Control', 'no-store').json({
      token: issued.token,
      access_token: issued.token,
      expires_in: issued.expiresIn,
      issued_at: issued.issuedAt.toISOString(),
      // What a client keeps to come back with is what it came with.
      ...(wantsRefresh && account ? { refresh_token: credential } : {}),
    })
  })

  router.post('/registry/token', express.urlencoded({ limit: '32kb' }), async (req, res) => {
    const input = parse(form, req.body)
    const credential = input.grant_type === 'password' ? input.password : input.refresh_token
    const name = input.grant_type === 'password' ? input.username : undefined
    if (credential === undefined) throw invalid('request', `"${input.grant_type}" needs one.`)
    const account = await signIn(req, name, credential)
    const wanted = typeof input.scope === 'string' ? [input.scope] : (input.scope ?? [])
    const grants = await grantsFor(account, wanted)
    const issued = await registryTokens.issue(account, grants)
    res.set('Cache-Control', 'no-store').json({
      access_token: issued.token,
      refresh_token: credential,
      expires_in: issued.expiresIn,
      issued_at: issued.issuedAt.toISOString(),
      scope: grants.map(printed).join(' '),
    })
  })

  router.use(ociErrors(parts.challenge, parts.log))
  return router

  /** Undefined for somebody who brought no credential; a wrong one is told so here. */
  async function signIn(
    req: Request,
    name: string | undefined,
    credential: string | undefined,
  ): Promise<AccountActor | undefined> {
    if (credential === undefined) {
      if (parts.anonymousPull) return undefined
      throw unauthenticated('Sign in with your user name and an access token.')
    }
    const account = await tokens.authenticate(credential, req.ip ?? 'unknown')
    if (account === undefined) throw wrongCredential()
    if (name !== undefined && name.toLowerCase() !== account.name) throw wrongCredential()
    return account
  }

  /** The wanted actions that are allowed; what is not is left out without a word. */
  async function grantsFor(
    account: AccountActor | undefined,
    wanted: readonly string[],
  ): Promise<Grant[]> {
    const grants: Grant[] = []
    for (const scope of parseScopes(wanted)) {
      if (`${scope.type}:${scope.name}` === catalogName) {
        grants.push({ name: catalogName, actions: ['pull'] })
        continue
      }
      const name = scope.type === 'repository' ? repositoryOf(scope.name) : undefined
      if (name === undefined) continue
      const mayPush = account !== undefined && (await registry.mayPush(account, name.entity))
      const actions = scope.actions.filter((action) => action === 'pull' || mayPush)
      if (actions.length > 0) grants.push({ name: name.path, actions })
    }
    return grants
  }

  function repositoryOf(text: string) {
    try {
      return parseOciRepository(text, defaults)
    } catch (error) {
      if (error instanceof Failure) return undefined
      throw error
    }
  }
}

function printed({ name, actions }: Grant): string {
  return name === catalogName ? `${name}:*` : `repository:${name}:${actions.join(',')}`
}

/** The parameter may be repeated. */
function scopesOf(req: Request): string[] {
  return new URL(req.url, 'http://x').searchParams.getAll('scope')
}
