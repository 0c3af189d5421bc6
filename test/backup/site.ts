/** A server, its configuration as a file for berthctl, and empty hosts to restore onto. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { run } from '../admin/command.ts'
import type { Outcome } from '../admin/command.ts'
import { freePort } from '../support/free-port.ts'
import { createTestDatabase } from '../support/postgres.ts'
import { startServer } from '../support/server.ts'
import type { Lifetime, TestServer } from '../support/server.ts'

export interface EmptyHost {
  readonly dataDir: string
  readonly databaseUrl: string
  /** Of its configuration, which berthctl reads. */
  readonly configFile: string
  /** The same for startServer. */
  readonly settings: Readonly<Record<string, unknown>>
  readonly berthctl: (...args: readonly string[]) => Promise<Outcome>
}

export interface Site extends EmptyHost {
  readonly server: TestServer
  /** Where its backups go; not there yet. */
  readonly backups: string
  readonly passphraseFile: string
  /** `berthctl backup create` with the passphrase. */
  readonly backup: (...args: readonly string[]) => Promise<Outcome>
}

/** Ends in the opposite order of the beginnings: a database goes after the server on it. */
export function lastFirst(t: Lifetime): Lifetime {
  const endings: (() => Promise<void>)[] = []
  t.after(async () => {
    for (const end of endings.toReversed()) await end()
  })
  return { after: (end) => void endings.push(end) }
}

/** The sweep removes at once what no image has: nothing but the hold of a backup keeps it. */
const storage = { keep_free: 0, grace_hours: 0 }

export async function makeSite(life: Lifetime): Promise<Site> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-site-'))
  life.after(async () => rmSync(directory, { recursive: true, force: true }))
  const host = await makeEmptyHost(life)
  const server = await startServer(life, { settings: host.settings })
  const backups = join(directory, 'backups')
  const passphraseFile = join(directory, 'passphrase')
  writeFileSync(passphraseFile, 'correct horse battery staple\n', { mode: 0o600 })
  return {
    ...host,
    server,
    backups,
    passphraseFile,
    backup: async (...args) =>
      await host.berthctl(
        'backup',
        'create',
        backups,
        '--passphrase-file',
        passphraseFile,
        ...args,
      ),
  }
}

/** A database without a table, a data directory that is not there, and a configuration of both. */
export async function makeEmptyHost(life: Lifetime): Promise<EmptyHost> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-empty-'))
  const database = await createTestDatabase()
  life.after(async () => {
    rmSync(directory, { recursive: true, force: true })
    await database.drop()
  })
  const dataDir = join(directory, 'data')
  const configFile = join(directory, 'etc/berth.toml')
  mkdirSync(join(directory, 'etc'))
  const lines = [
    `data_dir = "${dataDir}"`,
    `public_url = "http://127.0.0.1:${await freePort()}"`,
    '[database]',
    `url = "${database.url}"`,
    '[storage]',
    'keep_free = 0',
    'grace_hours = 0',
    '[library]',
    // What is deleted shall be gone with the next sweep.
    'undelete_days = 0',
    '',
  ]
  writeFileSync(configFile, lines.join('\n'))
  return {
    dataDir,
    databaseUrl: database.url,
    configFile,
    settings: {
      data_dir: dataDir,
      database: { url: database.url },
      storage,
      library: { undelete_days: 0 },
    },
    berthctl: async (...args) => await run('berthctl', args, { env: { BERTH_CONFIG: configFile } }),
  }
}
