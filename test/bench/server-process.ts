import type { ChildProcess } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

import { startChild } from './children.ts'
import { processTree, readProcess } from './process-tree.ts'
import type { ProcessRecord } from './process-tree.ts'

export interface ServerProcess {
  readonly pid: number
  stop(): Promise<void>
}

interface ServerOptions {
  readonly env?: NodeJS.ProcessEnv
  /** Both outputs go here; its end is shown when the server does not start. */
  readonly logFile: string
  /** Any answer but a 5xx means that it is up. */
  readonly readyUrl: string
}

const startDeadlineMs = 60_000
const stopDeadlineMs = 30_000

/** Starts a server and waits until it answers. */
export async function startServer(
  command: string,
  args: readonly string[],
  options: ServerOptions,
): Promise<ServerProcess> {
  const log = openSync(options.logFile, 'w', 0o600)
  const env = options.env ?? process.env
  const child = startChild(command, args, { env, cwd: '/', stdio: ['ignore', log, log] })
  closeSync(log)
  let failure: Error | undefined
  child.once('error', (error) => (failure = error))
  const deadline = Date.now() + startDeadlineMs
  while (!(await answers(options.readyUrl))) {
    if (failure || hasEnded(child) || Date.now() > deadline) {
      await stop(child)
      const printed = (await readFile(options.logFile, 'utf8')).trim().split('\n').slice(-10)
      throw new Error([`${command} did not start`, ...printed].join('\n'), { cause: failure })
    }
    await delay(50)
  }
  if (child.pid === undefined) throw new Error(`${command} did not start`)
  return { pid: child.pid, stop: async () => await stop(child) }
}

/** A port that nobody listens on at the moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve, reject) => server.once('listening', resolve).once('error', reject))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Asks it to end; what is left of it and its descendants after the deadline is killed. */
async function stop(child: ChildProcess): Promise<void> {
  if (child.pid === undefined) return
  const tree = await processTree(child.pid)
  if (!hasEnded(child)) child.kill('SIGTERM')
  const deadline = Date.now() + stopDeadlineMs
  while ((await survivors(tree)).length > 0 && Date.now() < deadline) await delay(50)
  for (const survivor of await survivors(tree)) process.kill(survivor.pid, 'SIGKILL')
}

async function survivors(tree: readonly ProcessRecord[]): Promise<readonly ProcessRecord[]> {
  const now = await Promise.all(tree.map(({ pid }) => readProcess(pid)))
  return tree.filter((record, index) => now[index]?.startTicks === record.startTicks)
}

async function answers(url: string): Promise<boolean> {
  const response = await fetch(url, { signal: AbortSignal.timeout(5000) }).catch(() => undefined)
  await response?.body?.cancel()
  return response !== undefined && response.status < 500
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null
}
