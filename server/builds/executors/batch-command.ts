/** Runs the commands of a batch system: no shell, no environment but theirs, and never for long. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'

import { Failure } from '../../failure.ts'

export interface CommandResult {
  /** 0 when it did what it was asked for; -1 when a signal ended it. */
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

export interface CommandOptions {
  /** Its standard input; nothing when left out. */
  readonly input?: string
  readonly seconds: number
}

/** Where sites say which cluster their commands speak to. */
const passedOn = ['PATH', 'SLURM_CONF', 'PBS_CONF_FILE', 'PBS_SERVER', 'PBS_DEFAULT', 'PBS_EXEC']

/** Throws `unavailable`, for people to read, when there is no such program or it does not answer. */
export async function runCommand(
  program: string,
  args: readonly string[],
  { input = '', seconds }: CommandOptions,
): Promise<CommandResult> {
  const child = spawn(program, args, {
    cwd: '/',
    // Credentials may be in the service's own environment, and options of sbatch in SBATCH_*.
    env: { ...pick(passedOn), LANG: 'C', LC_ALL: 'C' },
    timeout: seconds * 1000,
    killSignal: 'SIGKILL',
    stdio: 'pipe',
  })
  // A command that refuses early does not read what it is given.
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  const output = Promise.all([text(child.stdout), text(child.stderr)])
  try {
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
    const [stdout, stderr] = await output
    if (signal === 'SIGKILL') throw unavailable(`${program} did not end in ${seconds} seconds`)
    return { status: code ?? -1, stdout, stderr }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    throw unavailable(
      `${program} is not installed on this host, or not in the service's PATH`,
      error,
    )
  }
}

export function unavailable(message: string, cause?: unknown): Failure {
  return new Failure('unavailable', 'builder', message, { cause })
}

/** The last line of what a command complained about, without its own name before it. */
export function complaintOf({ stderr, status }: CommandResult): string {
  const last = stderr.trim().split('\n').at(-1) ?? ''
  const plain = last.replace(/^\w+: (?:error: )?/, '').slice(0, 300)
  return plain === '' ? `it ended with ${status}` : plain
}

/** Of a program and its arguments, the line that a shell reads as exactly those. */
function shellLine(words: readonly string[]): string {
  return words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ')
}

/**
 * What a batch system runs: the runner in the place of the shell, so that a signal for the one is one
 * for the other, and without the environment that the job was given on the node.
 */
export function jobScript(command: readonly string[], jobFile: string): string {
  const environment = [
    'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    'LANG=C.UTF-8',
  ]
  const words = ['/usr/bin/env', '-i', ...environment, ...command, '--job', jobFile]
  return `#!/bin/sh\nexec ${shellLine(words)}\n`
}

/** True as soon as it is so; false when it is not within this time. */
export async function becomesTrue(isSo: () => Promise<boolean>, seconds: number): Promise<boolean> {
  const deadline = performance.now() + seconds * 1000
  while (!(await isSo())) {
    if (performance.now() > deadline) return false
    await setTimeout(200)
  }
  return true
}

function pick(names: readonly string[]): Record<string, string> {
  const pairs = names.map((name) => [name, process.env[name]] as const)
  return Object.fromEntries(pairs.filter((pair): pair is [string, string] => pair[1] !== undefined))
}
