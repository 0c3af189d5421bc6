/** The commands as people start them: the launchers, as processes, with an environment of their own. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { join } from 'node:path'

import { packageRoot } from '../../server/package-root.ts'

export type CommandName =
  | 'berthctl'
  | 'get_singularity_token'
  | 'list_singularity_tokens'
  | 'show_container_library_usage'
  | 'berth-singularity'

export interface CommandOptions {
  /** What comes on standard input, which is not a terminal. */
  readonly input?: string
  readonly env?: Readonly<Record<string, string>>
}

export interface Outcome {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export function pathOf(name: CommandName): string {
  return join(packageRoot, 'admin-cli/bin', name)
}

export async function run(
  name: CommandName,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<Outcome> {
  const child = spawn(pathOf(name), args, {
    cwd: '/',
    env: { PATH: process.env['PATH'], HOME: '/nonexistent', ...options.env },
    timeout: 120_000,
    killSignal: 'SIGKILL',
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (piece: Buffer) => (stdout += piece.toString()))
  child.stderr.on('data', (piece: Buffer) => (stderr += piece.toString()))
  child.stdin.on('error', () => {}) // the command may end without reading it
  child.stdin.end(options.input ?? '')
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  return { code, stdout, stderr }
}

/** It did not work: nothing on standard output, one line that says why, and the exit status. */
export function assertRefused(outcome: Outcome, code: 1 | 2, why: RegExp): void {
  assert.equal(outcome.code, code, outcome.stderr)
  assert.equal(outcome.stdout, '')
  assert.match(outcome.stderr, /^[^\n]+\n$/)
  assert.match(outcome.stderr, why)
}

/** The command did its work and complained about nothing. */
export function assertDone(outcome: Outcome): void {
  assert.equal(outcome.code, 0, outcome.stderr)
}
