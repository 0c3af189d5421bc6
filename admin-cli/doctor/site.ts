/** What the checks look at: the configuration, this host, and the database while it answers. */
import { readFileSync } from 'node:fs'
import { userInfo } from 'node:os'

import { runnerEnvironment } from '../../server/builds/executors/local.ts'
import type { Config } from '../../server/config.ts'
import type { Database } from '../../server/database.ts'

export interface Host {
  /** Such as v22.11.0. */
  readonly nodeVersion: string
  /** Open files that a process may have; undefined where nobody says. */
  readonly openFiles: number | undefined
  /** Where the programs of builds are looked for, as PATH. */
  readonly searchPath: string
  readonly subuidFile: string
  /** Who asks; builds on this host run as the same. */
  readonly account: { readonly uid: number; readonly name: string }
  readonly now: () => Date
}

export interface Site {
  readonly config: Config
  /** The tables of the configuration file, for what the parsed one does not tell: names of files. */
  readonly settings: Readonly<Record<string, unknown>>
  readonly configFile: string
  readonly host: Host
  /** How long a proxy is asked to wait, in seconds: more than the minute that many allow. */
  readonly holdSeconds: number
  /** How long an answer may take that should be there at once, in milliseconds. */
  readonly patienceMs: number
  /** PEM of authorities besides those of the operating system. */
  readonly ca: string | undefined
}

export interface SiteWithDatabase extends Site {
  readonly database: Database
}

export function readHost(): Host {
  return {
    nodeVersion: process.version,
    openFiles: openFilesOf('/proc/self/limits'),
    searchPath: runnerEnvironment.PATH,
    subuidFile: '/etc/subuid',
    account: { uid: userInfo().uid, name: userInfo().username },
    now: () => new Date(),
  }
}

/** The soft limit, which Node raises to the hard one when it starts; that of the service may differ. */
function openFilesOf(file: string): number | undefined {
  try {
    const found = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync(file, 'utf8'))?.[1]
    return found === undefined ? undefined : found === 'unlimited' ? Infinity : Number(found)
  } catch {
    return undefined
  }
}

/** Whether people reach this site by a name of its own, and not only on this machine. */
export function isProduction({ config }: Site): boolean {
  const { protocol, hostname } = new URL(config.publicUrl)
  return protocol === 'https:' && hostname !== 'localhost'
}
