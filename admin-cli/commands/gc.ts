import type { SweepResult } from '../../server/content/sweep.ts'
import { runRecorded } from '../../server/job-runs.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { CommandError } from '../exit.ts'
import { jsonOption } from '../json-option.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const collect = verb({
  name: '',
  summary: 'does now what the server does every 15 minutes',
  options: { json: jsonOption },
  notes:
    'Ends uploads that went quiet, and removes the bytes of images that nobody can restore any more (library.undelete_days) and that were deleted longer ago than the grace time (storage.grace_hours).',
  run: async (_words, { json }) => {
    await withAppliance(configOfServer(), async ({ database, sweep }) => {
      // As the server's schedule runs it: one sweep at a time.
      const result = await runRecorded(database, 'sweep', 'command', sweep)
      if (result === undefined) {
        throw new CommandError('The server is sweeping right now: try again later.')
      }
      const text = json ? JSON.stringify(result) : summary(result)
      process.stdout.write(`${text}\n`)
    })
  },
})

export const gcCommand: Command = {
  name: 'gc',
  summary: 'gives disk space back now',
  // Its name before there was a gc.
  aliases: ['sweep'],
  verbs: [collect],
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
