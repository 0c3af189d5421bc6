import { parseArgs } from 'node:util'

import { listAudit } from '../../server/accounts/audit.ts'
import type { AuditRow } from '../../server/accounts/audit.ts'
import type { Command } from '../command.ts'
import { countOf, timeOf } from '../list-options.ts'
import { printable } from '../printable.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const help = `berthctl audit: who did what, from where, and who was refused

  --account NAME     what NAME did, and what was done to it
  --action ACTION    one action (token.issue), or all of a kind (token)
  --target TARGET    what it was done to: an image, a repository, a Token ID; with everything below it
  --refused          only what was refused
  --since TIME       from this time on: 2026-11-21, 2026-11-21T08:00:00Z, or 2h, 7d
  --limit N          the newest N (default 100)
  --json             one JSON object a line, with all details

Every sign-in and every refused one, every token, and every change of content is in there.
`

export const auditCommand: Command = {
  help,
  run: async (args) => {
    const { values } = parseArgs({
      args: [...args],
      options: {
        account: { type: 'string' },
        action: { type: 'string' },
        target: { type: 'string' },
        refused: { type: 'boolean' },
        since: { type: 'string' },
        limit: { type: 'string' },
        json: { type: 'boolean' },
      },
    })
    const filter = {
      account: values.account,
      action: values.action,
      target: values.target,
      outcome: values.refused === true ? ('refused' as const) : undefined,
      since: values.since === undefined ? undefined : timeOf(values.since),
      limit: countOf(values.limit ?? '100'),
    }
    await withAppliance(configOfServer(), async ({ database }) => {
      const rows = await listAudit(database, filter)
      const print = values.json === true ? JSON.stringify : line
      for (const row of rows) process.stdout.write(`${print(row)}\n`)
    })
  },
}

function line(row: AuditRow): string {
  const details = Object.entries(row.details).map(
    ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  )
  const what = [row.account ?? '-', row.action, row.outcome, row.target, `from ${row.address}`]
  return printable([row.at.toISOString(), ...what, ...details].join('  '))
}
