/** `[backup]` of the configuration: where `berthctl backup create` puts what it makes. */
import { z } from 'zod'

import { line } from './directory-fields.ts'

export const backupTable = z
  .strictObject({
    /** On another disk than the data, or what is lost is lost with its backup. */
    directory: z.string().startsWith('/', 'expected an absolute path'),
    /** Older ones are removed after a backup that ended well. */
    keep: z.number().int().min(1).max(1000).default(14),
    /** Its first line encrypts the secrets. Read by the backup alone: the server need not see it. */
    passphrase_file: line.optional(),
    /** Or an OpenPGP certificate: who has its secret key can read them, and nobody on this host. */
    recipient_file: line.optional(),
    /** A second name for the store's own bytes where the file system is the same one: no copy. */
    hard_links: z.boolean().default(false),
    /** When the last good backup is older, there is an alarm. */
    alarm_hours: z.number().positive().max(8760).default(26),
  })
  .refine((table) => table.passphrase_file === undefined || table.recipient_file === undefined, {
    message: 'give passphrase_file or recipient_file, not both',
    path: ['recipient_file'],
  })

export interface BackupSettings {
  readonly directory: string
  readonly keep: number
  readonly passphraseFile: string | undefined
  readonly recipientFile: string | undefined
  readonly hardLinks: boolean
  readonly alarmHours: number
}

export function backupSettings(table: z.infer<typeof backupTable>): BackupSettings {
  return {
    directory: table.directory,
    keep: table.keep,
    passphraseFile: table.passphrase_file,
    recipientFile: table.recipient_file,
    hardLinks: table.hard_links,
    alarmHours: table.alarm_hours,
  }
}
