import { resolve } from 'node:path'
import { parseArgs } from 'node:util'

import { hostOperator } from '../../server/accounts/accounts.ts'
import { audit } from '../../server/accounts/audit.ts'
import { backupLock, createBackup } from '../../server/backup/create.ts'
import { findBackup, listBackups } from '../../server/backup/layout.ts'
import { prunable, prune } from '../../server/backup/prune.ts'
import { checkBackupAge } from '../../server/backup/records.ts'
import { verifyBackup } from '../../server/backup/verify.ts'
import { configFile, readConfig } from '../../server/config.ts'
import { encryptionOf } from '../backup-passphrase.ts'
import { createdText, listedText, progressText, prunedText, stateOf } from '../backup-texts.ts'
import type { Command } from '../command.ts'
import { CommandError, UsageError } from '../exit.ts'
import { ProgressLine } from '../progress-line.ts'
import { askYesOrNo } from '../question.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const help = `berthctl backup: copies of everything, made while Berth serves

  berthctl backup create [DIR] [--passphrase-file FILE | --recipient FILE | --without-secrets]
                         [--hard-links] [--keep N] [--json]
  berthctl backup list [DIR] [--json]            the backups in a directory
  berthctl backup verify [DIR] [NAME] [--json]   reads one, the newest by default, and compares all hashes
  berthctl backup prune [DIR] --keep N [--yes] [--json]
                                                 removes all but the newest N, and bytes that none needs

Without DIR they use [backup] of the configuration. A backup has the database, the bytes of all images,
the output of builds, the configuration, and, encrypted, the keys and passwords (gpg --decrypt reads
them). Bytes that an earlier backup in the directory has are not copied again. README.txt in the
directory says how to get at everything without Berth.

  --passphrase-file FILE   its first line encrypts the keys and passwords
  --recipient FILE         an OpenPGP certificate does, so that this host cannot read them
  --hard-links             on the same file system: second names for the store's bytes, no copies
  --keep N                 after a backup that went well, remove all but the newest N

Exit status 1 when a backup could not be made, or lacks bytes that the store itself has lost; it has
all the others then.
`

export const backupCommand: Command = {
  help,
  run: async ([verb, ...args]) => {
    if (verb === 'create') return await create(args)
    if (verb === 'list') return await list(args)
    if (verb === 'verify') return await verify(args)
    if (verb === 'prune') return await pruneOld(args)
    throw new UsageError('Say "backup create", "list", "verify" or "prune": see --help.')
  },
}

async function create(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      'passphrase-file': { type: 'string' },
      recipient: { type: 'string' },
      'without-secrets': { type: 'boolean' },
      'hard-links': { type: 'boolean' },
      keep: { type: 'string' },
      json: { type: 'boolean' },
    },
  })
  const config = configOfServer()
  const { backup: settings, dataDir, publicUrl } = config
  const directory = directoryOf(positionals, settings?.directory, 1)
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
        hardLinks: values['hard-links'] ?? settings?.hardLinks ?? false,
        onProgress: (progress) => line.show(progressText(progress)),
      })
      line.end()
      await checkBackupAge(database, settings?.alarmHours)
      const isWhole = manifest.damage.length === 0
      if (!isWhole) process.exitCode = 1
      // What is lost now may be in an old one.
      const pruned = isWhole && keep !== undefined ? await prune(directory, keep) : undefined
      if (values.json === true) print({ directory, ...manifest, files: undefined, pruned })
      else process.stdout.write(createdText(directory, manifest, Date.now() - began, pruned))
    })
    line.end()
    if (!alone) throw new CommandError('Another backup is being made right now: try again later.')
  })
}

async function list(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { json: { type: 'boolean' } },
  })
  const directory = directoryOf(positionals, configuredDirectory(positionals), 1)
  const entries = await listBackups(directory)
  if (values.json !== true) {
    process.stdout.write(listedText(directory, entries))
    return
  }
  print(
    entries.map(({ name, manifest }) => ({
      name,
      state: stateOf(manifest),
      ...(manifest && { ...manifest, files: undefined }),
    })),
  )
}

async function verify(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { json: { type: 'boolean' } },
  })
  const directory = directoryOf(positionals, configuredDirectory(positionals), 2)
  const manifest = await findBackup(directory, positionals[1])
  const line = new ProgressLine()
  const problems = await verifyBackup(directory, manifest, {
    signal: new AbortController().signal,
    onProgress: ({ files, allFiles }) => line.show(`${files} of ${allFiles} files read`),
  })
  line.end()
  if (problems.length > 0) process.exitCode = 1
  const { name, damage } = manifest
  if (values.json === true) {
    print({ name, problems, damage })
    return
  }
  for (const { file, problem } of problems) process.stdout.write(`${file}: ${problem}\n`)
  process.stdout.write(
    problems.length > 0
      ? `The backup ${name} has ${problems.length} bad or missing files. Remove the bad ones, and "berthctl backup create" copies them anew.\n`
      : damage.length > 0
        ? `The backup ${name} is as it was made: without ${damage.length} blobs that the store had lost.\n`
        : `The backup ${name} is whole.\n`,
  )
}

async function pruneOld(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { keep: { type: 'string' }, yes: { type: 'boolean' }, json: { type: 'boolean' } },
  })
  const config = configOfServer()
  const directory = directoryOf(positionals, config.backup?.directory, 1)
  const keep = values.keep === undefined ? config.backup?.keep : parseKeep(values.keep)
  if (keep === undefined) throw new UsageError('Say how many to keep: --keep N.')
  const going = (await prunable(directory, keep)).join(', ')
  if (going !== '' && values.yes !== true) {
    const answer = await askYesOrNo(`Remove ${going} from ${directory}?`)
    if (answer === undefined) {
      throw new CommandError(`This would remove ${going}: say --yes to do it.`)
    }
    if (!answer) return
  }
  await withAppliance(config, async ({ database }) => {
    const alone = await database.exclusively(backupLock, async () => {
      const result = await prune(directory, keep)
      const details = { removed: result.removed }
      await audit(database, hostOperator, { action: 'backup.prune', target: directory, details })
      if (values.json === true) print(result)
      else process.stdout.write(prunedText(result))
    })
    if (!alone) throw new CommandError('A backup is being made right now: try again later.')
  })
}

function directoryOf(
  positionals: readonly string[],
  configured: string | undefined,
  most: number,
): string {
  if (positionals.length > most) throw new UsageError('Give one directory of backups.')
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

function print(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}
