/** Programs that run to their end, or until their time is over. */
import { spawn } from 'node:child_process'

export interface Outcome {
  /** null: a signal ended it. */
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv
  readonly input?: string
  readonly seconds?: number
  readonly cwd?: string
  /** What comes out is shown as it comes, besides. */
  readonly show?: boolean
}

export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Outcome> {
  const { env = process.env, input, seconds = 60, cwd, show = false } = options
  const child = spawn(command, args, {
    env,
    cwd,
    timeout: seconds * 1000,
    killSignal: 'SIGKILL',
    stdio: 'pipe',
  })
  child.stdin.on('error', () => {}) // a program need not read what it is given
  child.stdin.end(input ?? '')
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    if (show) process.stdout.write(text)
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
    if (show) process.stderr.write(text)
  })
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  return { status, stdout, stderr }
}

/** What it prints; an end that is none is an error with all that was said. */
export async function must(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { status, stdout, stderr } = await run(command, args, options)
  if (status === 0) return stdout
  const how =
    status === null ? `did not end within ${options.seconds ?? 60} s` : `ended with ${status}`
  throw new Error(`${command} ${args.join(' ')} ${how}:\n${stdout}${stderr}`)
}
