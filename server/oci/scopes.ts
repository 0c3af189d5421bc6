/** Scopes of registry tokens: `repository:<name>:<action>,<action>`. Pure. */
import type { RegistryAction } from '../accounts/registry-tokens.ts'

export interface WantedScope {
  readonly type: string
  readonly name: string
  readonly actions: readonly RegistryAction[]
}

const maxScopes = 32

/**
 * Clients repeat the parameter, put several into one with blanks, order the actions as they like
 * and write `*` for all. What is none is left out: the reply grants what is understood and allowed.
 */
export function parseScopes(texts: readonly string[]): WantedScope[] {
  const scopes = texts.flatMap((text) => text.split(' ')).filter((text) => text !== '')
  return scopes.slice(0, maxScopes).flatMap((scope) => {
    const match = /^([a-z]+)(?:\([a-z]+\))?:([^:]*(?::\d+\/[^:]*)?):([a-z,*]*)$/.exec(scope)
    const [, type = '', name = '', actions = ''] = match ?? []
    return match === null ? [] : [{ type, name, actions: actionsOf(actions.split(',')) }]
  })
}

function actionsOf(words: readonly string[]): RegistryAction[] {
  const all: readonly RegistryAction[] = ['pull', 'push', 'delete']
  return all.filter((action) => words.includes('*') || words.includes(action))
}
