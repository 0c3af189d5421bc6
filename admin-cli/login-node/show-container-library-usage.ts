/** `show_container_library_usage`: what one's images take of the quota. Its words are a contract. */
import { parseArgs } from 'node:util'

import { z } from 'zod'

import { refusalOf } from '../endpoint.ts'
import { CommandError } from '../exit.ts'
import { printable } from '../printable.ts'
import { table } from '../table.ts'
import { openPasswordSession, refuseWords, sessionOptions } from './password-session.ts'

const help = `show_container_library_usage [--all] [--user NAME] [--url URL] [--json]

Shows how much of your quota in the container library is used, in whole GiB (what is begun counts),
and how many repositories you have.

  --all          also the spaces of your groups
  --user NAME    account (default: your login name)
  --url URL      endpoint (default: BERTH_URL, or url in /etc/berth/client.toml)
  --json         in bytes, as JSON

The password is read from the terminal, or from the first line of standard input.
`

const space = z.looseObject({
  entity: z.string().transform(printable),
  kind: z.enum(['user', 'group']),
  usedBytes: z.number(),
  reservedBytes: z.number(),
  quotaBytes: z.number(),
  repositories: z.number(),
})
const usage = z.looseObject({ data: z.array(space).min(1) })
type Space = z.infer<typeof space>

export async function showContainerLibraryUsage(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { ...sessionOptions, all: { type: 'boolean' } },
  })
  if (values.help === true) {
    process.stdout.write(help)
    return
  }
  refuseWords('show_container_library_usage', positionals)
  const session = await openPasswordSession({ user: values.user, url: values.url })
  const reply = await session.send('/api/v1/usage')
  const parsed = usage.safeParse(reply.json)
  if (!parsed.success) throw new CommandError(`The usage is not known: ${refusalOf(reply)}`)
  const all = values.all === true
  const spaces = parsed.data.data.filter(({ kind }) => all || kind === 'user')
  process.stdout.write(
    values.json === true ? `${JSON.stringify(spaces, null, 2)}\n` : usageTable(spaces, all),
  )
}

function usageTable(spaces: readonly Space[], named: boolean): string {
  const header = [...(named ? ['space'] : []), 'used(GiB)', 'limit(GiB)', 'num_of_repositories']
  const rows = spaces.map((one) => [
    ...(named ? [one.entity] : []),
    inGib(one.usedBytes),
    inGib(one.quotaBytes),
    String(one.repositories),
  ])
  return table([header, ...rows])
}

/** Begun ones count: whoever has pushed something does not read 0, and nobody is over who reads less. */
function inGib(bytes: number): string {
  return String(Math.ceil(bytes / 2 ** 30))
}
