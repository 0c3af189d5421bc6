/** The server as systemd starts it: with sockets, by with-notify, under a manager in small. */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

import { openDatabase } from '../../server/database.ts'
import type { Database } from '../../server/database.ts'
import { createLog } from '../../server/log.ts'
import { packageRoot } from '../../server/package-root.ts'
import { freePort } from '../support/free-port.ts'
import { createTestDatabase } from '../support/postgres.ts'
import { eventually } from '../support/server.ts'
import type { Lifetime } from '../support/server.ts'

export interface ManagedServer {
  readonly url: string
  readonly socket: string
  readonly port: number
  readonly database: Database
  /** What the manager and the server have printed so far. */
  lines(): readonly string[]
  /** The last process that was started. */
  pid(): number
  /** Ends the process as `systemctl restart` does, starts the next, and waits for it. */
  restart(): Promise<void>
}

export async function startManaged(t: Lifetime): Promise<ManagedServer> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-unit-'))
  const database = await createTestDatabase()
  const port = await freePort()
  const socket = join(directory, 'berth.sock')
  const config = join(directory, 'berth.toml')
  writeFileSync(
    config,
    [
      `data_dir = ${JSON.stringify(join(directory, 'data'))}`,
      `public_url = "http://127.0.0.1:${port}"`,
      // The sockets that are handed over count instead.
      'listen = "127.0.0.1:1"',
      '[database]',
      `url = ${JSON.stringify(database.url)}`,
      '[storage]',
      'keep_free = 0',
    ].join('\n'),
  )
  const main = ['--enable-source-maps', '--disable-proto=delete', '--no-addons']
  const server = [process.execPath, ...main, join(packageRoot, 'dist/server/main.js')]
  const manager = spawn(
    'perl',
    [
      join(packageRoot, 'test/systemd/manager.pl'),
      join(directory, 'notify'),
      socket,
      String(port),
      'sh',
      join(packageRoot, 'systemd/with-notify'),
      ...server,
    ],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { PATH: process.env['PATH'], BERTH_CONFIG: config },
    },
  )
  const lines: string[] = []
  createInterface(manager.stdout).on('line', (line) => lines.push(line))
  const exit = new Promise((resolve) => manager.once('exit', resolve))
  const started = (): string[] => lines.filter((line) => line.startsWith('started '))
  const ready = (): string[] => lines.filter((line) => line.startsWith('told [READY=1]'))
  const opened: Database[] = []
  t.after(async () => {
    manager.stdin.end()
    await exit
    for (const connection of opened) await connection.close()
    await database.drop()
    rmSync(directory, { recursive: true, force: true })
  })
  const becomesReady = async (times: number): Promise<void> =>
    await eventually(
      async () => ready().length >= times,
      `the server is ready for the ${times}. time:\n${lines.join('\n')}`,
      60_000,
    )
  await becomesReady(1)
  const connected = openDatabase({ url: database.url }, createLog('silent'))
  opened.push(connected)
  return {
    database: connected,
    url: `http://127.0.0.1:${port}`,
    socket,
    port,
    lines: () => lines,
    pid: () => Number(started().at(-1)?.split(' ')[1]),
    restart: async () => {
      const times = ready().length
      manager.stdin.write('restart\n')
      await becomesReady(times + 1)
    },
  }
}
