/** What somebody types on the login node, each line in a session of its own. */
import assert from 'node:assert/strict'

import type { Lifetime } from '../support/server.ts'
import { openTerminal } from '../support/terminal.ts'
import { shellWords } from './host.ts'
import type { Host } from './host.ts'

interface Answer {
  /** What the program asks. */
  readonly see: string | RegExp
  /** What is typed then, without Enter. */
  readonly type: string
}

export interface Shell {
  /** A line that has to succeed; answers what it prints on standard output. */
  type(line: string, seconds?: number): Promise<string>
  /** The same with both outputs, however it ends. */
  try(line: string): Promise<{ readonly status: number | null; readonly text: string }>
  /** A line on a terminal, where the program asks; answers all that is shown. */
  converse(line: string, answers: readonly Answer[]): Promise<string>
}

/** `before` comes before every line, as what somebody has in their profile. */
export function openShell(t: Lifetime, host: Host, user: string, before: string): Shell {
  const whole = (line: string): string => `${before} && ${line}`
  return {
    type: async (line, seconds = 120) => {
      const { status, stdout, stderr } = await host.as(user, whole(line), { seconds })
      assert.equal(status, 0, `${user}$ ${line}\n${stdout}${stderr}`)
      return stdout
    },
    try: async (line) => {
      const { status, stdout, stderr } = await host.as(user, whole(line))
      return { status, text: `${stdout}${stderr}` }
    },
    converse: async (line, answers) => {
      const words = ['ssh', '-tt', ...host.ssh(user, whole(line))]
      const terminal = openTerminal(t, shellWords(words), { HOME: '/root' })
      let from = 0
      for (const { see, type } of answers) {
        await terminal.see(see, from)
        from = terminal.text().length
        terminal.type(`${type}\r`)
      }
      const status = await terminal.closed
      assert.equal(status, 0, `${user}$ ${line}\n${terminal.text()}`)
      return terminal.text().replaceAll('\r', '')
    },
  }
}
