/**
 * Builds on this host: the runner is a process with a session of its own, which goes on when Berth
 * is restarted. A handle is the process number, when the process began, in ticks since the boot (a
 * number alone could be another program's by the time somebody asks), and the build. What the runner
 * itself has to say, which is not the build's output, is in a file for each build.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'

import { Failure } from '../../failure.ts'
import type { Executor, JobStart } from '../executor.ts'
import { RunnerLogs } from './runner-logs.ts'

const politeMs = 5_000
const killMs = 3_000
const lookMs = 50

export const runnerEnvironment = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  LANG: 'C.UTF-8',
}

export class LocalExecutor implements Executor {
  readonly #command: readonly string[]
  readonly #logs: RunnerLogs

  /** The program and its arguments, to which `--job FILE` is added; where runners' logs are kept. */
  constructor(command: readonly string[], logs: string) {
    this.#command = command
    this.#logs = new RunnerLogs(logs)
  }

  async start(job: Pick<JobStart, 'id' | 'jobFile'>): Promise<string> {
    const [program = '', ...args] = this.#command
    const log = await this.#logs.open(job.id)
    const child = spawn(program, [...args, '--job', job.jobFile], {
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
      cwd: '/',
      // Nothing of the service's own environment: credentials may be in it.
      env: runnerEnvironment,
    })
    // Reaped by node whenever it ends; nobody waits for it here.
    child.unref()
    try {
      await once(child, 'spawn')
    } catch (error) {
      const text = `The runner cannot be started: ${(error as Error).message}`
      throw new Failure('unavailable', 'builder', text, { cause: error })
    } finally {
      await log.close()
    }
    const pid = child.pid ?? 0
    const began = await beganAt(pid)
    // It may have ended already; then no process has this name.
    return `${pid}:${began ?? 0}:${job.id}`
  }

  async state(handle: string): Promise<'running' | 'gone'> {
    return (await this.#lives(handle)) ? 'running' : 'gone'
  }

  /** The last line of the runner's log: why it could not begin, for example. */
  async reason(handle: string): Promise<string> {
    const [, , id = ''] = handle.split(':')
    return await this.#logs.lastWords(id)
  }

  async removeLogs(days: number): Promise<void> {
    await this.#logs.expire(days)
  }

  async cancel(handle: string): Promise<void> {
    const [pid = 0] = handle.split(':').map(Number)
    if (pid <= 1) return
    if (await this.#lives(handle)) {
      signal(pid, 'SIGTERM')
      if (!(await this.#goneWithin(handle, politeMs)) && (await this.#lives(handle))) {
        signal(-pid, 'SIGKILL')
      }
    }
    if (await this.#goneWithin(handle, killMs)) return
    throw new Failure('unavailable', 'builder', `The process ${pid} of the runner does not end.`)
  }

  async #lives(handle: string): Promise<boolean> {
    const [pid = 0, began = 0] = handle.split(':').map(Number)
    return began > 0 && (await beganAt(pid)) === began
  }

  async #goneWithin(handle: string, ms: number): Promise<boolean> {
    const deadline = performance.now() + ms
    while (await this.#lives(handle)) {
      if (performance.now() > deadline) return false
      await setTimeout(lookMs)
    }
    return true
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Field 22 of /proc/<pid>/stat (proc(5)); undefined when there is no such process, or a dead one. */
async function beganAt(pid: number): Promise<number | undefined> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8')
    // The second field is the program's name in brackets, with whatever characters it has.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : Number(fields[19])
  } catch {
    return undefined
  }
}
