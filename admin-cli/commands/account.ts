import { parseArgs } from 'node:util'

import {
  addAccount,
  disableAccount,
  enableAccount,
  hostOperator,
  listAccounts,
  setPassword,
} from '../../server/accounts/accounts.ts'
import type { AccountRow } from '../../server/accounts/accounts.ts'
import { renameAccount } from '../../server/content/rename-account.ts'
import type { Command } from '../command.ts'
import { UsageError } from '../exit.ts'
import { readNewPassword } from '../password-prompt.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const help = `berthctl account: the accounts

  berthctl account add NAME [--admin]   a new local account; --admin makes it an administrator
  berthctl account list [--json]        the accounts, in the order of their names
  berthctl account password NAME        a new password; access tokens stay valid
  berthctl account disable NAME         no sign-in and no token works any more; images stay
  berthctl account enable NAME          brings it back, tokens included
  berthctl account rename NAME NEW      gives an account and its space another name

A password is asked for twice on a terminal, and is one line of standard input otherwise. Renaming is
for a login name that the site gave to somebody else: images of the first person move with the space
to library://NEW/…, and the name is free. All of these work while the server runs and while it does not.
`

const verbs: Readonly<Record<string, (args: string[]) => Promise<void>>> = {
  add,
  list,
  password,
  disable,
  enable,
  rename,
}

export const accountCommand: Command = {
  help,
  run: async ([verb = '', ...args]) => {
    const run = Object.hasOwn(verbs, verb) ? verbs[verb] : undefined
    if (run !== undefined) return await run(args)
    throw new UsageError(
      `Say what to do: ${Object.keys(verbs).join(', ')} (see berthctl account --help).`,
    )
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

async function disable(args: string[]): Promise<void> {
  const name = onlyName(parseArgs({ args, allowPositionals: true }).positionals)
  await withAppliance(configOfServer(), async ({ database }) => {
    await disableAccount(database, hostOperator, name)
    process.stdout.write(`${name} is disabled: neither password nor tokens work.\n`)
  })
}

async function enable(args: string[]): Promise<void> {
  const name = onlyName(parseArgs({ args, allowPositionals: true }).positionals)
  await withAppliance(configOfServer(), async ({ database }) => {
    await enableAccount(database, hostOperator, name)
    process.stdout.write(`${name} is enabled again.\n`)
  })
}

async function rename(args: string[]): Promise<void> {
  const [from, to, ...rest] = parseArgs({ args, allowPositionals: true }).positionals
  if (from === undefined || to === undefined || rest.length > 0) {
    throw new UsageError('Give the present name and the new one.')
  }
  await withAppliance(configOfServer(), async ({ database }) => {
    await renameAccount(database, hostOperator, from, to)
    process.stdout.write(`${from} is ${to} now; its images are at library://${to}/….\n`)
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
      stateOf(account),
      account.provider,
      account.createdAt.toISOString().slice(0, 10),
    ])
    process.stdout.write(table([['ID', 'Name', 'Role', 'State', 'Provider', 'Since'], ...rows]))
  })
}

function stateOf(account: AccountRow): string {
  if (account.disabledAt !== null) return 'disabled'
  return account.suspendedAt === null ? 'active' : 'suspended'
}

function onlyName([name, ...rest]: readonly string[]): string {
  if (name !== undefined && rest.length === 0) return name
  throw new UsageError('Give one account name, and the password not on the command line.')
}
