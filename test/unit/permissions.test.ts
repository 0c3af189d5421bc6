import assert from 'node:assert/strict'
import test from 'node:test'

import type { AccountActor, Actor, TokenScope } from '../../server/accounts/actor.ts'
import {
  allows,
  requireAccount,
  requirePermission,
  viewerOf,
} from '../../server/accounts/permissions.ts'
import type { Action, Place } from '../../server/accounts/permissions.ts'
import { Failure } from '../../server/failure.ts'

const address = '192.0.2.1'
const account = (
  accountId: string,
  isAdmin: boolean,
  scope: TokenScope = 'all',
  groups: readonly string[] = [],
): AccountActor => ({
  kind: 'account',
  accountId,
  name: `user-${accountId}`,
  principals: [accountId, ...groups],
  isAdmin,
  scope,
  tokenId: undefined,
  tokenExpiresAt: undefined,
  address,
})
const actors = {
  owner: account('1', false),
  admin: account('2', true),
  other: account('3', false),
  member: account('4', false, 'all', ['g1']),
  reader: account('5', false),
  'reading group': account('6', false, 'all', ['g2']),
  'owner to pull': account('1', false, 'pull'),
  'owner to build': account('1', false, 'build'),
  'admin to pull': account('2', true, 'pull'),
  anonymous: { kind: 'anonymous', rejected: false, address },
  expired: { kind: 'anonymous', rejected: true, address },
} as const satisfies Record<string, Actor>

const places = {
  open: { entity: 'alice', ownerId: '1', private: false, readers: [] },
  private: { entity: 'alice', ownerId: '1', private: true, readers: ['5', 'g2'] },
  // Readers that were named while it was private gain nothing else.
  opened: { entity: 'alice', ownerId: '1', private: false, readers: ['5', 'g2'] },
  group: { entity: 'climate', ownerId: 'g1', private: false, readers: [] },
  'private group': { entity: 'climate', ownerId: 'g1', private: true, readers: [] },
  site: { entity: 'library', ownerId: null, private: false, readers: [] },
  'private site': { entity: 'library', ownerId: null, private: true, readers: [] },
} as const satisfies Record<string, Place>

type Answer = 'yes' | Failure['kind']

// pull, push and delete; the last two are always the same.
const matrix: readonly (readonly [keyof typeof places, keyof typeof actors, Answer, Answer])[] = [
  ['open', 'owner', 'yes', 'yes'],
  ['open', 'admin', 'yes', 'yes'],
  ['open', 'other', 'yes', 'denied'],
  ['open', 'anonymous', 'yes', 'unauthenticated'],
  ['open', 'expired', 'yes', 'unauthenticated'],
  ['private', 'owner', 'yes', 'yes'],
  ['private', 'admin', 'yes', 'yes'],
  ['private', 'other', 'not-found', 'not-found'],
  ['private', 'anonymous', 'not-found', 'not-found'],
  ['private', 'expired', 'not-found', 'not-found'],
  ['private', 'reader', 'yes', 'denied'],
  ['private', 'reading group', 'yes', 'denied'],
  ['private', 'member', 'not-found', 'not-found'],
  ['private', 'owner to pull', 'yes', 'denied'],
  ['private', 'owner to build', 'yes', 'denied'],
  ['private', 'admin to pull', 'yes', 'denied'],
  ['open', 'owner to pull', 'yes', 'denied'],
  ['open', 'admin to pull', 'yes', 'denied'],
  ['opened', 'reader', 'yes', 'denied'],
  ['group', 'member', 'yes', 'yes'],
  ['group', 'owner', 'yes', 'denied'],
  ['group', 'admin', 'yes', 'yes'],
  ['private group', 'member', 'yes', 'yes'],
  ['private group', 'owner', 'not-found', 'not-found'],
  ['private group', 'anonymous', 'not-found', 'not-found'],
  ['site', 'owner', 'yes', 'denied'],
  ['site', 'admin', 'yes', 'yes'],
  ['site', 'other', 'yes', 'denied'],
  ['site', 'anonymous', 'yes', 'unauthenticated'],
  ['site', 'expired', 'yes', 'unauthenticated'],
  ['private site', 'owner', 'not-found', 'not-found'],
  ['private site', 'admin', 'yes', 'yes'],
  ['private site', 'other', 'not-found', 'not-found'],
  ['private site', 'anonymous', 'not-found', 'not-found'],
  ['private site', 'expired', 'not-found', 'not-found'],
]
for (const [place, actor, pull, change] of matrix) {
  test(`${actor}, ${place} place: pull ${pull}, push and delete ${change}`, () => {
    const wanted: readonly (readonly [Action, Answer])[] = [
      ['pull', pull],
      ['push', change],
      ['delete', change],
    ]
    for (const [action, answer] of wanted) {
      assert.equal(allows(actors[actor], action, places[place]), answer === 'yes')
      assert.equal(
        answerOf(() => requirePermission(actors[actor], action, places[place])),
        answer,
      )
    }
  })
}

test('a refusal names the space, the caller and where the caller may push', () => {
  assert.throws(() => requirePermission(actors.other, 'push', places.open), {
    message:
      'You may not push to "alice": you are signed in as user-3, and your own space is library://user-3/…',
  })
})

test('without an account the message says how to get one, and whether a token was over', () => {
  assert.throws(
    () => requireAccount(actors.anonymous),
    /^Failure: Sign in first: .*get_singularity_token/,
  )
  assert.throws(() => requireAccount(actors.expired), /expired or revoked.*get_singularity_token/)
  assert.equal(requireAccount(actors.owner), actors.owner)
})

test('lists take the account and whether everything is shown', () => {
  assert.deepEqual(viewerOf(actors.owner), { principals: ['1'], isAdmin: false })
  assert.deepEqual(viewerOf(actors.admin), { principals: ['2'], isAdmin: true })
  assert.deepEqual(viewerOf(actors.expired), { principals: [], isAdmin: false })
})

function answerOf(work: () => void): Answer {
  try {
    work()
    return 'yes'
  } catch (error) {
    assert.ok(error instanceof Failure)
    return error.kind
  }
}
