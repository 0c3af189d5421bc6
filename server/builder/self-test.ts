/** The runner's self-test, at the start and by the clock: whether the walls of a build hold here. */
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'

import { runnerEnvironment } from '../builds/executors/local.ts'
import { messageOf } from '../builds/executors/runner-logs.ts'

export interface SelfTestResult {
  /** ISO 8601. */
  readonly at: string
  /** Null when all walls hold. */
  readonly failure: string | null
}

const deadlineMs = 120_000

/** Never rejects. `command` is the runner's program and its arguments. */
export async function testWalls(
  command: readonly string[],
  signal: AbortSignal,
): Promise<SelfTestResult> {
  const [program = '', ...args] = command
  const child = spawn(program, [...args, '--self-test'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: '/',
    env: runnerEnvironment,
    timeout: deadlineMs,
    killSignal: 'SIGKILL',
    signal,
  })
  const said = Promise.all([text(child.stdout), text(child.stderr)]).catch(() => ['', ''])
  const failure = await new Promise<string | null>((resolve) => {
    child.on('error', (error) => resolve(`the runner cannot be started: ${error.message}`))
    child.on('close', (status) => {
      void said.then((texts) => resolve(status === 0 ? null : whyNot(texts.join('\n'), status)))
    })
  })
  return { at: new Date().toISOString(), failure }
}

function whyNot(said: string, status: number | null): string {
  if (status === null) return `the self-test did not end in ${deadlineMs / 1000} seconds`
  const last = said.trimEnd().split('\n').at(-1) ?? ''
  return last === '' ? `the self-test ended with ${status}` : messageOf(last)
}
