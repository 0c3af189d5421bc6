import { parseArgs } from 'node:util'

import { listAlarms } from '../../server/alarms.ts'
import { checkBackupAge, lastGoodBackup } from '../../server/backup/records.ts'
import type { Command } from '../command.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const help = `berthctl status [--json]: whether Berth is well, and what needs you

Exit status 1 while there is an alarm or a part that does not answer.
`

export const statusCommand: Command = {
  help,
  run: async (args) => {
    const { values } = parseArgs({ args: [...args], options: { json: { type: 'boolean' } } })
    const config = configOfServer()
    await withAppliance(config, async ({ database, ready }) => {
      const isReady = await ready()
      await checkBackupAge(database, config.backup?.alarmHours)
      const backup = await lastGoodBackup(database)
      const alarms = await listAlarms(database)
      if (!isReady || alarms.length > 0) process.exitCode = 1
      if (values.json === true) {
        process.stdout.write(
          `${JSON.stringify({ ready: isReady, alarms, backup: backup ?? null }, null, 2)}\n`,
        )
        return
      }
      process.stdout.write(`database and store: ${isReady ? 'ready' : 'NOT READY'}\n`)
      for (const { message, raisedAt } of alarms) {
        process.stdout.write(`ALARM since ${raisedAt.toISOString()}: ${message}\n`)
      }
      const last = backup?.startedAt.toISOString() ?? 'none'
      if (config.backup || backup) process.stdout.write(`last good backup: ${last}\n`)
      if (alarms.length === 0) process.stdout.write('alarms: none\n')
    })
  },
}
