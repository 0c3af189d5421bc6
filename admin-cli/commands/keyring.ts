import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'

import type { KeyRow } from '../../server/keystore/key-rows.ts'
import { stateOf } from '../../server/keystore/key-state.ts'
import { siteKeyring } from '../../server/keystore/keyring.ts'
import { readAccountList } from '../account-list.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { CommandError } from '../exit.ts'
import { hostOperator } from '../operator.ts'
import { replaceFile } from '../replace-file.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

interface ExportedFile {
  readonly file: string
  readonly content: Buffer
  readonly keys: readonly KeyRow[]
  readonly changed: boolean
}

/** Everybody on the host reads them. */
const mode = 0o644

const exportKeyring = verb({
  name: 'export',
  summary:
    'writes the two files that hosts read into a directory, where they are not as they should be',
  arguments: { DIR: { complete: 'directory' } },
  options: {
    accounts: {
      type: 'string',
      value: 'FILE',
      complete: 'file',
      summary: 'only keys of these accounts: one account or group name a line, # for comments',
    },
    check: {
      type: 'boolean',
      summary: 'writes nothing; exit status 1 where the files in DIR are not as they would be',
    },
    json: { type: 'boolean', summary: 'the result, with all keys, as JSON' },
  },
  run: async ({ DIR: directory }, values) => {
    await withAppliance(configOfServer(), async ({ database, keystore }) => {
      const all = await keystore.listAll(hostOperator)
      const { accounts: list } = values
      const accounts = list === undefined ? undefined : await readAccountList(database, list)
      const made = siteKeyring(all.filter(({ ownerId }) => accounts?.has(ownerId ?? '') ?? true))
      const files = [
        await compare(directory, 'global-pgp-public', made.keyring, made.keysInKeyring),
        await compare(directory, 'ecl.toml', Buffer.from(made.controlList), made.keysAllowed),
      ]
      if (values.check) requireUpToDate(files)
      // The keys come first: a control list without them would let nothing run.
      for (const { file, content, changed } of files) {
        if (changed) await replaceFile(file, content, mode)
      }
      if (values.json) {
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
  },
})

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

export const keyringCommand: Command = {
  name: 'keyring',
  summary: "the site's keys for hosts that run images",
  verbs: [exportKeyring],
  notes: `The two files belong into /etc/apptainer or /etc/singularity on each host:

  global-pgp-public   all keys but those that were taken out: "verify" says GLOBAL for them
  ecl.toml            the execution control list: images run only where a key in it has signed them,
                      which are the live keys (not expired, retired or revoked)

The control list only holds on hosts where Apptainer is installed setuid and unprivileged user namespaces are off; copy global-pgp-public alone where you do not want it. Run this again when keys or the list have changed, for example every hour.`,
}
