import type { RecountResult } from '../../../server/content/recount.ts'
import { runRecorded } from '../../../server/job-runs.ts'
import { verb } from '../../command.ts'
import { CommandError } from '../../exit.ts'
import { jsonOption } from '../../json-option.ts'
import { hostOperator } from '../../operator.ts'
import { table } from '../../table.ts'
import { configOfServer, withAppliance } from '../../with-appliance.ts'

export const recount = verb({
  name: 'recount',
  summary: 'counts what the spaces hold and compares it with what they are charged',
  options: { repair: { type: 'boolean', summary: 'puts right what differs' }, json: jsonOption },
  notes:
    'The server counts every night, and raises an alarm when a number differs. Exit status 1 when one does and was not put right.',
  run: async (_words, values) => {
    const repairBy = values.repair ? hostOperator : undefined
    await withAppliance(configOfServer(), async ({ database, recount: count }) => {
      const result = await runRecorded(
        database,
        'quota recount',
        'command',
        async () => await count(repairBy),
      )
      if (result === undefined) {
        throw new CommandError('The server is counting right now: try again in a moment.')
      }
      if (result.drifted.length > 0 && !result.repaired) process.exitCode = 1
      process.stdout.write(values.json ? `${JSON.stringify(result, null, 2)}\n` : wordsOf(result))
    })
  },
})

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
