/** `berth-builder` as a process, with a directory of its own; by default its runner is the stand-in. */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { chownSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

import { hostOperator } from '../../server/accounts/accounts.ts'
import { packageRoot } from '../../server/package-root.ts'
import type { TestServer } from './server.ts'

export interface BuilderHostOptions {
  readonly name?: string
  /** By default one that is made now. */
  readonly token?: string
  readonly url?: string
  readonly archs?: readonly string[]
  readonly slots?: number
  /** Further lines: first of `[server]`. */
  readonly server?: readonly string[]
  /** Lines for the runner, which is then the real one. */
  readonly runner?: readonly string[]
  /** Whoever runs the stand-in is nobody; the real runner is so when a test asks for it. */
  readonly unprivileged?: boolean
  readonly environment?: Readonly<Record<string, string>>
}

export interface BuilderHostProcess {
  readonly name: string
  readonly token: string
  readonly directory: string
  readonly config: string
  /** While this file exists the walls of the stand-in do not hold; it says why. */
  readonly walls: string
  start(): BuilderProgram
}

interface BuilderProgram {
  readonly child: ChildProcess
  log(): string
  end(signal: NodeJS.Signals): Promise<number | null>
}

/** In CI the tests are root, and a builder host is nobody in particular. */
const unprivileged = process.getuid?.() === 0 ? 65_534 : undefined

/** Ends with the test, with whatever it has started. */
export async function makeBuilderHost(
  t: TestContext,
  server: TestServer,
  options: BuilderHostOptions = {},
): Promise<BuilderHostProcess> {
  const { name = 'east', archs = ['amd64'], slots = 2, url = server.url } = options
  const directory = mkdtempSync(join(tmpdir(), 'berth-builder-host-'))
  const [config, tokenFile] = [join(directory, 'builder.toml'), join(directory, 'token')]
  const walls = join(directory, 'walls')
  const token = options.token ?? (await server.appliance.builder.hosts.add(hostOperator, name))
  writeFileSync(tokenFile, `${token}\n`, { mode: 0o600 })
  const standIn = join(packageRoot, 'dist/test/support/stand-in-runner.js')
  const ofStandIn = `runner = ${JSON.stringify([process.execPath, standIn, '--walls', walls])}`
  const lines = [
    ...(options.runner ?? []),
    '[server]',
    `url = "${url}"`,
    `token_file = "${tokenFile}"`,
    `name = "${name}"`,
    `archs = ${JSON.stringify(archs)}`,
    `slots = ${slots}`,
    `state_dir = "${directory}/state"`,
    ...(options.runner === undefined ? [ofStandIn] : []),
    ...(options.server ?? []),
    '',
  ]
  writeFileSync(config, lines.join('\n'))
  const isNobody = options.unprivileged ?? options.runner === undefined
  const uid = isNobody ? unprivileged : undefined
  if (uid !== undefined)
    for (const path of [directory, tokenFile, config]) chownSync(path, uid, uid)

  const programs: BuilderProgram[] = []
  t.after(async () => {
    for (const program of programs) await program.end('SIGKILL')
    for (const pid of processesIn(directory)) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // It has ended meanwhile.
      }
    }
    rmSync(directory, { recursive: true, force: true, maxRetries: 10 })
  })
  return {
    name,
    token,
    directory,
    config,
    walls,
    start: () => {
      const program = startProgram(config, uid, options.environment)
      programs.push(program)
      return program
    },
  }
}

function startProgram(
  config: string,
  uid: number | undefined,
  environment: Readonly<Record<string, string>> = {},
): BuilderProgram {
  const main = join(packageRoot, 'dist/server/builder.js')
  const child = spawn(process.execPath, ['--enable-source-maps', main, '--config', config], {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: '/',
    env: { PATH: process.env['PATH'], ...environment },
    ...(uid === undefined ? {} : { uid, gid: uid }),
  })
  let log = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (log += text))
  }
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve))
  return {
    child,
    log: () => log,
    end: async (signal) => {
      child.kill(signal)
      return await ended
    },
  }
}

/** Processes that name this directory in their arguments. */
export function processesIn(directory: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(directory)
      } catch {
        return false
      }
    })
    .map(Number)
}
