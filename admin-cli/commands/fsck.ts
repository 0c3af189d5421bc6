import { parseArgs } from 'node:util'

import { fsck } from '../../server/fsck.ts'
import type { Command } from '../command.ts'
import { findingLines } from '../finding-lines.ts'
import { ProgressLine } from '../progress-line.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const help = `berthctl fsck [--deep] [--repair] [--json]: whether rows and files are as they must be

Compares every row with its file and every file with its row, the ledgers of the spaces with what they
hold, manifests with their blobs, and builds with their output. It may run while Berth serves.

  --deep     reads every file and compares its hash, which takes as long as reading the disk does
  --repair   removes files that no row knows and rows that stand for nothing, and counts ledgers anew;
             bytes that are lost or wrong are only told: a backup has them, see its README.txt

Exit status 1 while something is wrong that was not repaired.
`

export const fsckCommand: Command = {
  help,
  run: async (args) => {
    const { values } = parseArgs({
      args: [...args],
      options: {
        deep: { type: 'boolean' },
        repair: { type: 'boolean' },
        json: { type: 'boolean' },
      },
    })
    const config = configOfServer()
    const line = new ProgressLine()
    await withAppliance(config, async ({ database, blobs }) => {
      const parts = { database, blobs, dataDir: config.dataDir }
      const findings = await fsck(parts, {
        deep: values.deep === true,
        repair: values.repair === true,
        onProgress: (done) => line.show(`fsck: ${done.blobs} of ${done.allBlobs} blobs`),
      })
      line.end()
      const open = findings.filter(({ state }) => state !== 'repaired').length
      if (open > 0) process.exitCode = 1
      if (values.json === true) {
        process.stdout.write(`${JSON.stringify({ clean: open === 0, findings }, null, 2)}\n`)
        return
      }
      process.stdout.write(findingLines(findings))
      const wrong = open === 1 ? '1 thing is wrong.' : `${open} things are wrong.`
      const now = findings.length > 0 ? ' now' : ''
      process.stdout.write(`${open > 0 ? wrong : `Everything is as it must be${now}.`}\n`)
    })
  },
}
