import { resolve } from 'node:path'

import { audit } from '../../server/accounts/audit.ts'
import { backupLock, createBackup } from '../../server/backup/create.ts'
import { findBackup, listBackups } from '../../server/backup/layout.ts'
import { prunable, prune } from '../../server/backup/prune.ts'
import { checkBackupAge } from '../../server/backup/records.ts'
import { verifyBackup } from '../../server/backup/verify.ts'
import { configFile, readConfig } from '../../server/config.ts'
import { encryptionOf } from '../backup-passphrase.ts'
import { createdText, listedText, progressText, prunedText, stateOf } from '../backup-texts.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { requireYes, yesOption } from '../confirmation.ts'
import { CommandError, UsageError } from '../exit.ts'
import { jsonOption, printJson } from '../json-option.ts'
import { hostOperator } from '../operator.ts'
import { ProgressLine } from '../progress-line.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const create = verb({
  name: 'create',
  summary: 'a copy of everything, made while Berth serves',
  arguments: {
    DIR: {
      optional: true,
      summary: 'where the backups are, unless [backup] of the configuration says so',
      complete: 'directory',
    },
  },
  options: {
    'passphrase-file': {
      type: 'string',
      value: 'FILE',
      summary: 'its first line encrypts the keys and passwords',
      complete: 'file',
    },
    recipient: {
      type: 'string',
      value: 'FILE',
      summary: 'an OpenPGP certificate does, so that this host cannot read them',
      complete: 'file',
    },
    'without-secrets': { type: 'boolean', summary: 'leaves them out' },
    'hard-links': {
      type: 'boolean',
      summary: "on the same file system: second names for the store's bytes, no copies",
    },
    keep: {
      type: 'string',
      value: 'N',
      summary: 'after a backup that went well, removes all but the newest N',
    },
    json: jsonOption,
  },
  notes:
    'Exit status 1 when a backup could not be made, or lacks bytes that the store itself has lost; it has all the others then.',
  run: async ({ DIR: given }, values) => {
    const positionals = given === undefined ? [] : [given]
    const config = configOfServer()
    const { backup: settings, dataDir, publicUrl } = config
    const directory = directoryOf(positionals, settings?.directory)
    const encryption = encryptionOf(values, settings)
    const ownKeep = values.keep === undefined ? undefined : parseKeep(values.keep)
    const keep = ownKeep ?? (positionals.length === 0 ? settings?.keep : undefined)
    const line = new ProgressLine()
    await withAppliance(config, async ({ database, databaseAddress, blobs }) => {
      const parts = { database, databaseAddress, blobs }
      const sources = { ...parts, dataDir, publicUrl, configFile: configFile() }
      const began = Date.now()
      const alone = await database.exclusively(backupLock, async () => {
        const manifest = await createBackup(sources, {
          directory,
          encryption,
          hardLinks: values['hard-links'] || (settings?.hardLinks ?? false),
          onProgress: (progress) => line.show(progressText(progress)),
        })
        line.end()
        await checkBackupAge(database, settings?.alarmHours)
        const isWhole = manifest.damage.length === 0
        if (!isWhole) process.exitCode = 1
        // What is lost now may be in an old one.
        const pruned = isWhole && keep !== undefined ? await prune(directory, keep) : undefined
        if (values.json) printJson({ directory, ...manifest, files: undefined, pruned })
        else process.stdout.write(createdText(directory, manifest, Date.now() - began, pruned))
      })
      line.end()
      if (!alone) throw new CommandError('Another backup is being made right now: try again later.')
    })
  },
})

const list = verb({
  name: 'list',
  summary: 'the backups in a directory',
  arguments: {
    DIR: {
      optional: true,
      summary: 'where the backups are, unless [backup] of the configuration says so',
      complete: 'directory',
    },
  },
  options: { json: jsonOption },
  run: async ({ DIR: given }, { json }) => {
    const positionals = given === undefined ? [] : [given]
    const directory = directoryOf(positionals, configuredDirectory(positionals))
    const entries = await listBackups(directory)
    if (!json) {
      process.stdout.write(listedText(directory, entries))
      return
    }
    printJson(
      entries.map(({ name, manifest }) => ({
        name,
        state: stateOf(manifest),
        ...(manifest && { ...manifest, files: undefined }),
      })),
    )
  },
})

