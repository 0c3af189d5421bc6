/** A pseudo-terminal with a program on it, which `script` of util-linux provides. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'

import { eventually } from './server.ts'
import type { Lifetime } from './server.ts'

/** By its path, because the PATH of a test is its own. */
const script = '/usr/bin/script'

/** False, or the reason for node:test. */
export const withoutTerminal: false | string =
  existsSync(script) || process.env['CI'] === 'true' ? false : `${script} is not installed`

export interface Terminal {
  /** All that was shown so far. */
  text(): string
  /** As the keyboard sends it: Enter is `\r`. */
  type(keys: string): void
  /** Waits until this stands there, behind `from` characters. */
  see(what: string | RegExp, from?: number): Promise<void>
  /** The exit status of the program, which has ended or is about to. */
  readonly closed: Promise<number | null>
}

/** Runs a line of sh with its input and output on a terminal; it is killed with the test. */
export function openTerminal(
  t: Lifetime,
  command: string,
  env: Readonly<Record<string, string | undefined>>,
  cwd = '/',
): Terminal {
  const child = spawn(script, ['--quiet', '--return', '--command', command, '/dev/null'], {
    cwd,
    env: { PATH: process.env['PATH'], SHELL: '/bin/sh', TERM: 'dumb', ...env },
    timeout: 120_000,
    killSignal: 'SIGKILL',
  })
  const closed = new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  // Where nobody waits for the end, a program that is not there shows in what is not seen.
  closed.catch(() => {})
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (piece: string) => (text += piece))
  child.stderr.setEncoding('utf8').on('data', (piece: string) => (text += piece))
  child.stdin.on('error', () => {})
  t.after(async () => {
    child.kill('SIGKILL')
    await closed.catch(() => {})
  })
  return {
    text: () => text,
    type: (keys) => void child.stdin.write(keys),
    see: async (what, from = 0) => {
      const isThere = (): boolean => {
        const shown = text.slice(from)
        return typeof what === 'string' ? shown.includes(what) : what.test(shown)
      }
      await eventually(async () => isThere(), `"${what}" on the terminal`, 30_000).catch(
        (error: Error) => {
          error.message += `\n${text.slice(from)}`
          throw error
        },
      )
    },
    closed,
  }
}
