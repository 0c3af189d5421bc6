/** One person through the directory, step by step, for the administrator who sets it up. */
import type { DirectoryAnswer } from '../accounts/directory.ts'
import type { DirectorySettings } from '../directory-settings.ts'
import type { Log } from '../log.ts'
import { LdapDirectory } from './ldap.ts'
import { PortalDirectory } from './portal.ts'
import type { Report } from './steps.ts'

export interface WalkOptions {
  readonly name: string
  /** Undefined: what can be seen without it. */
  readonly password: string | undefined
  readonly log: Log
  /** Is called as things happen; no step has a secret in it. */
  readonly report: Report
}

/**
 * The very code of signing in, without throttling. Undefined when nothing can be learned without a
 * password; throws Failure('unavailable') as signing in does.
 */
export async function walkDirectory(
  settings: DirectorySettings,
  { name, password, log, report }: WalkOptions,
): Promise<DirectoryAnswer | undefined> {
  const letIn = async (): Promise<void> => {}
  if (settings.provider === 'portal') {
    if (password === undefined) return undefined
    return await new PortalDirectory(settings, log, report).signIn(name, password, letIn)
  }
  const directory = new LdapDirectory(settings, log, report)
  if (password === undefined) return await directory.lookUp(name)
  return await directory.signIn(name, password, letIn)
}
