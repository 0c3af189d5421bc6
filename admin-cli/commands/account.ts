import {
  addAccount,
  disableAccount,
  enableAccount,
  findAccount,
  listAccounts,
  setPassword,
} from '../../server/accounts/accounts.ts'
import type { AccountRow } from '../../server/accounts/accounts.ts'
import { renameAccount } from '../../server/content/rename-account.ts'
import type { Db } from '../../server/database.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { CommandError } from '../exit.ts'
import { jsonOption, printJson } from '../json-option.ts'
import { hostOperator } from '../operator.ts'
import { readNewPassword } from '../password-prompt.ts'
import { sizeInWords } from '../size-words.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const add = verb({
  name: 'add',
  summary: 'a new local account; asks for its password',
  arguments: { NAME: {} },
  options: { admin: { type: 'boolean', summary: 'makes it an administrator' } },
  run: async ({ NAME: name }, { admin: isAdmin }) => {
    const config = configOfServer()
    const password = await readNewPassword(name)
    await withAppliance(config, async ({ database }) => {
      const account = await addAccount(database, hostOperator, { name, password, isAdmin })
      const what = isAdmin ? 'the administrator' : 'the account'
      process.stdout.write(`Added ${what} ${account.name} (ID ${account.id}).\n`)
    })
  },
})

const password = verb({
  name: 'password',
  summary: 'a new password for a local account; access tokens stay valid',
  arguments: { NAME: { complete: 'account' } },
  run: async ({ NAME: name }) => {
    const config = configOfServer()
    const secret = await readNewPassword(name)
    await withAppliance(config, async ({ database }) => {
      await setPassword(database, hostOperator, name, secret)
      process.stdout.write(`The password of ${name} was changed.\n`)
    })
  },
})

const disable = verb({
  name: 'disable',
  summary: 'no sign-in and no token works any more; images stay',
  arguments: { NAME: { complete: 'account' } },
  run: async ({ NAME: name }) => {
    await withAppliance(configOfServer(), async ({ database }) => {
      await disableAccount(database, hostOperator, name)
      process.stdout.write(`${name} is disabled: neither password nor tokens work.\n`)
    })
  },
})

const enable = verb({
  name: 'enable',
  summary: 'brings it back, tokens included',
  arguments: { NAME: { complete: 'account' } },
  run: async ({ NAME: name }) => {
    await withAppliance(configOfServer(), async ({ database }) => {
      await enableAccount(database, hostOperator, name)
      process.stdout.write(`${name} is enabled again.\n`)
    })
  },
})

const rename = verb({
  name: 'rename',
  summary: 'gives an account and its space another name',
  arguments: { NAME: { complete: 'account' }, NEW: {} },
  notes:
    'Renaming is for a login name that the site gave to somebody else: images of the first person move with the space to library://NEW/…, and the name is free.',
  run: async ({ NAME: from, NEW: to }) => {
    await withAppliance(configOfServer(), async ({ database }) => {
      await renameAccount(database, hostOperator, from, to)
      process.stdout.write(`${from} is ${to} now; its images are at library://${to}/….\n`)
    })
  },
})

const list = verb({
  name: 'list',
  summary: 'the accounts, in the order of their names',
  options: { json: jsonOption },
  run: async (_words, { json }) => {
    await withAppliance(configOfServer(), async ({ database }) => {
      const accounts = await listAccounts(database)
      if (json) return printJson(accounts)
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
  },
})

const show = verb({
  name: 'show',
  summary: 'one account: its groups, its space and its tokens',
  arguments: { NAME: { complete: 'account' } },
  options: { json: jsonOption },
  run: async ({ NAME: name }, { json }) => {
    await withAppliance(configOfServer(), async (appliance) => {
      const { database, roster, quotas, tokenRegister } = appliance
      const { id } = await accountNamed(database, name)
      const person = await roster.find(hostOperator, id)
      const tokens = await tokenRegister.list(hostOperator, id, { all: false })
      const [space] = await quotas.list(hostOperator, name)
      const quotaBytes = await quotas.of(person)
      const usedBytes = space?.usedBytes ?? 0
      if (json) return printJson({ ...person, quotaBytes, usedBytes, liveTokens: tokens.length })
      process.stdout.write(
        table([
          ['Account', person.name],
          ['ID', person.id],
          ['Name', person.fullName || '-'],
          ['Mail', person.email || '-'],
          ['Role', person.isAdmin ? 'administrator' : 'user'],
          ['State', person.suspendedReason ?? stateOf(person)],
          ['Provider', person.provider],
          ['Directory ID', person.directoryId ?? '-'],
          ['Groups', person.groups.join(' ') || '-'],
          ['Since', person.createdAt.toISOString()],
          ['Signed in', person.signedInAt?.toISOString() ?? 'never'],
          ['Tokens', `${tokens.length} live`],
          ['Space', `${sizeInWords(usedBytes)} used of ${sizeInWords(quotaBytes)}`],
        ]),
      )
    })
  },
})

const promote = verb({
  name: 'promote',
  summary: 'makes a local account an administrator',
  arguments: { NAME: { complete: 'account' } },
  run: async ({ NAME: name }) => await setAdministrator(name, true),
})

const demote = verb({
  name: 'demote',
  summary: 'makes it an ordinary account again',
  arguments: { NAME: { complete: 'account' } },
  run: async ({ NAME: name }) => await setAdministrator(name, false),
})

async function setAdministrator(name: string, isAdmin: boolean): Promise<void> {
  await withAppliance(configOfServer(), async ({ database, roster }) => {
    const { id } = await accountNamed(database, name)
    await roster.setAdministrator(hostOperator, id, isAdmin)
    process.stdout.write(`${name} is ${isAdmin ? 'an administrator' : 'an ordinary account'}.\n`)
  })
}

async function accountNamed(database: Db, name: string): Promise<AccountRow> {
  const account = await findAccount(database, name)
  if (account !== undefined) return account
  throw new CommandError(`There is no account "${name}".`)
}

function stateOf(account: AccountRow): string {
  if (account.disabledAt !== null) return 'disabled'
  return account.suspendedAt === null ? 'active' : 'suspended'
}

export const accountCommand: Command = {
  name: 'account',
  summary: 'the accounts',
  verbs: [add, list, show, password, disable, enable, promote, demote, rename],
  notes:
    'A password is asked for twice on a terminal, and is one line of standard input otherwise: it is never on the command line.',
}
