import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { hostOperator } from '../../server/accounts/accounts.ts'
import type { KeyRow } from '../../server/keystore/key-rows.ts'
import { stateOf } from '../../server/keystore/key-state.ts'
import { siteKeyring } from '../../server/keystore/keyring.ts'
import { readAccountList } from '../account-list.ts'
import type { Command } from '../command.ts'
import { CommandError, UsageError } from '../exit.ts'
import { replaceFile } from '../replace-file.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const help = `berthctl keyring export DIR: the site's keys for hosts that run images

  --accounts FILE   only keys of these accounts: one account or group name a line, # for comments
  --check           writes nothing; exit status 1 where the files in DIR are not as they would be
  --json            the result, with all keys, as JSON

It writes two files, which belong into /etc/apptainer or /etc/singularity on each host:
  global-pgp-public   all keys but those that were taken out: "verify" says GLOBAL for them
  ecl.toml            the execution control list: images run only where a key in it has signed them,
                      which are the live keys (not expired, retired or revoked)
A file that is as it should be is left alone. The control list only holds on hosts where Apptainer is
installed setuid and unprivileged user namespaces are off; copy global-pgp-public alone where you do
not want it. Run this again when keys or the list have changed, for example every hour.
`

export const keyringCommand: Command = {
  help,
  run: async ([verb, ...args]) => {
    if (verb === 'export') return await exportKeyring(args)
    throw new UsageError('Say "keyring export DIR".')
  },
}

interface ExportedFile {
  readonly file: string
  readonly content: Buffer
  readonly keys: readonly KeyRow[]
  readonly changed: boolean
}

/** Everybody on the host reads them. */
const mode = 0o644

async function exportKeyring(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      accounts: { type: 'string' },
      check: { type: 'boolean' },
      json: { type: 'boolean' },
    },
  })
  const [directory, ...rest] = positionals
  if (directory === undefined || rest.length > 0) {
    throw new UsageError('Give one directory for the files.')
  }
  await withAppliance(configOfServer(), async ({ database, keystore }) => {
    const all = await keystore.listAll(hostOperator)
    const { accounts: list } = values
    const accounts = list === undefined ? undefined : await readAccountList(database, list)
    const made = siteKeyring(all.filter(({ ownerId }) => accounts?.has(ownerId ?? '') ?? true))
    const files = [
      await compare(directory, 'global-pgp-public', made.keyring, made.keysInKeyring),
      await compare(directory, 'ecl.toml', Buffer.from(made.controlList), made.keysAllowed),
    ]
    if (values.check === true) requireUpToDate(files)
    // The keys come first: a control list without them would let nothing run.
    for (const { file, content, changed } of files) {
      if (changed) await replaceFile(file, content, mode)
    }
    if (values.json === true) {
      process.stdout.write(`${JSON.stringify(files.map(fileJson), null, 2)}\n`)
    } else {
      for (const { file, keys, changed } of files) {
        process.stdout.write(`${file}: ${countOf(keys)}, ${changed ? 'written' : 'unchanged'}\n`)
      }
    }
    if (made.keysAllowed.length === 0) {
      process.stderr.write(
        'berthctl: no key is live: with this ecl.toml no image runs on a host that heeds it.\n',
      )
    }
  })
}

async function compare(
  directory: string,
  name: string,
  content: Buffer,
  keys: readonly KeyRow[],
): Promise<ExportedFile> {
  const file = join(directory, name)
  return { file, content, keys, changed: !(await isAsItShould(file, content)) }
}

async function isAsItShould(file: string, content: Buffer): Promise<boolean> {
  try {
    return ((await stat(file)).mode & 0o777) === mode && content.equals(await readFile(file))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

function requireUpToDate(files: readonly ExportedFile[]): void {
  const changed = files.filter((file) => file.changed).map(({ file }) => file)
  if (changed.length === 0) return
  throw new CommandError(`Not up to date: ${changed.join(', ')}. Nothing was written.`)
}

function fileJson({ file, keys, changed }: ExportedFile): object {
  return {
    file,
    changed,
    keys: keys.map((key) => ({
      fingerprint: key.fingerprint,
      owner: key.ownerName,
      state: stateOf(key),
    })),
  }
}

function countOf(keys: readonly KeyRow[]): string {
  return keys.length === 1 ? '1 key' : `${keys.length} keys`
}
