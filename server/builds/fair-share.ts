/**
 * Whose turn it is. Whoever has had least of the builders in the period comes first; each build
 * counts for a minute at least, so that many short ones are not free. Of one account, what was
 * handed in first.
 */
import type { Share, Waiting } from './build-rows.ts'

const leastWeight = 60

/**
 * All that wait, in the order in which they would start if every build took a minute. `waiting` is
 * in the order of submission.
 */
export function inOrder(waiting: readonly Waiting[], shares: readonly Share[]): Waiting[] {
  const weights = new Map(shares.map(({ accountId, weight }) => [accountId, weight]))
  const queues = new Map<string, Waiting[]>()
  for (const build of waiting) {
    const queue = queues.get(build.accountId)
    if (queue === undefined) queues.set(build.accountId, [build])
    else queue.push(build)
  }
  const order: Waiting[] = []
  while (queues.size > 0) {
    let first: { accountId: string; weight: number } | undefined
    // Map keeps the order of submission: of two that have had the same, who came first.
    for (const accountId of queues.keys()) {
      const weight = weights.get(accountId) ?? 0
      if (first === undefined || weight < first.weight) first = { accountId, weight }
    }
    if (first === undefined) break
    const queue = queues.get(first.accountId) ?? []
    const next = queue.shift()
    if (next !== undefined) order.push(next)
    weights.set(first.accountId, first.weight + leastWeight)
    // Behind those who have had the same.
    queues.delete(first.accountId)
    if (queue.length > 0) queues.set(first.accountId, queue)
  }
  return order
}

export interface ShareLimits {
  readonly runningPerUser: number
  /** 0: no limit. */
  readonly secondsPerPeriod: number
}

/**
 * Why a build of this account may not start now whoever else waits; undefined when it may. Said to
 * its owner, or to somebody else with the owner's name.
 */
export function heldBack(
  share: Share | undefined,
  limits: ShareLimits,
  owner?: string,
): string | undefined {
  if (share === undefined) return undefined
  if (share.active >= limits.runningPerUser) {
    return `${owner === undefined ? 'you have' : `${owner} has`} ${share.active} running ${share.active === 1 ? 'build' : 'builds'}, and ${limits.runningPerUser} is the limit`
  }
  if (limits.secondsPerPeriod > 0 && share.seconds >= limits.secondsPerPeriod) {
    return `${owner === undefined ? 'your builds' : `the builds of ${owner}`} have used the ${Math.round(limits.secondsPerPeriod / 60)} minutes that everybody has in the period`
  }
  return undefined
}
