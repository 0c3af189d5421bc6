/**
 * The endpoint that is active for the clients of this user, and the token for it, from their
 * remote.yaml and the host's, merged as the clients merge them (internal/pkg/remote, SyncFrom).
 */
import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

import { parse as parseYaml } from 'yaml'
import { z } from 'zod'

import { clientBehind } from './client-programs.ts'
import type { ClientName } from './client-programs.ts'
import { parseAddress } from './endpoint.ts'
import { CommandError } from './exit.ts'
import { printable } from './printable.ts'

export interface ActiveRemote {
  readonly url: URL
  /** Undefined when the user has not signed in. */
  readonly token: string | undefined
}

// To Go an empty value is the zero value.
const entry = z.looseObject({
  URI: z.string().nullish(),
  Token: z.string().nullish(),
  Insecure: z.boolean().nullish(),
  Exclusive: z.boolean().nullish(),
})
type Entry = z.infer<typeof entry>
const remoteFile = z.looseObject({
  Active: z.string().nullish(),
  Remotes: z.record(z.string(), entry.nullish()).nullish(),
})

interface Remotes {
  /** Empty when none is chosen. */
  readonly active: string
  readonly entries: ReadonlyMap<string, Entry>
}

const none: Remotes = { active: '', entries: new Map() }

/**
 * Of the client that was called, or of the other one where the user has signed in with that one only.
 * `called` may be a link to the other one.
 */
export function activeRemote(called: ClientName): ActiveRemote {
  const client = clientBehind(called) ?? called
  const [first, second] = clientsFrom(client).map((name) => ({ name, ...remotesOf(name) }))
  const own = first && activeIn(first)
  const other = second && activeIn(second)
  const chosen = own?.token === undefined && other?.token !== undefined ? other : (own ?? other)
  if (chosen !== undefined) return chosen
  const lost = [first, second].find((one) => one !== undefined && one.active !== '')
  if (lost !== undefined) {
    throw new CommandError(
      `The active endpoint "${printable(lost.active)}" is in none of the remote.yaml files: use "${lost.name} remote use NAME".`,
    )
  }
  throw new CommandError(
    `No endpoint is chosen: use "${client} remote use NAME", or sign in with "${client} remote login NAME".`,
  )
}

/** An address that was typed, with the token that the user has for it. */
export function remoteAt(called: ClientName, address: string): ActiveRemote {
  const url = parseAddress(address)
  const entries = clientsFrom(clientBehind(called) ?? called).flatMap((name) => [
    ...remotesOf(name).entries.values(),
  ])
  const tokens = entries.filter((one) => urlOf(one)?.origin === url.origin).map(tokenOf)
  return { url, token: tokens.find((token) => token !== undefined) }
}

function clientsFrom(first: ClientName): readonly ClientName[] {
  return first === 'singularity' ? ['singularity', 'apptainer'] : ['apptainer', 'singularity']
}

function activeIn({ active, entries }: Remotes): ActiveRemote | undefined {
  const found = entries.get(active)
  const url = found && urlOf(found)
  return found && url && { url, token: tokenOf(found) }
}

/**
 * What the administrators name is theirs, but for the token in it, and one that they make exclusive is
 * the active one.
 */
function remotesOf(client: ClientName): Remotes {
  const user = readRemotes(userFile(client))
  const host = readRemotes(hostFile(client))
  const entries = new Map(user.entries)
  for (const [name, one] of host.entries) {
    entries.set(name, { ...one, Token: user.entries.get(name)?.Token })
  }
  const exclusive = [...host.entries].find(([, one]) => one.Exclusive === true)?.[0]
  return { active: exclusive ?? (user.active === '' ? host.active : user.active), entries }
}

function userFile(client: ClientName): string {
  const moved = process.env[`${client.toUpperCase()}_CONFIGDIR`]
  if (moved !== undefined && moved !== '') return join(moved, 'remote.yaml')
  return join(homedir(), `.${client}`, 'remote.yaml')
}

/** The module's own, which BERTH_REMOTES names, else where the clients' packages keep theirs. */
function hostFile(client: ClientName): string | undefined {
  const places = [
    process.env['BERTH_REMOTES'] ?? '',
    `/etc/${client}/remote.yaml`,
    `/usr/local/etc/${client}/remote.yaml`,
  ]
  return places.find((file) => existsSync(file))
}

function readRemotes(file: string | undefined): Remotes {
  if (file === undefined || !existsSync(file)) return none
  try {
    const { Active, Remotes } = remoteFile.parse(parseYaml(readFileSync(file, 'utf8')) ?? {})
    const entries = Object.entries(Remotes ?? {}).map(([name, one]) => [name, one ?? {}] as const)
    return { active: Active ?? '', entries: new Map(entries) }
  } catch (error) {
    const what = error instanceof z.ZodError ? 'it has another form' : (error as Error).message
    throw new CommandError(`${file} cannot be read: ${printable(what.split('\n', 1)[0] ?? '')}.`)
  }
}

function tokenOf({ Token }: Entry): string | undefined {
  return Token === null || Token === undefined || Token === '' ? undefined : Token
}

/** `remote add` strips the scheme; a hand-written entry may have one, or begin with `//`. */
function urlOf({ URI, Insecure }: Entry): URL | undefined {
  const place = (URI ?? '').replace(/^\/+/, '')
  if (place === '') return undefined
  if (/^https?:\/\//.test(place)) return parseAddress(place)
  return parseAddress(`${Insecure === true ? 'http' : 'https'}://${place}`)
}
