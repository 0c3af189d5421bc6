/**
 * Builds as jobs of the site's batch system, Slurm or PBS: the same runner, started by a script that is
 * handed to sbatch or qsub on its standard input. A handle is the job's number there. Nothing secret is
 * in script or arguments, which everybody may read; the token is in the job file.
 */
import { execFile } from 'node:child_process'
import { delimiter } from 'node:path'
import { setTimeout } from 'node:timers/promises'

import { Failure } from '../../failure.ts'
import type { Executor, JobStart } from '../executor.ts'

type State = 'pending' | 'running' | 'gone'

/** What a batch system's commands are called and how they answer. */
interface Dialect {
  readonly submit: (job: JobStart) => readonly string[]
  readonly state: (handle: string) => readonly string[]
  /** Of what the state command printed; it fails for jobs that are not known any more. */
  readonly readState: (text: string) => State
  readonly readReason: (text: string) => string
  readonly cancel: (handle: string) => readonly string[]
  readonly kill: (handle: string) => readonly string[]
}

export const slurm: Dialect = {
  submit: ({ id, limits }) => [
    'sbatch',
    '--parsable',
    // A build that was lost begins anew by Berth's own queue, with another token.
    '--no-requeue',
    '--export=NONE',
    '--output=/dev/null',
    '--nodes=1',
    '--ntasks=1',
    `--job-name=berth-${id}`,
    `--time=${minutesOf(limits.seconds)}`,
    `--cpus-per-task=${limits.cpus}`,
    `--mem=${mebibytesOf(limits.memoryBytes)}M`,
  ],
  state: (handle) => ['squeue', '--noheader', '--format=%T %r', `--jobs=${handle}`],
  readState: (text) => {
    const [state = ''] = text.trim().split(' ', 1)
    if (state === '') return 'gone'
    const waits = ['PENDING', 'CONFIGURING', 'REQUEUED', 'REQUEUE_HOLD', 'RESV_DEL_HOLD']
    if (waits.includes(state)) return 'pending'
    const goes = [
      'RUNNING',
      'COMPLETING',
      'SUSPENDED',
      'STOPPED',
      'SIGNALING',
      'STAGE_OUT',
      'RESIZING',
    ]
    return goes.includes(state) ? 'running' : 'gone'
  },
  readReason: (text) =>
    text
      .trim()
      .split(' ')
      .slice(1)
      .join(' ')
      .replace(/^None$/, ''),
  cancel: (handle) => ['scancel', handle],
  kill: (handle) => ['scancel', '--full', '--signal=KILL', handle],
}

export const pbs: Dialect = {
  submit: ({ id, limits }) => [
    'qsub',
    '-r',
    'n',
    '-o',
    '/dev/null',
    '-j',
    'oe',
    '-N',
    // 15 characters are all that some PBS take.
    `berth-${id.slice(0, 9)}`,
    '-l',
    `walltime=${minutesOf(limits.seconds) * 60}`,
    '-l',
    `select=1:ncpus=${limits.cpus}:mem=${mebibytesOf(limits.memoryBytes)}mb`,
  ],
  state: (handle) => ['qstat', '-f', handle],
  readState: (text) => {
    const state = /^\s*job_state = (\w)/m.exec(text)?.[1] ?? ''
    if (['Q', 'H', 'W', 'T', 'M'].includes(state)) return 'pending'
    return ['R', 'E', 'B', 'S', 'U'].includes(state) ? 'running' : 'gone'
  },
  readReason: (text) => /^\s*comment = (.*)$/m.exec(text)?.[1] ?? '',
  cancel: (handle) => ['qdel', handle],
  kill: (handle) => ['qdel', '-W', 'force', handle],
}

const commandMs = 20_000
const politeMs = 6_000
const killMs = 3_000
const lookMs = 500
/** The push of the image comes after the build's own time. */
const spareSeconds = 1800

export interface BatchOptions {
  /** The program of the runner and its arguments, as they are on the builder. */
  readonly command: readonly string[]
  /** Of the site: a partition or queue, an account. */
  readonly options: readonly string[]
  /** Where the batch system's commands are, when that is not the usual path. */
  readonly commandDirectory: string | undefined
}

export class BatchExecutor implements Executor {
  readonly #dialect: Dialect
  readonly #options: BatchOptions

  constructor(dialect: Dialect, options: BatchOptions) {
    this.#dialect = dialect
    this.#options = options
  }

  async start(job: JobStart): Promise<string> {
    const { command, options } = this.#options
    const words = [...command, '--job', job.jobFile].map(quoted)
    const script = `#!/bin/sh\nexec ${words.join(' ')}\n`
    const text = await this.#run([...this.#dialect.submit(job), ...options], script)
    // Slurm adds the cluster's name behind a semicolon.
    const handle = text.trim().split(';', 1)[0] ?? ''
    if (/^[\w.[\]-]+$/.test(handle)) return handle
    throw new Failure('unavailable', 'builder', 'The batch system did not say which job it made.')
  }

  async state(handle: string): Promise<State> {
    const text = await this.#ask(handle)
    return text === undefined ? 'gone' : this.#dialect.readState(text)
  }

  async reason(handle: string): Promise<string> {
    const text = await this.#ask(handle)
    return text === undefined ? '' : this.#dialect.readReason(text).slice(0, 200)
  }

  async cancel(handle: string): Promise<void> {
    const { cancel, kill } = this.#dialect
    for (const [command, ms] of [
      [cancel(handle), politeMs],
      [kill(handle), killMs],
    ] as const) {
      // It fails for a job that has ended, which is what is wanted.
      await this.#run(command).catch(() => '')
      if (await this.#goneWithin(handle, ms)) return
    }
    throw new Failure('unavailable', 'builder', `The job ${handle} does not end.`)
  }

  async #goneWithin(handle: string, ms: number): Promise<boolean> {
    const deadline = performance.now() + ms
    while ((await this.state(handle)) !== 'gone') {
      if (performance.now() > deadline) return false
      await setTimeout(lookMs)
    }
    return true
  }

  /** Undefined when the batch system does not know the job; throws when it does not answer at all. */
  async #ask(handle: string): Promise<string | undefined> {
    try {
      return await this.#run(this.#dialect.state(handle))
    } catch (error) {
      const { message } = error as Error
      if (/invalid job id|unknown job id|has finished/i.test(message)) return undefined
      throw error
    }
  }

  async #run(command: readonly string[], input = ''): Promise<string> {
    const [program = '', ...args] = command
    const usual = '/usr/local/bin:/usr/bin:/bin'
    const { commandDirectory } = this.#options
    const path = commandDirectory === undefined ? usual : [commandDirectory, usual].join(delimiter)
    return await new Promise((resolve, reject) => {
      const options = { timeout: commandMs, env: { PATH: path, LANG: 'C' }, cwd: '/' }
      const child = execFile(program, args, options, (error, stdout, stderr) => {
        if (error === null) {
          resolve(stdout)
          return
        }
        const said = stderr.trim().split('\n').at(-1) ?? ''
        const text = `${program} failed: ${said || error.message}`
        reject(new Failure('unavailable', 'builder', text.slice(0, 500), { cause: error }))
      })
      // A command that ends before it has read everything.
      child.stdin?.on('error', () => {})
      child.stdin?.end(input)
    })
  }
}

function minutesOf(seconds: number): number {
  return Math.ceil((seconds + spareSeconds) / 60)
}

function mebibytesOf(bytes: number): number {
  return Math.ceil(bytes / 2 ** 20)
}

/** One word of a shell, whatever is in it. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`
}
