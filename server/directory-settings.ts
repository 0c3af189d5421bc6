/** The table [directory] of the configuration: where the site keeps its people. */
import { z } from 'zod'

import { ldapTable } from './ldap-settings.ts'
import type { LdapSettings } from './ldap-settings.ts'
import { portalTable } from './portal-settings.ts'
import type { PortalSettings } from './portal-settings.ts'

export type DirectorySettings = LdapSettings | PortalSettings

const provider = z.object({ provider: z.enum(['ldap', 'portal']) })

/**
 * Keys of one provider are unknown keys of the other. The discriminator is read by hand, because a
 * union tells of its first mistake where the provider's own table tells of all.
 */
export const directoryTable = z.unknown().transform((value, context): DirectorySettings => {
  const chosen = provider.safeParse(value)
  const table = chosen.data?.provider === 'portal' ? portalTable : ldapTable
  const parsed = chosen.success ? table.safeParse(value) : chosen
  if (parsed.success) return parsed.data
  for (const issue of parsed.error.issues) {
    context.issues.push({ ...issue, input: value } as z.core.$ZodRawIssue)
  }
  return z.NEVER
})
