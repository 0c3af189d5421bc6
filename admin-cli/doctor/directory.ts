/** The site's directory or portal: each server by itself, as signing in would use it. */
import { ResultCodeError } from 'ldapts'

import { probeDirectory } from '../../server/directory/probe.ts'
import type { TlsPeer } from '../../server/directory/tls-peer.ts'
import type { LdapSettings } from '../../server/ldap-settings.ts'
import { createLog } from '../../server/log.ts'
import type { PortalSettings } from '../../server/portal-settings.ts'
import { certificateDays, isCertificateCode, isNameCode } from './certificates.ts'
import { codesOf, fault, messageOf, skipped, warning } from './check.ts'
import type { Check, Outcome } from './check.ts'
import type { Site } from './site.ts'

/** One server of the directory, asked once; each check says its part of what came of it. */
interface Asked {
  readonly server: string
  readonly peer: TlsPeer | undefined
  readonly error: unknown
}

const invalidCredentials = 49
const noSuchObject = 32

/** Site and what the servers said; empty where there is no directory. */
interface DirectorySubject {
  readonly site: Site
  readonly kind: 'ldap' | 'portal' | 'none'
  readonly asked: readonly Asked[]
}

export async function askDirectory(site: Site): Promise<DirectorySubject> {
  const { directory } = site.config
  if (directory === undefined) return { site, kind: 'none', asked: [] }
  const each =
    directory.provider === 'portal'
      ? [{ server: directory.url, settings: directory }]
      : directory.servers.map((one) => ({
          server: one.url,
          settings: { ...directory, servers: [one] },
        }))
  const asked = await Promise.all(
    each.map(async ({ server, settings }) => await ask(server, settings)),
  )
  return { site, kind: directory.provider, asked }
}

async function ask(server: string, settings: LdapSettings | PortalSettings): Promise<Asked> {
  let peer: TlsPeer | undefined
  try {
    await probeDirectory(settings, createLog('silent'), (step) => {
      if (step.step === 'certificate') peer = step.peer
    })
    return { server, peer, error: undefined }
  } catch (error) {
    return { server, peer, error }
  }
}

export const directoryChecks: readonly Check<DirectorySubject>[] = [
  {
    name: 'directory-answers',
    fix: 'Start the server, or correct directory.servers; berthctl directory test NAME shows each step. Tokens go on working.',
    run: (subject) =>
      failures(subject, 'ldap', (error) => !isTls(error) && !(ldapCode(error) !== undefined)),
  },
  {
    name: 'directory-bind',
    fix: 'Put the right password of directory.bind_dn into its bind_password_file, or correct the name.',
    run: (subject) => failures(subject, 'ldap', (error) => ldapCode(error) === invalidCredentials),
  },
  {
    name: 'directory-base',
    fix: 'Correct directory.base: people are searched below it.',
    run: (subject) => failures(subject, 'ldap', (error) => ldapCode(error) === noSuchObject),
  },
  {
    name: 'directory-refuses',
    fix: 'Give directory.bind_dn the right to search below directory.base.',
    run: (subject) =>
      failures(subject, 'ldap', (error) => {
        const code = ldapCode(error)
        return code !== undefined && code !== invalidCredentials && code !== noSuchObject
      }),
  },
  {
    name: 'portal-answers',
    fix: 'Start the portal, or correct directory.url. Nobody can sign in meanwhile; tokens go on working.',
    run: (subject) => failures(subject, 'portal', (error) => !isTls(error)),
  },
  {
    name: 'directory-certificate-name',
    fix: 'Set directory.server_name to a name that is in the certificate, or give the server one with its name.',
    run: (subject) => failures(subject, undefined, (error) => codesOf(error).some(isNameCode)),
  },
  {
    name: 'directory-certificate-trust',
    fix: 'Set directory.ca_file to the authority of the certificate, or renew it where it is over.',
    run: (subject) =>
      failures(subject, undefined, (error) => {
        const codes = codesOf(error)
        return codes.some(isCertificateCode) && !codes.some(isNameCode)
      }),
  },
  {
    name: 'directory-certificate-end',
    fix: 'Renew the certificate of the directory before that day: nobody can sign in afterwards.',
    run: ({ asked, site, kind }): Outcome => {
      if (kind === 'none') return noDirectory
      const ending = asked.flatMap(({ server, peer }) => {
        if (peer === undefined) return []
        const days = (peer.expiresAt.getTime() - site.host.now().getTime()) / 86_400_000
        return days < certificateDays ? [`that of ${server} ends ${dayOf(peer.expiresAt)}`] : []
      })
      return ending.length === 0 ? undefined : fault(ending.join('; '))
    },
  },
]

const noDirectory = skipped('there is no directory in the configuration')

function failures(
  { asked, kind }: DirectorySubject,
  only: 'ldap' | 'portal' | undefined,
  isOurs: (error: unknown) => boolean,
): Outcome {
  if (kind === 'none' || (only !== undefined && kind !== only)) return noDirectory
  const wrong = asked.filter(({ error }) => error !== undefined && isOurs(error))
  if (wrong.length === 0) return undefined
  const what = wrong.map(({ server, error }) => wordsOf(server, error)).join('; ')
  // With another server left, people are still let in.
  return wrong.length < asked.length ? warning(what) : fault(what)
}

function wordsOf(server: string, error: unknown): string {
  // Servers often say nothing; the name of the class is that of the result code.
  const code = ldapCode(error)
  const why =
    error instanceof ResultCodeError ? `${error.name}, LDAP result ${code}` : messageOf(error)
  return why.startsWith(server) ? why : `${server}: ${why}`
}

function ldapCode(error: unknown): number | undefined {
  return error instanceof ResultCodeError ? error.code : undefined
}

function isTls(error: unknown): boolean {
  return codesOf(error).some((code) => isCertificateCode(code) || isNameCode(code))
}

function dayOf(moment: Date): string {
  return moment.toISOString().slice(0, 10)
}
