/** The settings of the test directory's trees, and signing in with them. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Writable } from 'node:stream'

import { pino } from 'pino'

import type { Directory, DirectoryAnswer } from '../../server/accounts/directory.ts'
import { makeConfig } from '../../server/config.ts'
import type { DirectorySettings } from '../../server/directory-settings.ts'
import { openDirectory } from '../../server/directory/open-directory.ts'
import { Failure } from '../../server/failure.ts'
import { createLog } from '../../server/log.ts'
import type { Log } from '../../server/log.ts'
import { trees } from '../support/slapd-config.ts'
import { serviceDn, servicePassword } from '../support/slapd-people.ts'
import { certificateName } from '../support/slapd.ts'
import type { Slapd } from '../support/slapd.ts'

export type Table = Readonly<Record<string, unknown>>

export const silent = createLog('silent')

/** [directory] for OpenLDAP's tree; `more` takes the place of single keys, undefined removes one. */
export function siteTable(slapd: Slapd, more: Table = {}): Table {
  return table(slapd, trees.site, { preset: 'openldap', ...more })
}

export function windowsTable(slapd: Slapd, more: Table = {}): Table {
  return table(slapd, trees.windows, { preset: 'activedirectory', ...more })
}

/** FreeIPA's lets everybody read, so there is no service account. */
export function ipaTable(slapd: Slapd, more: Table = {}): Table {
  const anonymous = { bind_dn: undefined, bind_password_file: undefined }
  return table(slapd, trees.ipa, { preset: 'freeipa', ...anonymous, ...more })
}

function table(slapd: Slapd, tree: string, more: Table): Table {
  const file = join(slapd.directory, 'service-password')
  writeFileSync(file, `${servicePassword}\n`)
  const all = {
    provider: 'ldap',
    servers: [slapd.tlsUrl],
    ca_file: slapd.authority.caFile,
    server_name: certificateName,
    base: `ou=people,${tree}`,
    bind_dn: serviceDn(tree),
    bind_password_file: file,
    timeout_seconds: 4,
    ...more,
  }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}

export function settingsOf(directory: Table): DirectorySettings {
  const settings = makeConfig({ directory }).directory
  assert.ok(settings)
  return settings
}

export function open(directory: Table, log: Log = silent): Directory {
  const opened = openDirectory(settingsOf(directory), log)
  assert.ok(opened)
  return opened
}

/** Lets every attempt in. */
export async function signIn(
  directory: Directory,
  name: string,
  password: string,
): Promise<DirectoryAnswer> {
  return await directory.signIn(name, password, async () => {})
}

/** `accepted alice`, `password-expired alice`, `refused locked`: what a table of cases compares. */
export function inShort(answer: DirectoryAnswer): string {
  if (answer.outcome === 'accepted') return `accepted ${answer.entry.name}`
  if (answer.outcome === 'password-expired') return `password-expired ${answer.name}`
  return `refused ${answer.reason}`
}

/** For assert.rejects: what people are told when the directory cannot be asked, or does not answer. */
export function isUnavailable(text: RegExp = /./): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof Failure, String(error))
    assert.equal(error.kind, 'unavailable')
    assert.equal(error.subject, 'directory')
    assert.match(error.message, text)
    return true
  }
}

/** A log that can be read. */
export function readableLog(): { log: Log; text: () => string } {
  const lines: string[] = []
  const sink = new Writable({
    write: (line: Buffer, _encoding, done) => {
      lines.push(line.toString())
      done()
    },
  })
  return { log: pino({ level: 'debug' }, sink), text: () => lines.join('') }
}
