/** Which addresses a build may be connected to, after its names were resolved. */
import { BlockList, isIP } from 'node:net'

/**
 * What is no place in the public network: the special-purpose registries of IANA (RFC 6890 and its
 * updates), of which link-local holds the metadata services, and all forms of IPv6 that carry an IPv4
 * address within, because the host may deliver them to that one.
 */
const special = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '::/96',
  '::ffff:0:0/96',
  '64:ff9b::/96',
  '64:ff9b:1::/48',
  '100::/64',
  '2001::/23',
  '2001:db8::/32',
  '2002::/16',
  'fc00::/7',
  'fe80::/10',
  'fec0::/10',
  'ff00::/8',
]

/**
 * Of these, what is no machine of a site either: "this" host, loopback, link-local, multicast, and the forms with an IPv4 address within. Documentation networks of IPv4 are left,
 * because sites are known to number their insides with them.
 */
const neverOfSite = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '192.0.0.0/24',
  '192.88.99.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '::/96',
  '::ffff:0:0/96',
  '64:ff9b::/96',
  '64:ff9b:1::/48',
  '100::/64',
  '2001::/23',
  '2002::/16',
  // The metadata service of a cloud, which has numbered it so.
  'fd00:ec2::/32',
  'fe80::/10',
  'ff00::/8',
]

/** Apart, because BlockList takes an IPv4 address for its IPv6 form too, and all of those are barred. */
const [specialLists, neverLists] = [special, neverOfSite].map((networks) => ({
  ipv4: networkList(networks.filter((network) => !network.includes(':'))),
  ipv6: networkList(networks.filter((network) => network.includes(':'))),
})) as [ByFamily, ByFamily]

interface ByFamily {
  readonly ipv4: BlockList
  readonly ipv6: BlockList
}

/** "10.1.0.0/16", "10.1.2.3", "fd00::/8". Throws for anything else. */
export function networkList(networks: readonly string[]): BlockList {
  const list = new BlockList()
  for (const network of networks) {
    const [address = '', prefix] = network.split('/')
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
    if (isIP(address) === 0) throw new TypeError(`${network} is no network`)
    if (prefix === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(prefix), family)
  }
  return list
}

/** `address` as the resolver gives it, in the canonical spelling. */
export function isReachable(address: string, privateNetworks: BlockList): boolean {
  const family = familyOf(address)
  if (family === undefined) return false
  return !specialLists[family].check(address, family) || privateNetworks.check(address, family)
}

/** An address that a machine of a site can have: a private one, but none of the builder itself. */
export function isSiteAddress(address: string): boolean {
  const family = familyOf(address)
  return family !== undefined && !neverLists[family].check(address, family)
}

function familyOf(address: string): 'ipv4' | 'ipv6' | undefined {
  const version = isIP(address)
  return version === 0 ? undefined : version === 6 ? 'ipv6' : 'ipv4'
}
