import type { RetentionPreview, RetentionRule } from '../../server/content/retention.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { yesOption } from '../confirmation.ts'
import { CommandError, UsageError } from '../exit.ts'
import { jsonOption } from '../json-option.ts'
import { hostOperator } from '../operator.ts'
import { askYesOrNo } from '../question.ts'
import { sizeInWords } from '../size-words.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const placeWord = {
  PLACE: { summary: 'SPACE, SPACE/COLLECTION or SPACE/COLLECTION/CONTAINER', complete: 'space' },
} as const

const list = verb({
  name: 'list',
  summary: 'the rules',
  options: { json: jsonOption },
  run: async (_words, { json }) => {
    await withAppliance(configOfServer(), async ({ retention }) => {
      const rules = await retention.listAll()
      if (json) {
        process.stdout.write(`${JSON.stringify(rules, null, 2)}\n`)
        return
      }
      if (rules.length === 0) {
        process.stdout.write('There is no rule: everything is kept.\n')
        return
      }
      const rows = rules.map((rule) => [
        rule.place,
        wordsOf(rule),
        rule.active ? 'active' : 'inactive',
      ])
      process.stdout.write(table([['Place', 'Keeps', 'State'], ...rows]))
    })
  },
})

const set = verb({
  name: 'set',
  summary:
    'a rule that does nothing yet, and shows what it would delete; or switches one on or off',
  arguments: placeWord,
  options: {
    keep: { type: 'string', value: 'N', summary: 'keeps the last N that came' },
    days: { type: 'string', value: 'D', summary: 'keeps what came or was pulled within D days' },
    'tagged-too': { type: 'boolean', summary: 'images with a tag go like the others' },
    'each-container': { type: 'boolean', summary: 'N counts in each container' },
    active: { type: 'boolean', summary: 'from now on it acts, once a day' },
    inactive: { type: 'boolean', summary: 'it stays, and does not act' },
    yes: yesOption,
  },
  run: async ({ PLACE: place }, values) => {
    const measured = values.keep !== undefined || values.days !== undefined
    const switched = values.active || values.inactive
    if (measured === switched || (values.active && values.inactive)) {
      throw new UsageError('Give --keep or --days (or both), or --active, or --inactive.')
    }
    await withAppliance(configOfServer(), async ({ retention }) => {
      if (measured) {
        await retention.set(hostOperator, place, {
          keepLast: countOf('--keep', values.keep),
          pulledWithinDays: countOf('--days', values.days),
          keepTagged: !values['tagged-too'],
          eachContainer: values['each-container'],
          active: false,
        })
        process.stdout.write(printed(await retention.preview(hostOperator, place)))
        process.stdout.write(`It does nothing until: berthctl retention set ${place} --active\n`)
        return
      }
      const seen = await retention.preview(hostOperator, place)
      if (values.active && !values.yes) await requireYesTo(seen)
      const active = values.active
      await retention.set(hostOperator, place, { ...seen.rule, active })
      process.stdout.write(`The rule of ${place} is ${active ? 'active' : 'inactive'} now.\n`)
    })
  },
})

async function requireYesTo(seen: RetentionPreview): Promise<void> {
  process.stderr.write(printed(seen))
  const answer = await askYesOrNo('Shall the rule act?')
  if (answer === undefined) throw new UsageError('A rule that acts deletes images: say --yes.')
  if (!answer) throw new CommandError('The rule stays as it was.')
}

const preview = verb({
  name: 'preview',
  summary: 'exactly what it would delete now',
  arguments: placeWord,
  options: { json: jsonOption },
  run: async ({ PLACE: place }, { json }) => {
    await withAppliance(configOfServer(), async ({ retention }) => {
      const seen = await retention.preview(hostOperator, place)
      process.stdout.write(json ? `${JSON.stringify(seen, null, 2)}\n` : printed(seen))
    })
  },
})

const remove = verb({
  name: 'remove',
  summary: 'no rule; a wider one holds, if there is one',
  arguments: placeWord,
  run: async ({ PLACE: place }) => {
    await withAppliance(configOfServer(), async ({ retention }) => {
      await retention.remove(hostOperator, place)
      process.stdout.write(`${place} has no rule of its own any more.\n`)
    })
  },
})

function printed({ rule, images, sizeBytes }: RetentionPreview): string {
  const keeps = `${rule.place} keeps ${wordsOf(rule)}.\n`
  if (images.length === 0) return `${keeps}It would delete nothing now.\n`
  const rows = images.map((image) => [
    `${image.path}@${image.digest.slice(0, 19)}`,
    image.tags.join(','),
    sizeInWords(image.sizeBytes),
    image.arrivedAt.toISOString().slice(0, 10),
    image.pulledAt?.toISOString().slice(0, 10) ?? 'never',
  ])
  const count = images.length === 1 ? '1 image' : `${images.length} images`
  return `${keeps}It would delete ${count} of ${sizeInWords(sizeBytes)} now:\n\n${table([
    ['Image', 'Tags', 'Size', 'Came', 'Pulled'],
    ...rows,
  ])}`
}

function wordsOf(rule: RetentionRule): string {
  const last = rule.eachContainer
    ? `the last ${rule.keepLast} of each container`
    : `the last ${rule.keepLast}`
  const measures = [
    ...(rule.keepLast === null ? [] : [last]),
    ...(rule.pulledWithinDays === null ? [] : [`what was pulled in ${rule.pulledWithinDays} days`]),
    ...(rule.keepTagged ? ['what has a tag'] : []),
  ]
  return measures.join(', ')
}

function countOf(option: string, text: string | undefined): number | null {
  if (text === undefined) return null
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text)
  throw new UsageError(`${option} is a number from 1 on.`)
}

export const retentionCommand: Command = {
  name: 'retention',
  summary: 'what spaces, collections and containers keep',
  verbs: [list, set, preview, remove],
  notes:
    'The narrowest rule holds for a container. An image stays when it is among the last N that came to the place, or when it came or was last pulled within D days. Images with a tag stay in any case, unless --tagged-too says otherwise. Changing a rule makes it inactive again. What a rule deletes can be restored: berthctl image deleted.',
}