const verify = verb({
  name: 'verify',
  summary: 'reads one and compares all hashes',
  arguments: {
    DIR: {
      optional: true,
      summary: 'where the backups are, unless [backup] of the configuration says so',
      complete: 'directory',
    },
    NAME: { optional: true, summary: 'which one (default: the newest)' },
  },
  options: { json: jsonOption },
  run: async ({ DIR: given, NAME: name }, { json }) => {
    const positionals = given === undefined ? [] : [given]
    const directory = directoryOf(positionals, configuredDirectory(positionals))
    const manifest = await findBackup(directory, name)
    const line = new ProgressLine()
    const problems = await verifyBackup(directory, manifest, {
      signal: new AbortController().signal,
      onProgress: ({ files, allFiles }) => line.show(`${files} of ${allFiles} files read`),
    })
    line.end()
    if (problems.length > 0) process.exitCode = 1
    const { name: verified, damage } = manifest
    if (json) {
      printJson({ name: verified, problems, damage })
      return
    }
    for (const { file, problem } of problems) process.stdout.write(`${file}: ${problem}\n`)
    process.stdout.write(
      problems.length > 0
        ? `The backup ${verified} has ${problems.length} bad or missing files. Remove the bad ones, and "berthctl backup create" copies them anew.\n`
        : damage.length > 0
          ? `The backup ${verified} is as it was made: without ${damage.length} blobs that the store had lost.\n`
          : `The backup ${verified} is whole.\n`,
    )
  },
})

const pruneOld = verb({
  name: 'prune',
  summary: 'removes all but the newest N, and bytes that none needs',
  arguments: {
    DIR: {
      optional: true,
      summary: 'where the backups are, unless [backup] of the configuration says so',
      complete: 'directory',
    },
  },
  options: {
    keep: {
      type: 'string',
      value: 'N',
      summary: 'how many stay, unless the configuration says so',
    },
    yes: yesOption,
    json: jsonOption,
  },
  run: async ({ DIR: given }, values) => {
    const positionals = given === undefined ? [] : [given]
    const config = configOfServer()
    const directory = directoryOf(positionals, config.backup?.directory)
    const keep = values.keep === undefined ? config.backup?.keep : parseKeep(values.keep)
    if (keep === undefined) throw new UsageError('Say how many to keep: --keep N.')
    const going = (await prunable(directory, keep)).join(', ')
    if (going !== '') {
      await requireYes(`This removes ${going} from ${directory}.`, 'Remove?', values.yes)
    }
    await withAppliance(config, async ({ database }) => {
      const alone = await database.exclusively(backupLock, async () => {
        const result = await prune(directory, keep)
        const details = { removed: result.removed }
        await audit(database, hostOperator, { action: 'backup.prune', target: directory, details })
        if (values.json) printJson(result)
        else process.stdout.write(prunedText(result))
      })
      if (!alone) throw new CommandError('A backup is being made right now: try again later.')
    })
  },
})

function directoryOf(positionals: readonly string[], configured: string | undefined): string {
  const directory = positionals[0] ?? configured
  if (directory === undefined) {
    throw new UsageError('Say where the backups are: give a directory, or set [backup] directory.')
  }
  return resolve(directory)
}

/** The configuration is not asked where a directory is named: the backups may be all that is left. */
function configuredDirectory(positionals: readonly string[]): string | undefined {
  return positionals.length > 0 ? undefined : readConfig().backup?.directory
}

function parseKeep(text: string): number {
  const keep = Number(text)
  if (Number.isInteger(keep) && keep >= 1 && keep <= 1000) return keep
  throw new UsageError('--keep wants a number from 1 to 1000.')
}

export const backupCommand: Command = {
  name: 'backup',
  summary: 'copies of everything, made while Berth serves',
  verbs: [create, list, verify, pruneOld],
  notes:
    'A backup has the database, the bytes of all images, the output of builds, the configuration, and, encrypted, the keys and passwords (gpg --decrypt reads them). Bytes that an earlier backup in the directory has are not copied again. README.txt in the directory says how to get at everything without Berth.',
}
