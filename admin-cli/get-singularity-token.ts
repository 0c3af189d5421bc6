/** `get_singularity_token`: a new access token for the password. Its words are a contract. */
import { hostname, userInfo } from 'node:os'
import { parseArgs } from 'node:util'

import { z } from 'zod'

import { endpointUrl, exchange, refusalOf, requireSafe, siteName } from './endpoint.ts'
import { CommandError, UsageError } from './exit.ts'
import { readPassword } from './password-prompt.ts'

const help = `get_singularity_token [--user NAME] [--url URL] [--label TEXT] [--json]

Makes a new access token, valid for a year, with your password of the site's portal. The token is
printed on one line of standard output and shown this once:

  get_singularity_token > token
  singularity remote login --tokenfile token

  --user NAME    account (default: your login name)
  --url URL      endpoint (default: BERTH_URL, or url in /etc/berth/client.toml)
  --label TEXT   what the token is for, as listings show it
  --json         token, Token ID and expiration as JSON

The password is read from the terminal, or from the first line of standard input.
`

const issued = z.looseObject({
  data: z.looseObject({
    token: z.string().regex(/^[\x21-\x7e]+$/),
    id: z.string(),
    expiration: z.string(),
  }),
})

export async function getSingularityToken(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      user: { type: 'string' },
      url: { type: 'string' },
      label: { type: 'string' },
      json: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  if (values.help === true) {
    process.stdout.write(help)
    return
  }
  // Not repeated in the message: it may be a password.
  if (positionals.length > 0) {
    throw new UsageError(
      'It takes options only, and no password: see get_singularity_token --help.',
    )
  }
  const user = values.user ?? loginName()
  if (user === '' || user.includes(':')) throw new UsageError(`"${user}" is not an account name.`)
  const url = endpointUrl(values.url)
  requireSafe(url)
  const password = await readPassword(`${await siteName(url)} portal password :`)
  process.stderr.write('just a moment, please...\n')
  const basic = Buffer.from(`${user}:${password}`).toString('base64')
  const reply = await exchange(url, '/api/v1/tokens', {
    method: 'POST',
    headers: { authorization: `Basic ${basic}`, 'content-type': 'application/json' },
    body: JSON.stringify({ label: values.label ?? `get_singularity_token on ${hostname()}` }),
  })
  if (reply.status === 401) {
    const hint = values.user === undefined ? ', or name another account with --user' : ''
    throw new CommandError(
      `The password of ${user} is wrong, or there is no such account: try again${hint}.`,
    )
  }
  const parsed = issued.safeParse(reply.json)
  if (!parsed.success) throw new CommandError(`No token was made: ${refusalOf(reply)}`)
  const { token, id, expiration } = parsed.data.data
  process.stdout.write(
    `${values.json === true ? JSON.stringify({ token, id, expiration }) : token}\n`,
  )
}

function loginName(): string {
  try {
    return userInfo().username
  } catch {
    throw new UsageError('This account has no name on this host: say --user NAME.')
  }
}
