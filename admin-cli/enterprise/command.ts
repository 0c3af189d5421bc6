/** `singularity enterprise …` of sites without the stock plugin: the same words, tables and statuses. */
import { parseArgs } from 'node:util'

import type { ClientName } from '../client-programs.ts'
import { CommandError, UsageError } from '../exit.ts'
import { printable } from '../printable.ts'
import { activeRemote, remoteAt } from '../remotes.ts'
import { tokenEndsSoon } from '../token-notice.ts'
import { describe, get, nounOf } from './get.ts'
import { parseForm } from './output.ts'
import type { Report } from './rows.ts'
import { encode, Services } from './services.ts'
import { statusText } from './status.ts'

const help = `singularity enterprise: what is in the library, and your access tokens

  singularity enterprise get col NAME               collections of a user or group
  singularity enterprise get rep COLLECTION         repositories of a collection
  singularity enterprise get img REPOSITORY         images of a repository
  singularity enterprise get tok [ID ...]           your access tokens
  singularity enterprise get prj [NAME ...]         users and groups with images
  singularity enterprise get usr [NAME ...]         accounts (administrators)
  singularity enterprise get bld [ID ...]           your builds of the last day
  singularity enterprise get age [default]          builders, and what they work on (administrators)
  singularity enterprise describe TYPE ID           all about one of them
  singularity enterprise delete token ID [ID ...]   ends access tokens at once
  singularity enterprise status                     whether the services and your token are well
  singularity enterprise version

IDs are those that the lists show. Options of get: -o short|long|csv|json|yaml (--json), and for tokens
--user NAME, --show-disabled-tokens, --show-auto-tokens, and for builds --user NAME, --all, --from TIME,
--to TIME (2026-01-31T12:00:00Z). It asks the active endpoint ("singularity remote list") with your token
("singularity remote login"), or with --url URL another one.
`

const report: Report = {
  info: (text) => void process.stderr.write(`INFO:    ${printable(text)}\n`),
  warn: (text) => void process.stderr.write(`WARNING: ${printable(text)}\n`),
}

export async function enterprise(client: ClientName, args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      output: { type: 'string', short: 'o' },
      json: { type: 'boolean' },
      user: { type: 'string' },
      all: { type: 'boolean' },
      from: { type: 'string' },
      to: { type: 'string' },
      'show-disabled-tokens': { type: 'boolean' },
      'show-auto-tokens': { type: 'boolean' },
      url: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  const [verb, noun, ...refs] = positionals
  if (values.help === true || verb === undefined || verb === 'help') {
    process.stdout.write(help)
    return
  }
  const discover = async (): Promise<Services> => {
    const remote = values.url === undefined ? activeRemote(client) : remoteAt(client, values.url)
    return await Services.discover(remote, tokenEndsSoon())
  }
  switch (verb) {
    case 'version':
      process.stdout.write('1.0.0\n')
      return
    case 'status':
      process.stdout.write(await statusText(await discover()))
      return
    case 'get': {
      const kind = nounOf(noun)
      const form = values.json === true ? 'json' : parseForm(values.output)
      const options = {
        form,
        user: values.user,
        showDisabled: values['show-disabled-tokens'] === true,
        showAuto: values['show-auto-tokens'] === true,
        all: values.all === true,
        from: values.from,
        to: values.to,
      }
      process.stdout.write(await get(await discover(), kind, refs, options, report))
      return
    }
    case 'describe': {
      const kind = nounOf(noun)
      const [ref, ...rest] = refs
      if (ref === undefined || rest.length > 0) throw new UsageError('Give one ID to describe.')
      process.stdout.write(await describe(await discover(), kind, ref))
      return
    }
    case 'delete': {
      if (nounOf(noun) !== 'token') {
        throw new UsageError(
          'Only tokens are deleted here; images with "singularity delete library://…".',
        )
      }
      await revoke(await discover(), refs, values.all === true, values.user)
      return
    }
    default:
      throw new UsageError(`There is no "${printable(verb)}": see singularity enterprise --help.`)
  }
}

async function revoke(
  services: Services,
  ids: readonly string[],
  all: boolean,
  user: string | undefined,
): Promise<void> {
  if (!all) {
    if (ids.length === 0) {
      throw new UsageError('Give the ID of a token: list_singularity_tokens shows yours.')
    }
    for (const id of ids) {
      report.info(`Revoking token ${id}`)
      await services.revoke(encode(id))
    }
    return
  }
  if (ids.length > 0) throw new UsageError('Give the IDs of tokens or --all, not both.')
  const [id = services.accountId] = await services.accountIds(user === undefined ? [] : [user])
  if (id === '') throw new CommandError('Sign in first: singularity remote login.')
  report.info(`Revoking all tokens of user ${id}`)
  await services.revoke(`all?sub=${encodeURIComponent(id)}`)
}
