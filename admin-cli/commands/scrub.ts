import { setTimeout } from 'node:timers/promises'

import type { Appliance } from '../../server/appliance.ts'
import type { ScrubPass, StoreSize } from '../../server/content/scrub-rows.ts'
import type { ScrubResult, ScrubStatus } from '../../server/content/scrub.ts'
import { runRecorded } from '../../server/job-runs.ts'
import { bytes } from '../../server/size-field.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { CommandError, UsageError } from '../exit.ts'
import { jsonOption, printJson } from '../json-option.ts'
import { sizeInWords } from '../size-words.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const go = verb({
  name: '',
  summary: 'goes on to the end of the store, and shows how far it is',
  options: {
    all: { type: 'boolean', summary: 'begins anew' },
    rate: {
      type: 'string',
      value: 'SIZE',
      summary: 'how much is read in a second, such as "200 MiB" (default: storage.scrub_rate)',
    },
    json: jsonOption,
  },
  run: async (_words, { all, rate, json }) => {
    await withAppliance(configOfServer(), async (appliance) => {
      const result = await scrubToTheEnd(appliance, all, rateOf(rate))
      const status = await appliance.scrub.status()
      if (status.damaged.length > 0) process.exitCode = 1
      if (json) return printJson({ ...result, damagedBlobs: status.damaged })
      process.stdout.write(`${summary(result, status)}\n`)
    })
  },
})

const status = verb({
  name: 'status',
  summary: 'how far it is, and what is damaged',
  options: { json: jsonOption },
  run: async (_words, { json }) => {
    await withAppliance(configOfServer(), async ({ scrub }) => {
      const found = await scrub.status()
      if (json) printJson(found)
      else printStatus(found)
    })
  },
})

/** The server's portion takes a few minutes at most, unless a file is very large. */
const waitMs = 6 * 60_000

async function scrubToTheEnd(
  { database, scrub }: Appliance,
  fromStart: boolean,
  bytesPerSecond: number | undefined,
): Promise<ScrubResult> {
  const { signal } = new AbortController()
  const onProgress = progressLine()
  const until = Date.now() + waitMs
  for (;;) {
    const result = await runRecorded(database, 'scrub', 'command', async () => {
      return await scrub.whole({ fromStart, closing: signal, onProgress, bytesPerSecond })
    })
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
    if (result !== undefined) return result
    if (Date.now() > until) {
      throw new CommandError('The server is reading a large file right now: try again later.')
    }
    await setTimeout(2000)
  }
}

/** One line on a terminal that is written over; nothing elsewhere. */
function progressLine(): (pass: ScrubPass, store: StoreSize) => void {
  let shown = 0
  return ({ blobsRead, bytesRead, damaged }, store) => {
    if (!process.stderr.isTTY || Date.now() - shown < 200) return
    shown = Date.now()
    const share = store.bytes === 0 ? 100 : Math.min(100, (100 * bytesRead) / store.bytes)
    process.stderr.write(
      `\r\x1b[K${share.toFixed(1)} % · ${sizeInWords(bytesRead)} of ${sizeInWords(store.bytes)} · ${blobsRead} of ${store.blobs} files · ${damaged} damaged`,
    )
  }
}

function rateOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const parsed = bytes.safeParse(text)
  if (parsed.success && parsed.data > 0) return parsed.data
  throw new UsageError('--rate is a size such as "200 MiB".')
}

function summary(result: ScrubResult, status: ScrubStatus): string {
  const read = `${result.blobsRead} files of ${sizeInWords(result.bytesRead)} read`
  if (result.damaged === 0) return `${read}, all of them whole.`
  return `${read}, ${result.damaged} of them damaged.\n\n${damagedTable(status)}`.trimEnd()
}

function printStatus(status: ScrubStatus): void {
  const { pass, store, damaged } = status
  const running =
    pass.beganAt === null
      ? 'no pass is running'
      : `pass ${pass.pass}, since ${pass.beganAt.toISOString()}: ${pass.blobsRead} of ${store.blobs} files, ${sizeInWords(pass.bytesRead)} of ${sizeInWords(store.bytes)}`
  const last =
    pass.finishedAt === null
      ? 'never'
      : `${pass.finishedAt.toISOString()}, ${pass.finishedBlobs ?? 0} files of ${sizeInWords(pass.finishedBytes ?? 0)}, ${pass.finishedDamaged ?? 0} damaged`
  process.stdout.write(`running:       ${running}\nlast finished: ${last}\n`)
  if (damaged.length === 0) process.stdout.write('damaged files: none\n')
  else process.stdout.write(`damaged files: ${damaged.length}\n\n${damagedTable(status)}`)
}

function damagedTable({ damaged }: ScrubStatus): string {
  const words = {
    missing: 'file is gone',
    length: 'wrong length',
    content: 'wrong content',
    unreadable: 'cannot be read',
  } as const
  const rows = damaged.map(({ digest, fault, foundAt, images }) => [
    digest.slice(0, 19),
    words[fault],
    foundAt.toISOString().slice(0, 16),
    images.join(', ') || 'no image needs it',
  ])
  return table([['File', 'Fault', 'Found (UTC)', 'Images'], ...rows])
}

export const scrubCommand: Command = {
  name: 'scrub',
  summary: 'reads stored files again and compares them with their hashes',
  verbs: [go, status],
  notes:
    'The server does it by itself, a portion every five minutes, all of it once in storage.scrub_days. While somebody pushes, a sixteenth of the rate is read. Ctrl-C ends it; the next one goes on where it was.\n\nWhat does not hold its bytes is moved to store/quarantine and not served any more. Exit status 1 when something was found damaged.',
}
