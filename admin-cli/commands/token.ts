import { findAccount, findAccountById } from '../../server/accounts/accounts.ts'
import type { AccountRow } from '../../server/accounts/accounts.ts'
import type { TokenRecord } from '../../server/accounts/token-register.ts'
import type { Db } from '../../server/database.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { requireYes, yesOption } from '../confirmation.ts'
import { CommandError, UsageError } from '../exit.ts'
import { jsonOption, printJson } from '../json-option.ts'
import { hostOperator } from '../operator.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const list = verb({
  name: 'list',
  summary: 'the live tokens of an account',
  arguments: { NAME: { complete: 'account' } },
  options: {
    all: { type: 'boolean', summary: 'also those that were revoked or have expired' },
    json: jsonOption,
  },
  run: async ({ NAME: name }, { all, json }) => {
    await withAppliance(configOfServer(), async ({ database, tokenRegister }) => {
      const account = await accountNamed(database, name)
      const tokens = await tokenRegister.list(hostOperator, account.id, { all })
      if (json) return printJson(tokens)
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
  },
})

const show = verb({
  name: 'show',
  summary: 'one token: whose it is, its times, and where it was used last',
  arguments: { ID: {} },
  options: { json: jsonOption },
  run: async ({ ID: id }, { json }) => {
    await withAppliance(configOfServer(), async ({ database, tokenRegister }) => {
      const token = await tokenRegister.find(hostOperator, id)
      const owner = await findAccountById(database, token.accountId)
      const shown = { ...token, account: owner?.name ?? '' }
      if (json) return printJson(shown)
      process.stdout.write(
        table([
          ['Token', token.id],
          ['Account', shown.account],
          ['State', stateOf(token)],
          ['Scope', token.scope],
          ['Label', token.label],
          ['Issued', token.issuedAt.toISOString()],
          ['Expires', token.expiresAt.toISOString()],
          ['Revoked', token.revokedAt?.toISOString() ?? '-'],
          ['Last used', token.lastUsedAt?.toISOString() ?? 'never'],
          ['From', token.lastUsedFrom ?? '-'],
        ]),
      )
    })
  },
})

const issue = verb({
  name: 'issue',
  summary: 'a token for an account that is no administrator, such as a robot; prints it once',
  arguments: { NAME: { complete: 'account' } },
  options: {
    label: { type: 'string', value: 'TEXT', summary: 'what it is for, as lists show it' },
    days: { type: 'string', value: 'N', summary: 'how long it lives, at most tokens.valid_days' },
  },
  run: async ({ NAME: name }, { label, days }) => {
    const lifetime = days === undefined ? Number.MAX_SAFE_INTEGER : 86_400 * daysOf(days)
    await withAppliance(configOfServer(), async ({ database, tokens }) => {
      const account = await accountNamed(database, name)
      const options = { label: label ?? '', seconds: lifetime }
      const { token, id, expiresAt } = await tokens.issueFor(hostOperator, account.id, options)
      process.stdout.write(`${token}\n`)
      process.stderr.write(
        `The token ${id} of ${name}, shown this once, ends on ${expiresAt.toISOString().slice(0, 10)}.\n`,
      )
    })
  },
})

const revoke = verb({
  name: 'revoke',
  summary: 'ends tokens with the next request, for good',
  arguments: { ID: { optional: true, repeated: true } },
  options: {
    account: {
      type: 'string',
      value: 'NAME',
      summary: 'all live tokens of an account instead',
      complete: 'account',
    },
    yes: yesOption,
  },
  run: async ({ ID: ids }, { account: name, yes }) => {
    if ((name === undefined) === (ids.length === 0)) {
      throw new UsageError('Give the IDs of tokens, or --account NAME for all of an account.')
    }
    await withAppliance(configOfServer(), async ({ database, tokens, tokenRegister }) => {
      if (name === undefined) {
        const chosen = []
        for (const id of ids) chosen.push(await tokenRegister.find(hostOperator, id))
        const live = chosen.filter((token) => stateOf(token) === 'live')
        await requireYes(`${countOf(live.length)} will not work any more.`, 'Revoke?', yes)
        for (const { id } of chosen) {
          await tokens.revoke(hostOperator, id)
          process.stdout.write(`Revoked token ${id}.\n`)
        }
        return
      }
      const { id } = await accountNamed(database, name)
      const live = await tokenRegister.list(hostOperator, id, { all: false })
      await requireYes(`${countOf(live.length)} of ${name} will not work any more.`, 'Revoke?', yes)
      const count = await tokenRegister.revokeAll(hostOperator, id)
      process.stdout.write(`Revoked ${count} tokens of ${name}.\n`)
    })
  },
})

async function accountNamed(database: Db, name: string): Promise<AccountRow> {
  const account = await findAccount(database, name)
  if (account !== undefined) return account
  throw new CommandError(`There is no account "${name}".`)
}

function daysOf(text: string): number {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text)
  throw new UsageError('--days is a number of days from 1 on.')
}

function countOf(tokens: number): string {
  return tokens === 1 ? '1 token' : `${tokens} tokens`
}

function stateOf(token: TokenRecord): string {
  if (token.revokedAt !== null) return 'revoked'
  return token.expiresAt > new Date() ? 'live' : 'expired'
}

export const tokenCommand: Command = {
  name: 'token',
  summary: 'the access tokens of accounts',
  verbs: [list, show, issue, revoke],
  notes:
    'A token itself is shown once to its owner and kept nowhere: here are its ID, label and times.',
}
