/** Where a build may go: hosts by name, and then only what their names resolve to in public. */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { BlockList } from 'node:net'

import { isListed } from '../../host-list.ts'
import type { Destination } from '../../host-list.ts'
import { isReachable, isSiteAddress } from './addresses.ts'

/** All addresses of a name; the resolver of the host, unless a test has its own. */
export type Resolve = (host: string) => Promise<readonly string[]>

/** The message is for the person whose build it is. */
export class NotAllowed extends Error {
  override readonly name = 'NotAllowed'
}

/** Exceptions from the rule that an address has to be public. */
export interface PrivatePlaces {
  /** Whatever has one of these addresses. */
  readonly networks: BlockList
  /** These hosts, as far as their addresses are a site's own. */
  readonly hosts: readonly string[]
}

export const resolveOnHost: Resolve = async (host) =>
  (await lookup(host, { all: true, verbatim: true })).map(({ address }) => address)

/**
 * One address to connect to: resolved once, checked, and never resolved again. Throws NotAllowed.
 * `lists` all have to hold the host: that of the server, and that of the builder.
 */
export async function addressFor(
  destination: Destination,
  lists: readonly (readonly string[])[],
  places: PrivatePlaces,
  resolve: Resolve,
): Promise<string> {
  const name = `${destination.host}:${destination.port}`
  if (!lists.every((list) => isListed(destination, list))) {
    throw new NotAllowed(`${name} is not on the list of hosts that builds may reach`)
  }
  const isLiteral = isIP(destination.host) !== 0
  const addresses = isLiteral ? [destination.host] : await resolve(destination.host)
  const isOfSite = isListed(destination, places.hosts)
  const good = addresses.find(
    (address) => isReachable(address, places.networks) || (isOfSite && isSiteAddress(address)),
  )
  if (good === undefined) throw new NotAllowed(`${name} has no public address`)
  return good
}
