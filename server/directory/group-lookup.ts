/** The groups of a person, by the method that the site chose. */
import type { Filter } from 'ldapts'

import { Failure } from '../failure.ts'
import type { LdapSettings } from '../ldap-settings.ts'
import type { Connection } from './connection.ts'
import { isWithin, parseDn } from './distinguished-name.ts'
import type { Entry } from './entry.ts'
import { byMemberInChain, byMembers } from './filters.ts'

export interface FoundGroup {
  readonly dn: string
  /** Undefined for one that is left out: outside of the base, or without the name's attribute. */
  readonly name: string | undefined
}

/** Groups in groups in groups: a site with more than this has made a mistake, or somebody is testing us. */
const maxDepth = 20
/** Members asked about in one filter. */
const maxMembers = 100

export async function findGroups(
  connection: Connection,
  settings: LdapSettings,
  entry: Entry,
): Promise<readonly FoundGroup[]> {
  const { method, memberAttribute } = settings.groups
  if (method === 'none') return []
  if (method === 'member_of') return fromMemberOf(entry, settings)
  if (method === 'search') {
    const isName = memberAttribute === 'memberUid'
    const members = isName ? entry.texts(settings.attributes.name) : [entry.dn]
    return await search(connection, settings, byMembers(settings, members))
  }
  if (settings.preset === 'activedirectory') {
    return await search(connection, settings, byMemberInChain(settings, entry.dn))
  }
  return await climb(connection, settings, entry.dn)
}

/** The names that are taken. */
export function namesOf(groups: readonly FoundGroup[]): string[] {
  return [...new Set(groups.flatMap(({ name }) => (name === undefined ? [] : [name])))].sort()
}

function fromMemberOf(entry: Entry, { groups }: LdapSettings): FoundGroup[] {
  if (entry.isCut('memberOf')) {
    throw new Failure(
      'unavailable',
      'directory',
      'Somebody has more groups than the directory tells of in one reply: set [directory.groups] method = "search".',
    )
  }
  const base = groups.base === undefined ? [] : parseDn(groups.base)
  return entry.texts('memberOf').map((dn) => {
    const rdns = parseDn(dn)
    const isTaken = rdns !== undefined && base !== undefined && isWithin(rdns, base)
    return { dn, name: isTaken ? rdns[0]?.get(groups.nameAttribute.toLowerCase()) : undefined }
  })
}

/** Level by level, so that a group that contains itself is no trap. */
async function climb(
  connection: Connection,
  settings: LdapSettings,
  dn: string,
): Promise<FoundGroup[]> {
  const found = new Map<string, FoundGroup>()
  let level = [dn]
  for (let depth = 0; level.length > 0 && depth < maxDepth; depth += 1) {
    const above: string[] = []
    for (let first = 0; first < level.length; first += maxMembers) {
      const filter = byMembers(settings, level.slice(first, first + maxMembers))
      for (const group of await search(connection, settings, filter)) {
        if (found.has(group.dn)) continue
        found.set(group.dn, group)
        above.push(group.dn)
      }
    }
    level = above
  }
  return [...found.values()]
}

/** Without a size limit of ours and without pages: the directory answers all of it or with an error. */
async function search(
  connection: Connection,
  { groups }: LdapSettings,
  filter: Filter,
): Promise<FoundGroup[]> {
  const attributes = [groups.nameAttribute]
  const { entries } = await connection.search(groups.base ?? '', { filter, attributes })
  return entries.map((group) => ({ dn: group.dn, name: group.text(groups.nameAttribute) }))
}
