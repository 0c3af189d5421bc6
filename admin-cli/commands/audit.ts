import { listAudit } from '../../server/accounts/audit.ts'
import type { AuditRow } from '../../server/accounts/audit.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { countOf, timeOf } from '../list-options.ts'
import { printable } from '../printable.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const search = verb({
  name: '',
  summary: 'the newest entries that match, oldest of them first',
  options: {
    account: {
      type: 'string',
      value: 'NAME',
      summary: 'what NAME did, and what was done to it',
      complete: 'account',
    },
    action: {
      type: 'string',
      value: 'ACTION',
      summary: 'one action (token.issue), or all of a kind (token)',
    },
    target: {
      type: 'string',
      value: 'TARGET',
      summary: 'what it was done to: an image, a repository, a Token ID; with everything below it',
    },
    refused: { type: 'boolean', summary: 'only what was refused' },
    since: {
      type: 'string',
      value: 'TIME',
      summary: 'from this time on: 2026-11-21, 2026-11-21T08:00:00Z, or 2h, 7d',
    },
    limit: { type: 'string', value: 'N', summary: 'the newest N (default 100)' },
    json: { type: 'boolean', summary: 'one JSON object a line, with all details' },
  },
  notes:
    'Every sign-in and every refused one, every token, and every change of content is in there. What was done with berthctl has the name of whoever typed it, as erika@host.',
  run: async (_words, values) => {
    const filter = {
      account: values.account,
      action: values.action,
      target: values.target,
      outcome: values.refused ? ('refused' as const) : undefined,
      since: values.since === undefined ? undefined : timeOf(values.since),
      limit: countOf(values.limit ?? '100'),
    }
    await withAppliance(configOfServer(), async ({ database }) => {
      const rows = await listAudit(database, filter)
      const print = values.json ? JSON.stringify : line
      for (const row of rows) process.stdout.write(`${print(row)}\n`)
    })
  },
})

export const auditCommand: Command = {
  name: 'audit',
  summary: 'who did what, from where, and who was refused',
  verbs: [search],
}

function line(row: AuditRow): string {
  const details = Object.entries(row.details).map(
    ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  )
  const what = [row.account ?? '-', row.action, row.outcome, row.target, `from ${row.address}`]
  return printable([row.at.toISOString(), ...what, ...details].join('  '))
}
