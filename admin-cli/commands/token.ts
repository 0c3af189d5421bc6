import { parseArgs } from 'node:util'

import { findAccount, hostOperator } from '../../server/accounts/accounts.ts'
import type { TokenRecord } from '../../server/accounts/token-register.ts'
import type { Command } from '../command.ts'
import { CommandError, UsageError } from '../exit.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const help = `berthctl token: the access tokens of accounts

  berthctl token list NAME [--all] [--json]   the live tokens of an account; --all: the others too
  berthctl token revoke ID [ID ...]           ends tokens, with the next request
  berthctl token revoke --account NAME        ends all live tokens of an account

A token itself is shown once to its owner and kept nowhere: here are its ID, label and times.
`

export const tokenCommand: Command = {
  help,
  run: async ([verb, ...args]) => {
    if (verb === 'list') return await list(args)
    if (verb === 'revoke') return await revoke(args)
    throw new UsageError('Say "token list NAME" or "token revoke ID".')
  },
}

async function list(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { all: { type: 'boolean' }, json: { type: 'boolean' } },
  })
  const [name, ...rest] = positionals
  if (name === undefined || rest.length > 0) throw new UsageError('Give one account name.')
  await withAppliance(configOfServer(), async ({ database, tokenRegister }) => {
    const account = await findAccount(database, name)
    if (account === undefined) throw new CommandError(`There is no account "${name}".`)
    const all = values.all === true
    const tokens = await tokenRegister.list(hostOperator, account.id, { all })
    if (values.json === true) {
      process.stdout.write(`${JSON.stringify(tokens, null, 2)}\n`)
      return
    }
    const rows = tokens.map((token) => [
      token.id,
      token.scope,
      stateOf(token),
      token.issuedAt.toISOString().slice(0, 10),
      token.expiresAt.toISOString().slice(0, 10),
      token.label,
    ])
    process.stdout.write(table([['ID', 'Scope', 'State', 'Issued', 'Expires', 'Label'], ...rows]))
  })
}

async function revoke(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { account: { type: 'string' } },
  })
  const name = values.account
  if ((name === undefined) === (positionals.length === 0)) {
    throw new UsageError('Give the IDs of tokens, or --account NAME for all of an account.')
  }
  await withAppliance(configOfServer(), async ({ database, tokens, tokenRegister }) => {
    for (const id of positionals) {
      await tokens.revoke(hostOperator, id)
      process.stdout.write(`Revoked token ${id}.\n`)
    }
    if (name === undefined) return
    const account = await findAccount(database, name)
    if (account === undefined) throw new CommandError(`There is no account "${name}".`)
    const count = await tokenRegister.revokeAll(hostOperator, account.id)
    process.stdout.write(`Revoked ${count} tokens of ${name}.\n`)
  })
}

function stateOf(token: TokenRecord): string {
  if (token.revokedAt !== null) return 'revoked'
  return token.expiresAt > new Date() ? 'live' : 'expired'
}
