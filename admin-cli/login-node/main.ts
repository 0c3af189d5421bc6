/**
 * Where the commands of the login nodes begin. In the single executable the name is that of the link
 * through which it was called: Node replaces argv[0] by the executable's own path, and `argv0` keeps
 * what was typed. Everywhere else the name is the first word.
 */
import { basename } from 'node:path'

import { runCommand, UsageError } from '../exit.ts'
import { loginTool, loginTools } from '../login-tools.ts'

// No await at the top: the executable of Node 20 takes CommonJS only, which has none.
void start(basename(process.argv0), process.argv.slice(2))

async function start(calledAs: string, words: readonly string[]): Promise<void> {
  if (loginTools.includes(calledAs)) return await loginTool(calledAs, words)
  const [name = '', ...args] = words
  if (loginTools.includes(name)) return await loginTool(name, args)
  return await runCommand('berth-login-tools', async () => {
    throw new UsageError(`Say which command: ${loginTools.join(', ')}.`)
  })
}
