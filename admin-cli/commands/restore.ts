import { readFileSync, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'

import { openAppliance } from '../../server/appliance.ts'
import { findBackup, pathOf, secretsFile } from '../../server/backup/layout.ts'
import type { BackupManifest } from '../../server/backup/layout.ts'
import { unmarkRestore } from '../../server/backup/restore-marker.ts'
import {
  requireEmptyDirectory,
  requireRestorable,
  restoreBackup,
} from '../../server/backup/restore.ts'
import { openSecrets, readTar } from '../../server/backup/secrets-archive.ts'
import type { SecretFile } from '../../server/backup/secrets-archive.ts'
import { readConfig } from '../../server/config.ts'
import type { Config } from '../../server/config.ts'
import { openDatabaseServer } from '../../server/database-server.ts'
import { makeDataDirectory } from '../../server/embedded-postgres.ts'
import { fsck } from '../../server/fsck.ts'
import { createLog } from '../../server/log.ts'
import type { Log } from '../../server/log.ts'
import { readPassphrase } from '../backup-passphrase.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { requireYes, yesOption } from '../confirmation.ts'
import { CommandError, UsageError } from '../exit.ts'
import { findingLines } from '../finding-lines.ts'
import { jsonOption } from '../json-option.ts'
import { ProgressLine } from '../progress-line.ts'
import { sizeInWords } from '../size-words.ts'

const bringBack = verb({
  name: '',
  summary: 'brings everything back, and checks it before anybody may write to it',
  arguments: {
    DIR: { summary: 'the directory of backups', complete: 'directory' },
    NAME: { optional: true, summary: 'one of them (default: the newest whole one)' },
  },
  options: {
    'passphrase-file': {
      type: 'string',
      value: 'FILE',
      summary: 'its first line decrypts the keys that Berth made for itself',
      complete: 'file',
    },
    secrets: {
      type: 'string',
      value: 'TAR',
      summary: 'these, decrypted elsewhere with gpg --decrypt',
      complete: 'file',
    },
    'without-secrets': {
      type: 'boolean',
      summary: 'Berth makes new ones: tokens stay good, what was handed out for minutes does not',
    },
    yes: yesOption,
    json: jsonOption,
  },
  notes:
    'The data directory and the database of the configuration must be empty. Tokens, signing keys and digests are afterwards what they were. The time that it took is printed. One that was interrupted goes on when it is called again.',
  run: async ({ DIR: given, NAME: name }, values) => {
    const directory = resolve(given)
    const config = readConfig()
    refuseForeignOwner(config.dataDir)
    const manifest = await findBackup(directory, name)
    await requireEmptyDirectory(config.dataDir, manifest.name)
    await requireRestorable(directory, manifest)
    const secrets = await secretsOf(directory, manifest, config, values)
    await requireYes(consequenceOf(manifest, config.dataDir), 'Restore?', values.yes)
    const began = Date.now()
    await restore({ config, directory, manifest, secrets })
    const seconds = (Date.now() - began) / 1000
    if (manifest.damage.length > 0) process.exitCode = 1
    process.stdout.write(
      values.json
        ? `${JSON.stringify({ ...manifest, files: undefined, seconds }, null, 2)}\n`
        : restoredText(manifest, config.dataDir, seconds),
    )
  },
})

interface Restoring {
  readonly config: Config
  readonly directory: string
  readonly manifest: BackupManifest
  readonly secrets: readonly SecretFile[] | undefined
}

async function restore({ config, directory, manifest, secrets }: Restoring): Promise<void> {
  const { dataDir } = config
  const line = new ProgressLine()
  const log = createLog('silent')
  const stopped = new AbortController()
  const interrupted = new CommandError('Interrupted: call it again to go on.')
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.once(signal, () => stopped.abort(interrupted))
  }
  makeDataDirectory(dataDir)
  const server = await openDatabaseServer(config, log)
  try {
    const target = { dataDir, databaseAddress: server.address, log }
    await restoreBackup(target, manifest, {
      directory,
      secrets,
      signal: stopped.signal,
      onProgress: ({ bytes, allBytes }) =>
        line.show(`restore: ${sizeInWords(bytes)} of ${sizeInWords(allBytes)}`),
    })
    line.show('restore: fsck')
    await checkRestored(config, log, manifest)
  } finally {
    line.end()
    await server.leave()
  }
}

