import { parseArgs } from 'node:util'

import type { DirectoryAnswer } from '../../server/accounts/directory.ts'
import type { RevalidationResult } from '../../server/accounts/revalidation.ts'
import { readConfig } from '../../server/config.ts'
import type { Step } from '../../server/directory/steps.ts'
import { walkDirectory } from '../../server/directory/walk.ts'
import { createLog } from '../../server/log.ts'
import type { Command } from '../command.ts'
import { describeStep } from '../directory-steps.ts'
import { CommandError, UsageError } from '../exit.ts'
import { readPassword } from '../password-prompt.ts'
import { printable } from '../printable.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const help = `berthctl directory: the site's LDAP directory or portal

  berthctl directory test NAME [--password] [--json]
  berthctl directory revalidate [--confirm] [--json]

Asks the directory about a person as signing in does, and shows each step: the server and its
certificate, the search, the entry with the attributes that Berth looks at, the state of the account,
the groups. --password asks for the person's password and tries it; a portal knows nobody without.
It needs the configuration only, changes nothing, and tells no secret.

Revalidate does now what the server does every few minutes: whom the directory disables or does not
have any more is suspended, whoever is back is restored, groups are taken over. A change that is too
large to be true is held back and raises an alarm; after a look at it, --confirm lets it happen.
`

const verbs: Readonly<Record<string, (args: string[]) => Promise<void>>> = {
  test,
  revalidate,
}

export const directoryCommand: Command = {
  help,
  run: async ([verb = '', ...args]) => {
    const run = Object.hasOwn(verbs, verb) ? verbs[verb] : undefined
    if (run !== undefined) return await run(args)
    throw new UsageError('Say "directory test NAME" or "directory revalidate".')
  },
}

async function revalidate(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { confirm: { type: 'boolean' }, json: { type: 'boolean' } },
  })
  await withAppliance(configOfServer(), async (appliance) => {
    const result = await appliance.revalidate({ confirmed: values.confirm === true })
    if (result === undefined) {
      throw new CommandError(
        'There is no directory that could be asked about people without their passwords.',
      )
    }
    if (values.json === true) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
    else process.stdout.write(summary(result))
    if (result.held.length > 0) process.exitCode = 1
  })
}

function summary(result: RevalidationResult): string {
  const named = (names: readonly string[]): string =>
    names.length === 0 ? '0' : `${names.length} (${names.map(printable).join(' ')})`
  const held =
    result.held.length === 0
      ? ''
      : `held back: ${named(result.held)}: too many to be believed; if it is true, use --confirm\n`
  return `checked: ${result.checked}\nsuspended: ${named(result.suspended)}\nrestored: ${named(result.restored)}\n${held}`
}

async function test(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { password: { type: 'boolean' }, json: { type: 'boolean' } },
  })
  const [name, ...rest] = positionals
  if (name === undefined || rest.length > 0) {
    throw new UsageError('Give one login name, and the password not on the command line.')
  }
  const { directory } = readConfig()
  if (directory === undefined) {
    throw new CommandError('There is no [directory] in the configuration: accounts are local.')
  }
  const password =
    values.password === true ? await readPassword(`Password of ${printable(name)}: `) : undefined
  if (password === '') throw new CommandError('No password was given.')
  const steps: Step[] = []
  const answer = await walkDirectory(directory, {
    name,
    password,
    log: createLog('silent'),
    report: (step) => {
      steps.push(step)
      if (values.json !== true) process.stdout.write(describeStep(step))
    },
  })
  if (values.json === true) {
    process.stdout.write(`${JSON.stringify({ steps, answer }, null, 2)}\n`)
  }
  if (answer === undefined) {
    throw new CommandError('Nothing can be learned without a password here: add --password.')
  }
  if (answer.outcome !== 'accepted') throw new CommandError(verdict(answer))
  if (values.json === true) return
  const { id } = answer.entry
  const how = password === undefined ? 'may sign in, with the right password' : 'may sign in'
  process.stdout.write(printable(`${answer.entry.name} ${how} (id ${id})`).concat('.\n'))
}

function verdict(answer: Exclude<DirectoryAnswer, { outcome: 'accepted' }>): string {
  if (answer.outcome === 'password-expired') {
    return `${printable(answer.name)} may not sign in: the password is right, but it has expired.`
  }
  const detail = answer.detail === undefined ? '' : ` (${printable(answer.detail)})`
  return `Signing in is refused: ${answer.reason}${detail}.`
}
