import { fsck } from '../../server/fsck.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { findingLines } from '../finding-lines.ts'
import { jsonOption } from '../json-option.ts'
import { hostOperator } from '../operator.ts'
import { ProgressLine } from '../progress-line.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const check = verb({
  name: '',
  summary: 'compares rows with files, ledgers with what spaces hold, manifests with their blobs',
  options: {
    deep: {
      type: 'boolean',
      summary:
        'reads every file and compares its hash, which takes as long as reading the disk does',
    },
    repair: {
      type: 'boolean',
      summary:
        'removes files that no row knows and rows that stand for nothing, and counts ledgers anew',
    },
    json: jsonOption,
  },
  notes:
    'It may run while Berth serves. Bytes that are lost or wrong are only told: a backup has them, see its README.txt. Exit status 1 while something is wrong that was not repaired.',
  run: async (_words, values) => {
    const config = configOfServer()
    const line = new ProgressLine()
    await withAppliance(config, async ({ database, blobs }) => {
      const parts = { database, blobs, dataDir: config.dataDir }
      const findings = await fsck(parts, {
        deep: values.deep,
        repairBy: values.repair ? hostOperator : undefined,
        onProgress: (done) => line.show(`fsck: ${done.blobs} of ${done.allBlobs} blobs`),
      })
      line.end()
      const open = findings.filter(({ state }) => state !== 'repaired').length
      if (open > 0) process.exitCode = 1
      if (values.json) {
        process.stdout.write(`${JSON.stringify({ clean: open === 0, findings }, null, 2)}\n`)
        return
      }
      process.stdout.write(findingLines(findings))
      const wrong = open === 1 ? '1 thing is wrong.' : `${open} things are wrong.`
      const now = findings.length > 0 ? ' now' : ''
      process.stdout.write(`${open > 0 ? wrong : `Everything is as it must be${now}.`}\n`)
    })
  },
})

export const fsckCommand: Command = {
  name: 'fsck',
  summary: 'whether rows and files are as they must be',
  verbs: [check],
}
