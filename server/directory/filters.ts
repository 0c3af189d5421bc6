/** The filters that Berth sends. Values are parts of their own, so nothing in them is syntax. */
import { AndFilter, EqualityFilter, ExtensibleFilter, FilterParser, OrFilter } from 'ldapts'
import type { Filter } from 'ldapts'

import { invalid } from '../failure.ts'
import type { LdapSettings } from '../ldap-settings.ts'
import { guidBytes } from './object-guid.ts'
import { isGuid } from './person.ts'

/** Active Directory's LDAP_MATCHING_RULE_IN_CHAIN (MS-ADTS, 3.1.1.3.4.4.3): members of members too. */
const inChain = '1.2.840.113556.1.4.1941'

/** A filter of the configuration. */
export function parseFilter(text: string): Filter {
  try {
    return FilterParser.parseString(text)
  } catch (error) {
    throw invalid('directory', `${text} is no LDAP filter: ${(error as Error).message}.`, error)
  }
}

/** Everybody with this login name, among those whom the site's filter leaves. */
export function byName(settings: LdapSettings, name: string): Filter {
  const { attributes, userFilter } = settings
  return narrowed(userFilter, new EqualityFilter({ attribute: attributes.name, value: name }))
}

/**
 * Everybody with one of these identifiers. One that cannot be an objectGUID is nobody's; undefined
 * when all of them are such.
 */
export function byIds(settings: LdapSettings, ids: readonly string[]): Filter | undefined {
  const { attributes, userFilter } = settings
  const values = isGuid(attributes.id) ? ids.map(guidBytes) : ids
  const filters = values
    .filter((value) => value !== undefined)
    .map((value) => new EqualityFilter({ attribute: attributes.id, value }))
  return filters.length === 0 ? undefined : narrowed(userFilter, new OrFilter({ filters }))
}

/** Groups with one of these values in their member attribute. */
export function byMembers({ groups }: LdapSettings, members: readonly string[]): Filter {
  const filters = members.map(
    (value) => new EqualityFilter({ attribute: groups.memberAttribute, value }),
  )
  return narrowed(groups.filter, new OrFilter({ filters }))
}

/** Groups with this entry among their members, or among those of groups in them. */
export function byMemberInChain({ groups }: LdapSettings, dn: string): Filter {
  const chain = { matchType: groups.memberAttribute, rule: inChain, value: dn }
  return narrowed(groups.filter, new ExtensibleFilter(chain))
}

function narrowed(configured: string | undefined, filter: Filter): Filter {
  if (configured === undefined) return filter
  return new AndFilter({ filters: [parseFilter(configured), filter] })
}
