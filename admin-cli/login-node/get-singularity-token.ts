/** `get_singularity_token`: a new access token for the password. Its words are a contract. */
import { hostname } from 'node:os'
import { parseArgs } from 'node:util'

import { z } from 'zod'

import { refusalOf } from '../endpoint.ts'
import { CommandError, UsageError } from '../exit.ts'
import { listedTokens } from './listed-tokens.ts'
import { openPasswordSession, refuseWords, sessionOptions } from './password-session.ts'
import type { PasswordSession } from './password-session.ts'

const help = `get_singularity_token [--user NAME] [--url URL] [--label TEXT] [--scope SCOPE] [--json]

Makes a new access token, valid for a year, with your password of the site's portal. The token is
printed on one line of standard output and shown this once:

  get_singularity_token > token
  singularity remote login --tokenfile token

  --user NAME    account (default: your login name)
  --url URL      endpoint (default: BERTH_URL, or url in /etc/berth/client.toml)
  --label TEXT   what the token is for, as listings show it
  --scope SCOPE  all (default), pull (only for pulling), or build (pulling and building)
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
    options: { ...sessionOptions, label: { type: 'string' }, scope: { type: 'string' } },
  })
  if (values.help === true) {
    process.stdout.write(help)
    return
  }
  refuseWords('get_singularity_token', positionals)
  const scope = values.scope ?? 'all'
  if (!['all', 'pull', 'build'].includes(scope)) {
    throw new UsageError('--scope is all, pull or build.')
  }
  const session = await openPasswordSession({ user: values.user, url: values.url })
  const reply = await session.send('/api/v1/tokens', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      label: values.label ?? `get_singularity_token on ${hostname()}`,
      ...(scope === 'all' ? {} : { scope }),
    }),
  })
  const parsed = issued.safeParse(reply.json)
  if (!parsed.success) throw new CommandError(`No token was made: ${refusalOf(reply)}`)
  const { token, id, expiration } = parsed.data.data
  process.stdout.write(
    `${values.json === true ? JSON.stringify({ token, id, expiration }) : token}\n`,
  )
  await tellOfOldTokens(session, id)
}

/** Whoever makes a token may have forgotten those that end soon: jobs with them will fail. */
async function tellOfOldTokens(session: PasswordSession, newId: string): Promise<void> {
  const soon = Date.now() + 30 * 86_400_000
  for (const { id, label, expiration } of await listedTokens(session).catch(() => [])) {
    if (id === newId || Date.parse(expiration) > soon) continue
    const what = label === '' ? id : `${id} (${label})`
    process.stderr.write(`Your token ${what} ends on ${expiration.slice(0, 10)}.\n`)
  }
}
