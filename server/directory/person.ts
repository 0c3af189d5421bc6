/** The person that an entry describes. */
import { isAccountName } from '../accounts/accounts.ts'
import type { DirectoryEntry } from '../accounts/directory.ts'
import type { LdapSettings } from '../ldap-settings.ts'
import { parseDn } from './distinguished-name.ts'
import type { Entry } from './entry.ts'
import { guidText } from './object-guid.ts'

export type Person = Omit<DirectoryEntry, 'groups'>

/** `malformed` says which attribute is missing or unusable, for the audit log. */
export function readPerson(
  entry: Entry,
  settings: LdapSettings,
): Person | { readonly malformed: string } {
  const { attributes } = settings
  const id = readId(entry, settings)
  if (id === undefined) return { malformed: `the entry has no ${attributes.id} that can be read` }
  const found = readName(entry, attributes.name)
  if (typeof found !== 'string') return found
  const name = settings.lowercaseNames ? found.toLowerCase() : found
  if (!isAccountName(name)) return { malformed: `the library cannot have the name "${name}"` }
  return {
    id,
    name,
    email: entry.text(attributes.mail) ?? '',
    fullName: entry.text(attributes.fullName) ?? '',
  }
}

export function readId(entry: Entry, { attributes }: LdapSettings): string | undefined {
  if (!isGuid(attributes.id)) return entry.text(attributes.id)
  const bytes = entry.bytes(attributes.id)
  return bytes === undefined ? undefined : guidText(bytes)
}

/** Whether the identifier is bytes, not text. */
export function isGuid(idAttribute: string): boolean {
  return idAttribute.toLowerCase() === 'objectguid'
}

/** Values have no order, so of several names the one in the entry's own name counts. */
function readName(entry: Entry, attribute: string): string | { readonly malformed: string } {
  const names = entry.texts(attribute)
  const [only] = names
  if (only === undefined) return { malformed: `the entry has no ${attribute} that can be read` }
  if (names.length === 1) return only
  const own = parseDn(entry.dn)?.[0]?.get(attribute.toLowerCase())
  const named = names.find((name) => name.toLowerCase() === own?.toLowerCase())
  return named ?? { malformed: `the entry has ${names.length} values of ${attribute}` }
}
