/** A file of the administrator that names accounts and groups. */
import { readFile } from 'node:fs/promises'

import { listAccounts } from '../server/accounts/accounts.ts'
import { listGroups } from '../server/accounts/groups.ts'
import type { Db } from '../server/database.ts'
import { CommandError } from './exit.ts'
import { printable } from './printable.ts'

/**
 * The IDs of the accounts that the file names, one name a line, `#` begins a comment. Of a group it
 * means the members; where an account and a group have the same name it means the account.
 */
export async function readAccountList(db: Db, file: string): Promise<ReadonlySet<string>> {
  const names = parse(await readFile(file, 'utf8'))
  if (names.length === 0) throw new CommandError(`${file} names nobody. Nothing was written.`)
  const accounts = new Map((await listAccounts(db)).map(({ name, id }) => [name, id]))
  const groups = new Map((await listGroups(db)).map(({ name, members }) => [name, members]))
  const found = new Set<string>()
  for (const { name, line } of names) {
    const members = accounts.has(name) ? [name] : groups.get(name)
    if (members === undefined) {
      throw new CommandError(
        `${file}, line ${line}: there is no account or group "${printable(name)}". Nothing was written.`,
      )
    }
    for (const id of members.flatMap((member) => accounts.get(member) ?? [])) found.add(id)
  }
  return found
}

function parse(text: string): readonly { readonly name: string; readonly line: number }[] {
  return text
    .split('\n')
    .map((line, index) => ({ name: line.replace(/#.*/, '').trim(), line: index + 1 }))
    .filter(({ name }) => name !== '')
}
