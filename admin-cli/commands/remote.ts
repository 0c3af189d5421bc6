import { homedir } from 'node:os'
import { join, resolve } from 'node:path'

import { readConfig } from '../../server/config.ts'
import { packageRoot } from '../../server/package-root.ts'
import { clientBehind, clientNames } from '../client-programs.ts'
import type { ClientName } from '../client-programs.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { configuredAddress, endpointUrl, parseAddress } from '../endpoint.ts'
import { UsageError } from '../exit.ts'
import { printable } from '../printable.ts'
import { writeRemote } from '../remote-yaml.ts'

const write = verb({
  name: '',
  summary: 'writes this endpoint into your remote.yaml and makes it the active one',
  arguments: { NAME: { optional: true, summary: 'name of the entry (default: berth)' } },
  options: {
    url: {
      type: 'string',
      value: 'URL',
      summary:
        "endpoint (default: BERTH_PUBLIC_URL, BERTH_URL, url in /etc/berth/client.toml, or the server's configuration)",
    },
    client: {
      type: 'string',
      value: 'CLIENT',
      summary:
        'whose file, apptainer or singularity (default: of those on the PATH, else apptainer)',
      complete: clientNames,
    },
    home: {
      type: 'string',
      value: 'DIR',
      summary: 'a home other than yours: DIR/.apptainer/remote.yaml, DIR/.singularity/remote.yaml',
      complete: 'directory',
    },
  },
  notes:
    'Needed where the address has a port, because the clients\' own "remote add" cannot take one. Everything else in the file stays.',
  run: async ({ NAME: name = 'berth' }, values) => {
    if (!/^[A-Za-z][A-Za-z0-9._-]*$/.test(name)) {
      throw new UsageError('Give one name that begins with a letter, such as "berth".')
    }
    const url = parseAddress(values.url ?? ownAddress())
    const wanted = values.client === undefined ? installed() : [parseClient(values.client)]
    for (const client of wanted) {
      const file = fileOf(client, values.home)
      const written = await writeRemote(file, name, url)
      process.stdout.write(
        `Wrote ${file}: "${name}" is ${url.origin}, the active endpoint of ${client}${
          written.hasToken ? '; its token stays' : ''
        }.\n`,
      )
      if (written.formerlyActive !== undefined) {
        const former = printable(written.formerlyActive)
        process.stdout.write(`Back to the former one: ${client} remote use ${former}\n`)
      }
    }
    process.stdout.write(nextSteps(wanted[0] ?? 'apptainer', name, url))
  },
})

export const remoteCommand: Command = {
  name: 'remote',
  summary: 'the file in which apptainer and singularity have their endpoints',
  verbs: [write],
}

/** What the server calls itself, for whoever types this beside it. */
function ownAddress(): string {
  const variable = process.env['BERTH_PUBLIC_URL']
  if (variable !== undefined && variable !== '') return variable
  return configuredAddress() ?? readConfig().publicUrl
}

function parseClient(text: string): ClientName {
  const client = clientNames.find((one) => one === text)
  if (client !== undefined) return client
  throw new UsageError(`--client is ${clientNames.join(' or ')}.`)
}

function fileOf(client: ClientName, home: string | undefined): string {
  const moved = process.env[`${client.toUpperCase()}_CONFIGDIR`]
  if (home === undefined && moved !== undefined && moved !== '') return join(moved, 'remote.yaml')
  return join(resolve(home ?? homedir()), `.${client}`, 'remote.yaml')
}

function installed(): readonly ClientName[] {
  const found = clientNames.filter((client) => clientBehind(client) === client)
  return found.length > 0 ? found : ['apptainer']
}

function nextSteps(client: ClientName, name: string, url: URL): string {
  const option = endpointUrl(undefined).origin === url.origin ? '' : ` --url ${url.origin}`
  return [
    'Next, with the name of your account:',
    `  ${join(packageRoot, 'admin-cli/bin/get_singularity_token')}${option} --user NAME > token`,
    `  ${client} remote login --tokenfile token ${name}`,
    '',
  ].join('\n')
}
