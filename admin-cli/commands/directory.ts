import type { DirectoryAnswer } from '../../server/accounts/directory.ts'
import type { RevalidationResult } from '../../server/accounts/revalidation.ts'
import { readConfig } from '../../server/config.ts'
import type { Step } from '../../server/directory/steps.ts'
import { walkDirectory } from '../../server/directory/walk.ts'
import { createLog } from '../../server/log.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { describeStep } from '../directory-steps.ts'
import { CommandError } from '../exit.ts'
import { jsonOption } from '../json-option.ts'
import { readPassword } from '../password-prompt.ts'
import { printable } from '../printable.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const revalidate = verb({
  name: 'revalidate',
  summary: 'asks the directory now who is still there, as the server does every few minutes',
  options: {
    confirm: { type: 'boolean', summary: 'lets a change happen that was held back' },
    json: jsonOption,
  },
  notes:
    'Whom the directory disables or does not have any more is suspended, whoever is back is restored, groups are taken over. A change that is too large to be true is held back and raises an alarm; after a look at it, --confirm lets it happen.',
  run: async (_words, values) => {
    await withAppliance(configOfServer(), async (appliance) => {
      const result = await appliance.revalidate({ confirmed: values.confirm })
      if (result === undefined) {
        throw new CommandError(
          'There is no directory that could be asked about people without their passwords.',
        )
      }
      if (values.json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
      else process.stdout.write(summary(result))
      if (result.held.length > 0) process.exitCode = 1
    })
  },
})

function summary(result: RevalidationResult): string {
  const named = (names: readonly string[]): string =>
    names.length === 0 ? '0' : `${names.length} (${names.map(printable).join(' ')})`
  const held =
    result.held.length === 0
      ? ''
      : `held back: ${named(result.held)}: too many to be believed; if it is true, use --confirm\n`
  return `checked: ${result.checked}\nsuspended: ${named(result.suspended)}\nrestored: ${named(result.restored)}\n${held}`
}

const test = verb({
  name: 'test',
  summary: 'asks LDAP or the portal about a person as signing in does, and shows each step',
  arguments: { NAME: {} },
  options: {
    password: {
      type: 'boolean',
      summary: "asks for the person's password and tries it; a portal knows nobody without",
    },
    json: jsonOption,
  },
  notes:
    'The steps are the server and its certificate, the search, the entry with the attributes that Berth looks at, the state of the account, the groups. It needs the configuration only, changes nothing, and tells no secret.',
  run: async ({ NAME: name }, values) => {
    const { directory } = readConfig()
    if (directory === undefined) {
      throw new CommandError('There is no [directory] in the configuration: accounts are local.')
    }
    const password = values.password
      ? await readPassword(`Password of ${printable(name)}: `)
      : undefined
    if (password === '') throw new CommandError('No password was given.')
    const steps: Step[] = []
    const answer = await walkDirectory(directory, {
      name,
      password,
      log: createLog('silent'),
      report: (step) => {
        steps.push(step)
        if (!values.json) process.stdout.write(describeStep(step))
      },
    })
    if (values.json) {
      process.stdout.write(`${JSON.stringify({ steps, answer }, null, 2)}\n`)
    }
    if (answer === undefined) {
      throw new CommandError('Nothing can be learned without a password here: add --password.')
    }
    if (answer.outcome !== 'accepted') throw new CommandError(verdict(answer))
    if (values.json) return
    const { id } = answer.entry
    const how = password === undefined ? 'may sign in, with the right password' : 'may sign in'
    process.stdout.write(printable(`${answer.entry.name} ${how} (id ${id})`).concat('.\n'))
  },
})

function verdict(answer: Exclude<DirectoryAnswer, { outcome: 'accepted' }>): string {
  if (answer.outcome === 'password-expired') {
    return `${printable(answer.name)} may not sign in: the password is right, but it has expired.`
  }
  const detail = answer.detail === undefined ? '' : ` (${printable(answer.detail)})`
  return `Signing in is refused: ${answer.reason}${detail}.`
}

export const directoryCommand: Command = {
  name: 'directory',
  summary: "the site's LDAP directory or portal",
  verbs: [test, revalidate],
}
