/** An interactive shell on a terminal, as somebody has it who has just logged in. */
import assert from 'node:assert/strict'
import { stripVTControlCharacters } from 'node:util'

import { eventually } from '../support/server.ts'
import type { Lifetime } from '../support/server.ts'
import { openTerminal } from '../support/terminal.ts'
import type { Terminal } from '../support/terminal.ts'

interface Result {
  readonly status: number
  /** What the command showed, with plain ends of lines. */
  readonly text: string
}

export interface Shell {
  readonly terminal: Terminal
  /** Types a line and waits for the next prompt. */
  run(line: string): Promise<Result>
  /** The same, and it must succeed. Returns what was shown. */
  done(line: string): Promise<string>
  /** Waits until the line that is being typed is this one, whatever Tab has done to it. */
  seeLine(line: RegExp, from: number): Promise<void>
  /** Waits for the prompt after what was typed on the terminal. */
  prompt(from: number): Promise<Result>
}

export const shellNames = ['bash', 'zsh'] as const
export type ShellName = (typeof shellNames)[number]

const starts: Readonly<Record<ShellName, { command: string; settings: readonly string[] }>> = {
  bash: {
    command: 'stty cols 4000; exec bash --noprofile --norc -i',
    settings: ["bind 'set enable-bracketed-paste off'", "PS2='' PS1='[$?]> '"],
  },
  zsh: {
    command: 'stty cols 4000; exec zsh -f -i',
    settings: ['unsetopt prompt_sp; unset zle_bracketed_paste', "PS2='' PS1='[%?]> '"],
  },
}

const prompt = /\[(\d+)\]> $/

export async function openShell(
  t: Lifetime,
  name: ShellName,
  env: Readonly<Record<string, string>>,
  cwd: string,
): Promise<Shell> {
  const { command, settings } = starts[name]
  const terminal = openTerminal(t, command, { ...env, SHELL: '/bin/sh' }, cwd)
  const shown = (from: number): string =>
    stripVTControlCharacters(terminal.text().slice(from)).replaceAll(/\r+\n/g, '\n')
  const shell: Shell = {
    terminal,
    prompt: async (from) => {
      await terminal.see(prompt, from)
      const text = shown(from)
      return { status: Number(prompt.exec(text)?.[1]), text: text.replace(prompt, '') }
    },
    run: async (line) => {
      const from = terminal.text().length
      terminal.type(`${line}\r`)
      const { status, text } = await shell.prompt(from)
      // The echo of what was typed is a line of its own.
      return { status, text: text.slice(text.indexOf('\n') + 1).trimEnd() }
    },
    seeLine: async (line, from) => {
      const typed = (): string => lineOf(shown(from))
      const deadlineMs = 30_000
      await eventually(async () => line.test(typed()), `${line}`, deadlineMs).catch(
        (error: Error) => {
          throw new Error(`${error.message}; the line is ${JSON.stringify(typed())}`)
        },
      )
    },
    done: async (line) => {
      const { status, text } = await shell.run(line)
      assert.equal(status, 0, `${line}\n${text}`)
      return text
    },
  }
  for (const line of settings) {
    // Shells that begin ask the terminal for more than they say.
    const from = terminal.text().length
    terminal.type(`${line}\r`)
    if (line === settings.at(-1)) await terminal.see(prompt, from)
  }
  return shell
}

/** Editors of lines ring the bell, go back a place and write it again. */
function lineOf(shown: string): string {
  let line = ''
  for (const sign of shown) {
    if (sign === '\b') line = line.slice(0, -1)
    else if (sign !== '\u0007') line += sign
  }
  return line
}
