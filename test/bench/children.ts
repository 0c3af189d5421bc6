/** Every process of a run is started here, so that an interrupted run leaves none behind. */
import { spawn } from 'node:child_process'
import type { ChildProcess, SpawnOptions } from 'node:child_process'

// Where Debian keeps servers; ordinary users do not have it in their path.
const path = `${process.env['PATH'] ?? '/usr/bin:/bin'}:/usr/sbin`
const running = new Set<ChildProcess>()
let ending = false

export function startChild(
  command: string,
  args: readonly string[],
  options: SpawnOptions,
): ChildProcess {
  if (ending) throw new Error(`${command} is not started any more: the run was interrupted`)
  const env = { ...(options.env ?? process.env), PATH: path }
  const child = spawn(command, args, { ...options, env })
  running.add(child)
  child.once('exit', () => running.delete(child))
  child.once('error', () => running.delete(child))
  return child
}

/** Asks all of them to end, and starts no more; whoever waits for one sees it fail. */
export function endChildren(): void {
  ending = true
  for (const child of running) child.kill('SIGTERM')
}

interface Finished {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program to its end and gathers what it prints. */
export async function runChild(
  command: string,
  args: readonly string[],
  options: { readonly input?: string; readonly timeoutMs: number },
): Promise<Finished> {
  const child = startChild(command, args, { stdio: 'pipe' })
  const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs)
  let [stdout, stderr] = ['', '']
  child.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  child.stdin?.on('error', () => {}) // it ended before it read everything; its status says why
  child.stdin?.end(options.input ?? '')
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', resolve)
    })
    return { code, stdout, stderr }
  } finally {
    clearTimeout(timer)
  }
}
