/** `list_singularity_tokens`: the access tokens of an account. Its words are a contract. */
import { parseArgs } from 'node:util'

import { localTime } from '../time-zone.ts'
import { listedTokens } from './listed-tokens.ts'
import type { ListedToken } from './listed-tokens.ts'
import { openPasswordSession, refuseWords, sessionOptions } from './password-session.ts'

const help = `list_singularity_tokens [--all] [--user NAME] [--url URL] [--json]

Shows your access tokens: their IDs, and when they were issued and end. The tokens themselves are
shown once, when they are made. End one with "singularity enterprise delete token TOKEN_ID".

  --all          also those that were revoked or have expired; with label, scope and last use
  --user NAME    account (default: your login name)
  --url URL      endpoint (default: BERTH_URL, or url in /etc/berth/client.toml)
  --json         as JSON

The password is read from the terminal, or from the first line of standard input.
`

export async function listSingularityTokens(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { ...sessionOptions, all: { type: 'boolean' } },
  })
  if (values.help === true) {
    process.stdout.write(help)
    return
  }
  refuseWords('list_singularity_tokens', positionals)
  const session = await openPasswordSession({ user: values.user, url: values.url })
  const all = values.all === true
  const tokens = await listedTokens(session, { all })
  if (values.json === true) {
    process.stdout.write(`${JSON.stringify(tokens, null, 2)}\n`)
    return
  }
  for (const token of tokens) {
    process.stdout.write(`\n${[...block(token), ...(all ? more(token) : [])].join('\n')}\n`)
  }
  const soon = tokens.filter((token) => endsSoon(token))
  for (const { id, expiration } of soon) {
    process.stderr.write(
      `\nToken ${id} ends on ${expiration.slice(0, 10)}: get a new one with get_singularity_token.\n`,
    )
  }
}

function block(token: ListedToken): string[] {
  return [
    `Token ID: ${token.id}`,
    `Issued: ${spoken(token.issuedAt)}`,
    `Expires: ${spoken(token.expiration)}`,
  ]
}

function more(token: ListedToken): string[] {
  const used = token.lastUsedAt === null ? 'never' : spoken(token.lastUsedAt)
  const from = token.lastUsedFrom === null ? '' : ` from ${token.lastUsedFrom}`
  return [
    `Label: ${token.label}`,
    `Scope: ${token.scope}`,
    `Last used: ${used}${from}`,
    ...(token.isRevoked
      ? ['Revoked']
      : Date.parse(token.expiration) < Date.now()
        ? ['Expired']
        : []),
  ]
}

function endsSoon({ expiration, isRevoked }: ListedToken): boolean {
  const left = Date.parse(expiration) - Date.now()
  return !isRevoked && left > 0 && left < 30 * 86_400_000
}

const months = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ')

/** `Apr 5, 2023 at 6:55 pm JST` */
function spoken(iso: string): string {
  const { year, month, day, hour, minute, zone } = localTime(new Date(iso))
  const clock = `${hour % 12 === 0 ? 12 : hour % 12}:${String(minute).padStart(2, '0')}`
  return `${months[month - 1]} ${day}, ${year} at ${clock} ${hour < 12 ? 'am' : 'pm'} ${zone}`
}
