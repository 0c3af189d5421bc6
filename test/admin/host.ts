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

/** The processes that were started with this word, without their children (before those are renamed). */
function processesOf(word: string): number[] {
  const found = readdirSync('/proc').filter(
    (name) => /^\d+$/.test(name) && read(`/proc/${name}/cmdline`).split('\0').includes(word),
  )
  const isChild = (pid: string): boolean => {
    const parent = /^PPid:\t(\d+)$/m.exec(read(`/proc/${pid}/status`))?.[1]
    return parent === undefined || found.includes(parent)
  }
  return found.filter((pid) => !isChild(pid)).map(Number)
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return '' // the process ended just now
  }
}
