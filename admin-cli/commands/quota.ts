import { parseArgs } from 'node:util'

import { hostOperator } from '../../server/accounts/accounts.ts'
import type { RecountResult } from '../../server/content/recount.ts'
import { runRecorded } from '../../server/job-runs.ts'
import type { Command } from '../command.ts'
import { CommandError, UsageError } from '../exit.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const help = `berthctl quota: what the spaces are charged

  berthctl quota recount [--repair] [--json]   counts what they hold and compares; --repair puts right

The server counts every night, and raises an alarm when a number differs. Exit status 1 when one does and
was not put right.
`

export const quotaCommand: Command = {
  help,
  run: async ([verb, ...args]) => {
    if (verb === 'recount') return await recount(args)
    throw new UsageError('Say "quota recount".')
  },
}

async function recount(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { repair: { type: 'boolean' }, json: { type: 'boolean' } },
  })
  const repairBy = values.repair === true ? hostOperator : undefined
  await withAppliance(configOfServer(), async ({ database, recount }) => {
    const result = await runRecorded(
      database,
      'quota recount',
      'command',
      async () => await recount(repairBy),
    )
    if (result === undefined) {
      throw new CommandError('The server is counting right now: try again in a moment.')
    }
    if (result.drifted.length > 0 && !result.repaired) process.exitCode = 1
    process.stdout.write(
      values.json === true ? `${JSON.stringify(result, null, 2)}\n` : wordsOf(result),
    )
  })
}

function wordsOf({ spaces, drifted, repaired }: RecountResult): string {
  const counted = spaces === 1 ? '1 space was counted' : `${spaces} spaces were counted`
  if (drifted.length === 0) return `${counted}: every number is right.\n`
  const rows = drifted.map((drift) => [
    drift.entity,
    String(drift.usedBytes),
    String(drift.countedUsedBytes),
    String(drift.reservedBytes),
    String(drift.countedReservedBytes),
  ])
  const heads = ['Space', 'Used', 'Counted', 'Reserved', 'Counted']
  const end = repaired ? 'Put right.' : 'Nothing was changed: add --repair to put it right.'
  return `${counted}, and ${drifted.length} differ (bytes):\n\n${table([heads, ...rows])}\n${end}\n`
}
