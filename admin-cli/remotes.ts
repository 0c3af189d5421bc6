/** The endpoint that is active for the clients of this user, from their remote.yaml. */
import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

import { parse as parseYaml } from 'yaml'
import { z } from 'zod'

import { parseAddress } from './endpoint.ts'
import { CommandError } from './exit.ts'
import { printable } from './printable.ts'

export interface ActiveRemote {
  readonly name: string
  readonly url: URL
  /** Undefined when the user has not signed in. */
  readonly token: string | undefined
}

const entry = z.looseObject({
  URI: z.string(),
  Token: z.string().optional(),
  Insecure: z.boolean().optional(),
})
const remoteFile = z.looseObject({
  Active: z.string().optional(),
  Remotes: z.record(z.string(), entry.nullable()).nullish(),
})
type RemoteFile = z.infer<typeof remoteFile>

export type Client = 'singularity' | 'apptainer'

/**
 * `client` says whose file is looked at first; the other one's is taken when there is none. What the
 * administrators put into the system-wide file holds until the user has an entry of the same name.
 */
export function activeRemote(client: Client): ActiveRemote {
  const other = client === 'singularity' ? 'apptainer' : 'singularity'
  const files = [client, other].map((name) => ({ name, file: userFile(name) }))
  const own = files.find(({ file }) => existsSync(file)) ?? files[0]
  const user = own && existsSync(own.file) ? readRemotes(own.file) : {}
  const system = systemRemotes()
  const active = user.Active ?? system.Active
  if (active === undefined || active === '') {
    throw new CommandError(
      `No endpoint is chosen: use "${client} remote use NAME", or sign in with "${client} remote login NAME".`,
    )
  }
  const found = user.Remotes?.[active] ?? system.Remotes?.[active]
  if (found === undefined || found === null) {
    throw new CommandError(
      `The active endpoint "${printable(active)}" is in none of the remote.yaml files: use "${client} remote use NAME".`,
    )
  }
  return { name: active, url: urlOf(found), token: found.Token }
}

function userFile(client: string): string {
  const moved = process.env[`${client.toUpperCase()}_CONFIGDIR`]
  if (moved !== undefined && moved !== '') return join(moved, 'remote.yaml')
  return join(homedir(), `.${client}`, 'remote.yaml')
}

/** Where the clients' packages keep theirs; BERTH_REMOTES names the module's own. */
function systemRemotes(): RemoteFile {
  const named = process.env['BERTH_REMOTES']
  const places = [
    ...(named === undefined ? [] : [named]),
    '/etc/singularity/remote.yaml',
    '/etc/apptainer/remote.yaml',
    '/usr/local/etc/singularity/remote.yaml',
    '/usr/local/etc/apptainer/remote.yaml',
  ]
  const place = places.find((file) => existsSync(file))
  return place === undefined ? {} : readRemotes(place)
}

function readRemotes(file: string): RemoteFile {
  try {
    return remoteFile.parse(parseYaml(readFileSync(file, 'utf8')) ?? {})
  } catch (error) {
    const what = error instanceof z.ZodError ? 'it has another form' : (error as Error).message
    throw new CommandError(`${file} cannot be read: ${printable(what.split('\n', 1)[0] ?? '')}.`)
  }
}

/** `remote add` strips the scheme; a hand-written entry may have one, or begin with `//`. */
function urlOf({ URI, Insecure }: z.infer<typeof entry>): URL {
  if (/^https?:\/\//.test(URI)) return parseAddress(URI)
  const scheme = Insecure === true ? 'http' : 'https'
  return parseAddress(`${scheme}://${URI.replace(/^\/+/, '')}`)
}
