/** A command of admin-cli as a user runs it: a process of its own. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'

import { packageRoot } from '../../server/package-root.ts'

export interface CommandResult {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface CommandOptions {
  /** Standard input; empty by default. */
  readonly input?: string
  readonly env?: Readonly<Record<string, string>>
}

export async function runCommand(
  name: 'berthctl' | 'get_singularity_token',
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const child = spawn(join(packageRoot, 'admin-cli/bin', name), args, {
    env: { PATH: process.env['PATH'], ...options.env },
    cwd: '/',
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (piece: Buffer) => (stdout += piece.toString()))
  child.stderr.on('data', (piece: Buffer) => (stderr += piece.toString()))
  child.stdin.on('error', () => {}) // a command that asks for nothing may be gone already
  child.stdin.end(options.input ?? '')
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  return { status, stdout, stderr }
}
