/** What the commands that ask for a password share: who, where, and the words of the dialogue. */
import { userInfo } from 'node:os'

import { endpointUrl, exchange, refusalOf, requireSafe, siteName } from '../endpoint.ts'
import type { EndpointReply, ExchangeOptions } from '../endpoint.ts'
import { CommandError, UsageError } from '../exit.ts'
import { readPassword } from '../password-prompt.ts'

export interface PasswordSession {
  readonly user: string
  /** One request with the name and the password. */
  send(path: string, options?: ExchangeOptions): Promise<EndpointReply>
}

/** Options of all these commands, for parseArgs. */
export const sessionOptions = {
  user: { type: 'string' },
  url: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const

/** Asks for the password; the prompt and "just a moment" are on standard error. */
export async function openPasswordSession(options: {
  readonly user: string | undefined
  readonly url: string | undefined
}): Promise<PasswordSession> {
  const user = options.user ?? loginName()
  if (user === '' || user.includes(':')) throw new UsageError(`"${user}" is not an account name.`)
  const url = endpointUrl(options.url)
  requireSafe(url)
  const password = await readPassword(`${await siteName(url)} portal password :`)
  process.stderr.write('just a moment, please...\n')
  const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
  return {
    user,
    send: async (path, init = {}) => {
      const headers = { ...init.headers, authorization }
      const reply = await exchange(url, path, { ...init, headers })
      if (reply.status === 401) throw wrongPassword(reply, user, options.user === undefined)
      return reply
    },
  }
}

/** What the server says goes beyond "wrong" when the password is right but does not let anybody in. */
function wrongPassword(reply: EndpointReply, user: string, isOwnName: boolean): CommandError {
  const said = refusalOf(reply)
  if (!/^(?:HTTP status|The name or the password is wrong)/.test(said)) {
    return new CommandError(said)
  }
  const hint = isOwnName ? ', or name another account with --user' : ''
  return new CommandError(
    `The password of ${user} is wrong, or there is no such account: try again${hint}.`,
  )
}

/** Words that belong to no option are not repeated in the message: one may be a password. */
export function refuseWords(command: string, words: readonly string[]): void {
  if (words.length === 0) return
  throw new UsageError(`It takes options only, and no password: see ${command} --help.`)
}

function loginName(): string {
  try {
    return userInfo().username
  } catch {
    throw new UsageError('This account has no name on this host: say --user NAME.')
  }
}
