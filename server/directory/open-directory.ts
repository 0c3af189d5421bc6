import type { Directory } from '../accounts/directory.ts'
import type { DirectorySettings } from '../directory-settings.ts'
import type { Log } from '../log.ts'
import { LdapDirectory } from './ldap.ts'
import { PortalDirectory } from './portal.ts'

/**
 * The site's directory or portal; undefined where Berth's own accounts are all there are. Nothing is
 * connected to before somebody signs in. Throws Failure('invalid') for a filter that is none.
 */
export function openDirectory(
  settings: DirectorySettings | undefined,
  log: Log,
): Directory | undefined {
  if (settings === undefined) return undefined
  if (settings.provider === 'portal') return new PortalDirectory(settings, log)
  return new LdapDirectory(settings, log)
}
