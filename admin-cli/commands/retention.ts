import { parseArgs } from 'node:util'

import { hostOperator } from '../../server/accounts/accounts.ts'
import type { RetentionPreview, RetentionRule } from '../../server/content/retention.ts'
import type { Command } from '../command.ts'
import { CommandError, UsageError } from '../exit.ts'
import { askYesOrNo } from '../question.ts'
import { sizeInWords } from '../size-words.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const help = `berthctl retention: what spaces, collections and containers keep

  berthctl retention list [--json]              the rules
  berthctl retention set PLACE [--keep N] [--days D] [--tagged-too] [--each-container]
                                                a rule that does nothing yet; shows what it would delete
  berthctl retention preview PLACE [--json]     exactly what it would delete now
  berthctl retention set PLACE --active [--yes] from now on it acts, once a day
  berthctl retention set PLACE --inactive       it stays, and does not act
  berthctl retention remove PLACE               no rule; a wider one holds, if there is one

PLACE is SPACE, SPACE/COLLECTION or SPACE/COLLECTION/CONTAINER; the narrowest rule holds for a container.
An image stays when it is among the last N that came to the place (with --each-container: to its
container), or when it came or was last pulled within D days. Images with a tag stay in any case; with
--tagged-too they go like the others, and their tags with them. Changing a rule makes it inactive
again. What a rule deletes can be restored: berthctl image deleted.
`

export const retentionCommand: Command = {
  help,
  run: async ([verb, ...args]) => {
    if (verb === 'list') return await list(args)
    if (verb === 'set') return await set(args)
    if (verb === 'preview') return await preview(args)
    if (verb === 'remove') return await remove(args)
    throw new UsageError('Say "retention list", "retention set PLACE", "preview" or "remove".')
  },
}

async function list(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: { json: { type: 'boolean' } } })
  await withAppliance(configOfServer(), async ({ retention }) => {
    const rules = await retention.listAll()
    if (values.json === true) {
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
}

async function set(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      keep: { type: 'string' },
      days: { type: 'string' },
      'tagged-too': { type: 'boolean' },
      'each-container': { type: 'boolean' },
      active: { type: 'boolean' },
      inactive: { type: 'boolean' },
      yes: { type: 'boolean' },
    },
  })
  const place = onlyPlace(positionals)
  const measured = values.keep !== undefined || values.days !== undefined
  const switched = values.active === true || values.inactive === true
  if (measured === switched || (values.active === true && values.inactive === true)) {
    throw new UsageError('Give --keep or --days (or both), or --active, or --inactive.')
  }
  await withAppliance(configOfServer(), async ({ retention }) => {
    if (measured) {
      await retention.set(hostOperator, place, {
        keepLast: countOf('--keep', values.keep),
        pulledWithinDays: countOf('--days', values.days),
        keepTagged: values['tagged-too'] !== true,
        eachContainer: values['each-container'] === true,
        active: false,
      })
      process.stdout.write(printed(await retention.preview(hostOperator, place)))
      process.stdout.write(`It does nothing until: berthctl retention set ${place} --active\n`)
      return
    }
    const seen = await retention.preview(hostOperator, place)
    if (values.active === true && values.yes !== true) await requireYes(seen)
    const active = values.active === true
    await retention.set(hostOperator, place, { ...seen.rule, active })
    process.stdout.write(`The rule of ${place} is ${active ? 'active' : 'inactive'} now.\n`)
  })
}

async function requireYes(seen: RetentionPreview): Promise<void> {
  process.stderr.write(printed(seen))
  const answer = await askYesOrNo('Shall the rule act?')
  if (answer === undefined) throw new UsageError('A rule that acts deletes images: say --yes.')
  if (!answer) throw new CommandError('The rule stays as it was.')
}

async function preview(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { json: { type: 'boolean' } },
  })
  const place = onlyPlace(positionals)
  await withAppliance(configOfServer(), async ({ retention }) => {
    const seen = await retention.preview(hostOperator, place)
    process.stdout.write(
      values.json === true ? `${JSON.stringify(seen, null, 2)}\n` : printed(seen),
    )
  })
}

async function remove(args: string[]): Promise<void> {
  const { positionals } = parseArgs({ args, allowPositionals: true, options: {} })
  const place = onlyPlace(positionals)
  await withAppliance(configOfServer(), async ({ retention }) => {
    await retention.remove(hostOperator, place)
    process.stdout.write(`${place} has no rule of its own any more.\n`)
  })
}

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

function onlyPlace(positionals: readonly string[]): string {
  const [place, ...rest] = positionals
  if (place === undefined || rest.length > 0) {
    throw new UsageError('Give one place: SPACE, SPACE/COLLECTION or SPACE/COLLECTION/CONTAINER.')
  }
  return place
}

function countOf(option: string, text: string | undefined): number | null {
  if (text === undefined) return null
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text)
  throw new UsageError(`${option} is a number from 1 on.`)
}
