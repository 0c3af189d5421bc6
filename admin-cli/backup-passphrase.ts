/** How the secrets of a backup are encrypted, from the options of the commands and the settings. */
import { readFileSync } from 'node:fs'

import type { BackupSettings } from '../server/backup-settings.ts'
import type { Encryption } from '../server/backup/secrets-archive.ts'
import { CommandError, UsageError } from './exit.ts'

export interface EncryptionOptions {
  readonly 'passphrase-file'?: string | undefined
  readonly recipient?: string | undefined
  readonly 'without-secrets': boolean
}

const minPassphrase = 12

/** Undefined: the secrets stay out, because somebody said so. */
export function encryptionOf(
  options: EncryptionOptions,
  settings: BackupSettings | undefined,
): Encryption | undefined {
  const given = [
    options['passphrase-file'],
    options.recipient,
    options['without-secrets'] ? true : undefined,
  ]
  if (given.filter((one) => one !== undefined).length > 1) {
    throw new UsageError('Give one of --passphrase-file, --recipient and --without-secrets.')
  }
  if (options['without-secrets']) return undefined
  const isGiven = given.some((one) => one !== undefined)
  const recipient = options.recipient ?? (isGiven ? undefined : settings?.recipientFile)
  if (recipient !== undefined) return { kind: 'recipient', certificate: readFileSync(recipient) }
  const file = options['passphrase-file'] ?? settings?.passphraseFile
  if (file !== undefined) return { kind: 'passphrase', passphrase: readPassphrase(file) }
  throw new UsageError(
    'Say how the keys and passwords are encrypted: --passphrase-file FILE or --recipient CERTIFICATE (or leave them out: --without-secrets).',
  )
}

export function readPassphrase(file: string): string {
  const passphrase = readFileSync(file, 'utf8').split('\n', 1)[0]?.replace(/\r$/, '') ?? ''
  if (passphrase.length >= minPassphrase) return passphrase
  throw new CommandError(
    `The passphrase in ${file} has fewer than ${minPassphrase} characters: make one with openssl rand -base64 24.`,
  )
}
