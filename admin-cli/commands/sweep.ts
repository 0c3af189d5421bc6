import { parseArgs } from 'node:util'

import type { SweepResult } from '../../server/content/sweep.ts'
import { runRecorded } from '../../server/job-runs.ts'
import type { Command } from '../command.ts'
import { CommandError } from '../exit.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const help = `berthctl sweep [--json]: gives disk space back now

Ends uploads that went quiet, and removes the bytes of images that nobody can restore any more
(library.undelete_days) and that were deleted longer ago than the grace time. The server does the same every 15 minutes.
`

export const sweepCommand: Command = {
  help,
  run: async (args) => {
    const { values } = parseArgs({ args: [...args], options: { json: { type: 'boolean' } } })
    await withAppliance(configOfServer(), async ({ database, sweep }) => {
      // As the server's schedule runs it: one sweep at a time.
      const result = await runRecorded(database, 'sweep', 'command', sweep)
      if (result === undefined) {
        throw new CommandError('The server is sweeping right now: try again later.')
      }
      const text = values.json === true ? JSON.stringify(result) : summary(result)
      process.stdout.write(`${text}\n`)
    })
  },
}

function summary(result: SweepResult): string {
  return [
    `bytes freed:                  ${result.bytesFreed}`,
    `blobs removed:                ${result.blobsRemoved}`,
    `blobs waiting, newly:         ${result.blobsCondemned}`,
    `deleted images given up:      ${result.imagesGivenUp}`,
    `files without a row removed:  ${result.orphansRemoved}`,
    `quiet uploads ended:          ${result.uploadsEnded}`,
  ].join('\n')
}