/** Opens the restored for everybody when it is as it must be, but for what the backup never had. */
async function checkRestored(config: Config, log: Log, manifest: BackupManifest): Promise<void> {
  const { dataDir } = config
  const appliance = await openAppliance(config, log, { isRestoring: true })
  try {
    const { database, blobs } = appliance
    // The bytes were compared with their digests while they were copied.
    const options = { deep: false, repairBy: undefined, onProgress: () => {} }
    const lost = new Set(manifest.damage.map(({ digest }) => digest))
    const findings = (await fsck({ database, blobs, dataDir }, options)).filter(
      ({ kind, subject }) => kind !== 'lost-file' || !lost.has(subject),
    )
    if (findings.length > 0) {
      process.stderr.write(findingLines(findings))
      throw new CommandError(
        `What was restored is not whole, and stays closed: restore another backup into an empty ${dataDir}.`,
      )
    }
    await unmarkRestore(dataDir)
  } finally {
    await appliance.close()
  }
}

function restoredText(
  { name, images, blobs, damage }: BackupManifest,
  dataDir: string,
  seconds: number,
): string {
  const lost = damage.map(({ digest, problem }) => `LOST ${digest}: ${problem}, when it was made`)
  const verdict = lost.length === 0 ? 'everything as it must be' : 'nothing else'
  return [
    `Restored ${name} into ${dataDir}: ${images} images, ${sizeInWords(blobs.bytes)}.`,
    ...lost,
    `The check found ${verdict}. It took ${seconds.toFixed(1)} s.`,
    'Berth may be started now.',
    '',
  ].join('\n')
}

/** What another account makes in there, the server could not read afterwards. */
function refuseForeignOwner(dataDir: string): void {
  const owner = statSync(dataDir, { throwIfNoEntry: false })?.uid
  if (owner === undefined || owner === process.getuid?.()) return
  throw new CommandError(
    `${dataDir} belongs to the account with the uid ${owner}: run this as that account, for example with sudo -u '#${owner}'.`,
  )
}

async function secretsOf(
  directory: string,
  manifest: BackupManifest,
  config: Config,
  options: {
    readonly 'passphrase-file'?: string | undefined
    readonly secrets?: string | undefined
    readonly 'without-secrets'?: boolean | undefined
  },
): Promise<readonly SecretFile[] | undefined> {
  if (options['without-secrets'] === true) return undefined
  if (options.secrets !== undefined) return await readTar(readFileSync(options.secrets))
  if (manifest.secrets === 'none') {
    throw new UsageError('This backup was made without secrets: say --without-secrets.')
  }
  const archive = pathOf(directory, manifest.name, secretsFile)
  if (manifest.secrets === 'recipient') {
    throw new UsageError(
      `The secrets are encrypted for somebody: decrypt ${archive} with gpg --decrypt, and give the result with --secrets.`,
    )
  }
  const file = options['passphrase-file'] ?? config.backup?.passphraseFile
  if (file === undefined) {
    throw new UsageError(
      'Say how the secrets are decrypted: --passphrase-file FILE (or --without-secrets).',
    )
  }
  return await openSecrets(await readFile(archive), readPassphrase(file))
}

function consequenceOf({ name, images, blobs, host }: BackupManifest, dataDir: string): string {
  return `This restores the backup ${name} of ${host} (${images} images, ${sizeInWords(blobs.bytes)}) into ${dataDir}.`
}

export const restoreCommand: Command = {
  name: 'restore',
  summary: 'brings a backup back onto an empty host',
  verbs: [bringBack],
}
