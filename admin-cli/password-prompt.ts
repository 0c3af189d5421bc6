/**
 * Passwords come from the terminal, without an echo, or as one line of standard input; never from
 * the command line or the environment, which other people on a login node can read.
 */
import { createInterface } from 'node:readline'

import { CommandError } from './exit.ts'

const maxLength = 1024

/** Prompts on standard error, so that standard output holds the result alone. */
export async function readPassword(prompt: string): Promise<string> {
  if (process.stdin.isTTY) return await readFromTerminal(prompt)
  process.stderr.write(prompt)
  try {
    return await readFirstLine()
  } finally {
    process.stderr.write('\n')
  }
}

/** A new password: twice on a terminal, so that a slip does not lock anybody out. */
export async function readNewPassword(name: string): Promise<string> {
  const password = await readPassword(`New password of ${name}: `)
  if (!process.stdin.isTTY) return password
  if ((await readPassword('The same again: ')) === password) return password
  throw new CommandError('The two passwords differ, and nothing was changed: try again.')
}

async function readFromTerminal(prompt: string): Promise<string> {
  const { stdin } = process
  // Before the prompt: whoever answers it at once is not shown either.
  stdin.setRawMode(true)
  stdin.setEncoding('utf8')
  process.stderr.write(prompt)
  const typed: Typed = { text: '', end: undefined }
  try {
    for await (const keys of terminalInput()) {
      // What follows the end of the line belongs to the next question.
      const rest = takeKeys(typed, keys)
      if (typed.end === undefined) continue
      if (rest !== '') stdin.unshift(rest, 'utf8')
      break
    }
  } finally {
    stdin.setRawMode(false)
    process.stderr.write('\n')
  }
  if (typed.end === 'line') return typed.text
  throw new CommandError(typed.end === 'interrupt' ? 'Interrupted.' : 'No password was given.')
}

/** Leaves the terminal open when the loop is left, for the next question. */
function terminalInput(): AsyncIterable<string> {
  return process.stdin.iterator({ destroyOnReturn: false }) as AsyncIterable<string>
}

interface Typed {
  text: string
  end: 'line' | 'interrupt' | 'nothing' | undefined
}

/** Without the terminal's own line editing its few keys are ours to understand. */
function takeKeys(typed: Typed, keys: string): string {
  let taken = 0
  for (const key of keys) {
    taken += key.length
    if (key === '\r' || key === '\n') typed.end = 'line'
    else if (key === '\u0003') typed.end = 'interrupt'
    else if (key === '\u0004') typed.end = typed.text === '' ? 'nothing' : 'line'
    else if (key === '\u007f' || key === '\b') typed.text = typed.text.replace(/.$/su, '')
    else if (key === '\u0015') typed.text = ''
    else if (typed.text.length < maxLength) typed.text += key
    if (typed.end !== undefined) break
  }
  return keys.slice(taken)
}

async function readFirstLine(): Promise<string> {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdin.destroy()
    return line.slice(0, maxLength)
  }
  throw new CommandError('There is no password on standard input.')
}
