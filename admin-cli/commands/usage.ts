import type { Appliance } from '../../server/appliance.ts'
import { forecast } from '../../server/content/forecast.ts'
import type { Forecast } from '../../server/content/forecast.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { UsageError } from '../exit.ts'
import { jsonOption, printJson } from '../json-option.ts'
import { countOf } from '../list-options.ts'
import { hostOperator } from '../operator.ts'
import { sizeInWords } from '../size-words.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'
import { imageTable, sumOf } from './image/filter.ts'

const usualLines = 20
/** What the forecast looks back on. */
const weeks = 8

const kinds = ['space', 'repository', 'image'] as const
type Kind = (typeof kinds)[number]

const show = verb({
  name: '',
  summary: 'who holds how much, and when the disk is full',
  arguments: { SPACE: { optional: true, summary: 'of one space', complete: 'space' } },
  options: {
    by: {
      type: 'string',
      value: 'KIND',
      summary: 'space (default), repository or image, the largest first',
      complete: kinds,
    },
    oldest: { type: 'boolean', summary: 'the images that came first' },
    largest: { type: 'boolean', summary: 'the largest images' },
    'never-pulled': { type: 'boolean', summary: 'the largest images that nobody has pulled' },
    duplicates: { type: 'boolean', summary: 'the same bytes in several spaces' },
    limit: { type: 'string', value: 'N', summary: `at most N lines (default ${usualLines})` },
    json: jsonOption,
  },
  notes: `The forecast is a line through what was stored day by day in the last ${weeks} weeks, to where storage.keep_free is reached and uploads are refused. Two weeks must have been counted before it says anything.\n\nBytes that several spaces have are on the disk once, and are charged to each of them: what --duplicates lists costs quota, and no room.`,
  run: async ({ SPACE: space }, { json, ...values }) => {
    const view = viewOf(values)
    const limit = values.limit === undefined ? usualLines : countOf(values.limit)
    await withAppliance(configOfServer(), async (appliance) => {
      const { holdings, registry } = appliance
      if (space !== undefined) await registry.getEntity(space)
      if (view === 'duplicates') return await printDuplicates(appliance, space, limit, json)
      if (view === 'space') return await printSpaces(appliance, space, limit, json)
      if (view === 'repository') {
        const found = await holdings.repositories(hostOperator, { space, order: 'largest', limit })
        if (json) return printJson(found)
        const rows = found.map((one) => [
          one.path,
          sizeInWords(one.sizeBytes),
          String(one.images),
          String(one.downloads),
        ])
        process.stdout.write(table([['Container', 'Size', 'Images', 'Pulls'], ...rows]))
        return
      }
      const neverPulled = view === 'never-pulled'
      const order = view === 'oldest' ? 'oldest' : 'largest'
      const images = await holdings.images(hostOperator, { space, neverPulled, order, limit })
      if (json) return printJson(images)
      process.stdout.write(`${imageTable(images)}\n${sumOf(images)}.\n`)
    })
  },
})

type View = Kind | 'oldest' | 'never-pulled' | 'duplicates'

function viewOf(values: {
  readonly by: string | undefined
  readonly oldest: boolean
  readonly largest: boolean
  readonly 'never-pulled': boolean
  readonly duplicates: boolean
}): View {
  const kind = kinds.find((one) => one === (values.by ?? 'space'))
  if (kind === undefined) throw new UsageError(`--by is ${kinds.join(', ')}.`)
  const views: readonly (readonly [boolean, View])[] = [
    [values.by !== undefined, kind],
    [values.oldest, 'oldest'],
    [values.largest, 'image'],
    [values['never-pulled'], 'never-pulled'],
    [values.duplicates, 'duplicates'],
  ]
  const wanted = views.flatMap(([isWanted, view]) => (isWanted ? [view] : []))
  if (wanted.length > 1) {
    throw new UsageError('Say one of --by, --oldest, --largest, --never-pulled, --duplicates.')
  }
  return wanted[0] ?? 'space'
}

async function printSpaces(
  { holdings, quotas, config }: Appliance,
  space: string | undefined,
  limit: number,
  json: boolean,
): Promise<void> {
  const spaces = (await quotas.list(hostOperator, space))
    .toSorted((one, other) => other.usedBytes - one.usedBytes)
    .slice(0, limit)
  const today = await holdings.today(hostOperator)
  const days = await holdings.days(hostOperator, weeks * 7)
  const room = { freeBytes: today.freeBytes, keepFreeBytes: config.storage.keepFreeBytes }
  const expected = forecast(days, room, new Date())
  if (json) return printJson({ ...today, forecast: expected, spaces })
  const rows = spaces.map((one) => [
    one.space,
    one.kind,
    sizeInWords(one.usedBytes),
    sizeInWords(one.quotaBytes),
    one.quotaBytes === 0 ? '-' : `${Math.round((100 * one.usedBytes) / one.quotaBytes)} %`,
  ])
  process.stdout.write(
    [
      table([
        ['Stored', `${sizeInWords(today.storedBytes)} in ${today.images} images`],
        ['Charged', sizeInWords(today.chargedBytes)],
        [
          'Free',
          `${sizeInWords(today.freeBytes)}, of which ${sizeInWords(room.keepFreeBytes)} are kept`,
        ],
        ['Forecast', wordsOf(expected)],
      ]),
      rows.length === 0 ? '' : `\n${table([['Space', 'Kind', 'Used', 'Quota', 'Share'], ...rows])}`,
    ].join(''),
  )
}

function wordsOf(expected: Forecast): string {
  if (expected.kind === 'unknown') {
    return `not yet: ${expected.days} of ${expected.needed} days have been counted`
  }
  const growth = `${expected.bytesPerDay < 0 ? '-' : '+'}${sizeInWords(Math.round(Math.abs(expected.bytesPerDay)))} a day`
  if (expected.kind === 'never') return `the disk lasts (${growth})`
  return `the disk is full on ${expected.day} (${growth})`
}

async function printDuplicates(
  { holdings }: Appliance,
  space: string | undefined,
  limit: number,
  json: boolean,
): Promise<void> {
  const found = await holdings.duplicates(hostOperator, { space, limit })
  if (json) return printJson(found)
  if (found.length === 0) {
    process.stdout.write('No two spaces have the same bytes.\n')
    return
  }
  const rows = found.map(({ digest, sizeBytes, images, spaces }) => [
    sizeInWords(sizeBytes),
    String(spaces.length),
    digest.slice(0, 19),
    images.join(' ') || spaces.join(' '),
  ])
  process.stdout.write(table([['Size', 'Spaces', 'Hash', 'Where'], ...rows]))
}

export const usageCommand: Command = {
  name: 'usage',
  summary: 'who holds what, and when the disk is full',
  verbs: [show],
}
