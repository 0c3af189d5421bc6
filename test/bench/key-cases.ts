import type { Case } from './case.ts'
import type { Contender, KeySearches, Target } from './contender.ts'
import { measure } from './measure.ts'
import { loopRequests } from './request-loop.ts'
import { seededKeys } from './seed-keys.ts'

const connections = 4
const warmUpMs = 500
const measuredMs = 3000

/** What people search keys by: words of a name, a mail address, a fingerprint. */
export function keyCases(): Case[] {
  return [
    keyCase('key-words', 'search by a family name', (keys) => keys.words),
    keyCase('key-mail', 'search by a mail address', (keys) => keys.mail),
    keyCase('key-fingerprint', 'search by a fingerprint', (keys) => keys.fingerprint),
  ]
}

function keyCase(name: string, title: string, pick: (keys: KeySearches) => Target): Case {
  return {
    name,
    title: `${title}, ${seededKeys} keys, ${connections} connections`,
    unit: 'requests/s',
    goals: [{ kind: 'p99', atMostMs: 50 }],
    isFor: ({ keySearches }: Contender) => keySearches !== undefined,
    sample: async (contender) => {
      const keys = await contender.keySearches?.()
      if (keys === undefined) throw new Error(`${contender.name} has no keystore`)
      const target = pick(keys)
      await loopRequests(target, connections, warmUpMs)
      return await measure(contender, async () => {
        return await loopRequests(target, connections, measuredMs)
      })
    },
  }
}
