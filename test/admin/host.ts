/** A host of its own: a data directory with the embedded PostgreSQL, a port, and the server on it. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { freePort } from '../support/free-port.ts'
import { startProcess } from '../support/process.ts'
import type { ServerProcess } from '../support/process.ts'
import type { Lifetime } from '../support/server.ts'

export interface Host {
  readonly dataDir: string
  readonly port: number
  /** The environment with which berthctl finds the data. */
  readonly env: Readonly<Record<string, string>>
  start(): Promise<ServerProcess>
  /** The PostgreSQL servers that run on the data directory. */
  postmasters(): number[]
}

/** Ends with the test: no process and no file is left. */
export async function makeHost(t: Lifetime): Promise<Host> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-host-'))
  const dataDir = join(directory, 'data')
  const port = await freePort()
  const servers: ServerProcess[] = []
  const postmasters = (): number[] => processesOf(join(dataDir, 'postgres/cluster'))
  t.after(async () => {
    for (const server of servers) {
      if (isRunning(server)) await server.end('SIGKILL')
    }
    for (const pid of postmasters()) process.kill(pid, 'SIGKILL')
    rmSync(directory, { recursive: true, force: true, maxRetries: 10 })
  })
  return {
    dataDir,
    port,
    env: { BERTH_DATA_DIR: dataDir, BERTH_CONFIG: '/dev/null' },
    start: async () => {
      const server = await startProcess({ dataDir, port })
      servers.push(server)
      return server
    },
    postmasters,
  }
}

export function isRunning({ child }: ServerProcess): boolean {
  return child.exitCode === null && child.signalCode === null
}

/** The processes that were started with this word; PostgreSQL's children bear other names. */
function processesOf(word: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && argumentsOf(name).includes(word))
    .map(Number)
}

function argumentsOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return [] // it ended just now
  }
}
