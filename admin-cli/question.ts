/** A question to whoever sits at the terminal. */
import { createInterface } from 'node:readline'

/**
 * Whether it is answered with yes; anything else is no, Ctrl-C and Ctrl-D too. Undefined where nobody
 * can be asked, because standard input is not a terminal. Asked on standard error: standard output
 * holds results alone.
 */
export async function askYesOrNo(question: string): Promise<boolean | undefined> {
  if (!process.stdin.isTTY) return undefined
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  const answer = await new Promise<string>((resolve) => {
    terminal.once('close', () => resolve(''))
    terminal.question(`${question} [y/N] `, resolve)
  })
  terminal.close()
  return /^y(?:es)?$/i.test(answer.trim())
}
