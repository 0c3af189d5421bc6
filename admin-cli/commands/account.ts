import { parseArgs } from 'node:util'

import {
  addAccount,
  hostOperator,
  listAccounts,
  setPassword,
} from '../../server/accounts/accounts.ts'
import type { Command } from '../command.ts'
import { UsageError } from '../exit.ts'
import { readNewPassword } from '../password-prompt.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const help = `berthctl account: the local accounts

  berthctl account add NAME [--admin]   a new account; --admin makes it an administrator
  berthctl account list [--json]        the accounts, in the order of their names
  berthctl account password NAME        a new password; access tokens stay valid

A password is asked for twice on a terminal, and is one line of standard input otherwise. All three
work while the server runs and while it does not.
`

const verbs: Readonly<Record<string, (args: string[]) => Promise<void>>> = { add, list, password }

export const accountCommand: Command = {
  help,
  run: async ([verb = '', ...args]) => {
    const run = Object.hasOwn(verbs, verb) ? verbs[verb] : undefined
    if (run !== undefined) return await run(args)
    throw new UsageError('Say "account add NAME", "account list" or "account password NAME".')
  },
}

async function add(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { admin: { type: 'boolean' } },
  })
  const name = onlyName(positionals)
  const isAdmin = values.admin === true
  const config = configOfServer()
  const password = await readNewPassword(name)
  await withAppliance(config, async ({ database }) => {
    const account = await addAccount(database, hostOperator, { name, password, isAdmin })
    const what = isAdmin ? 'the administrator' : 'the account'
    process.stdout.write(`Added ${what} ${account.name} (ID ${account.id}).\n`)
  })
}

async function password(args: string[]): Promise<void> {
  const { positionals } = parseArgs({ args, allowPositionals: true })
  const name = onlyName(positionals)
  const config = configOfServer()
  const password = await readNewPassword(name)
  await withAppliance(config, async ({ database }) => {
    await setPassword(database, hostOperator, name, password)
    process.stdout.write(`The password of ${name} was changed.\n`)
  })
}

async function list(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: { json: { type: 'boolean' } } })
  await withAppliance(configOfServer(), async ({ database }) => {
    const accounts = await listAccounts(database)
    if (values.json === true) {
      process.stdout.write(`${JSON.stringify(accounts, null, 2)}\n`)
      return
    }
    const rows = accounts.map((account) => [
      account.id,
      account.name,
      account.isAdmin ? 'admin' : 'user',
      account.disabledAt === null ? 'active' : 'disabled',
      account.createdAt.toISOString().slice(0, 10),
    ])
    process.stdout.write(table([['ID', 'Name', 'Role', 'State', 'Since'], ...rows]))
  })
}

function onlyName([name, ...rest]: readonly string[]): string {
  if (name !== undefined && rest.length === 0) return name
  throw new UsageError('Give one account name, and the password not on the command line.')
}
