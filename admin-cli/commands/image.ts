import { parseArgs } from 'node:util'

import { hostOperator } from '../../server/accounts/accounts.ts'
import type { DeletedImage } from '../../server/content/trash.ts'
import type { Command } from '../command.ts'
import { CommandError, UsageError } from '../exit.ts'
import { askYesOrNo } from '../question.ts'
import { sizeInWords } from '../size-words.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const help = `berthctl image: images that were deleted

  berthctl image deleted [SPACE] [--json]   what can be restored, the newest first
  berthctl image restore NUMBER             brings one back, with its tags
  berthctl image purge [SPACE] [--yes]      gives all of them up now, for a disk that is short of room

A deleted image is off the quota at once and can be restored for library.undelete_days. Restoring needs
room in the quota; a tag that names another image by now stays there. After a purge the bytes leave the
disk with the next sweep, except those that were deleted within storage.grace_hours: downloads of
them may still run.
`

export const imageCommand: Command = {
  help,
  run: async ([verb, ...args]) => {
    if (verb === 'deleted') return await deleted(args)
    if (verb === 'restore') return await restore(args)
    if (verb === 'purge') return await purge(args)
    throw new UsageError('Say "image deleted", "image restore NUMBER" or "image purge".')
  },
}

async function deleted(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { json: { type: 'boolean' } },
  })
  const space = onlyOne(positionals)
  await withAppliance(configOfServer(), async ({ trash }) => {
    const images = await (space === undefined ? trash.listAll() : trash.list(hostOperator, space))
    if (values.json === true) {
      process.stdout.write(`${JSON.stringify(images, null, 2)}\n`)
      return
    }
    if (images.length === 0) {
      process.stdout.write('No deleted image can be restored.\n')
      return
    }
    const rows = images.map((image) => [
      String(image.id),
      nameOf(image),
      sizeInWords(image.sizeBytes),
      image.deletedAt.toISOString().slice(0, 16),
      image.goneAt.toISOString().slice(0, 16),
      image.reason === 'retention' ? 'a rule' : (image.deletedBy ?? ''),
    ])
    const heads = ['Number', 'Image', 'Size', 'Deleted (UTC)', 'Gone (UTC)', 'By']
    process.stdout.write(table([heads, ...rows]))
  })
}

async function restore(args: string[]): Promise<void> {
  const { positionals } = parseArgs({ args, allowPositionals: true, options: {} })
  const text = onlyOne(positionals)
  if (text === undefined || !/^[1-9]\d{0,14}$/.test(text)) {
    throw new UsageError('Give the number of an image: berthctl image deleted lists them.')
  }
  await withAppliance(configOfServer(), async ({ trash }) => {
    const { path, digest, tags, tagsTaken } = await trash.restore(hostOperator, Number(text))
    const tagged = tags.length === 0 ? 'without a tag' : `with ${tags.join(', ')}`
    process.stdout.write(`${path}@${digest} is back, ${tagged}.\n`)
    if (tagsTaken.length === 0) return
    process.stdout.write(`Other images have these tags now: ${tagsTaken.join(', ')}.\n`)
  })
}

async function purge(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { yes: { type: 'boolean' } },
  })
  const space = onlyOne(positionals)
  await withAppliance(configOfServer(), async ({ trash }) => {
    const images = await (space === undefined ? trash.listAll() : trash.list(hostOperator, space))
    const bytes = images.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    const what = `${images.length} deleted images of ${sizeInWords(bytes)}`
    if (images.length > 0 && values.yes !== true) {
      const answer = await askYesOrNo(`Nobody can restore ${what} then. Give them up?`)
      if (answer === undefined) throw new UsageError(`This gives up ${what}: say --yes.`)
      if (!answer) throw new CommandError('Nothing was given up.')
    }
    const purged = await trash.purgeEverything(hostOperator, space)
    process.stdout.write(
      `${purged.images} deleted images of ${sizeInWords(purged.bytes)} were given up. "berthctl sweep" gives their space back now.\n`,
    )
  })
}

function onlyOne(positionals: readonly string[]): string | undefined {
  if (positionals.length > 1) throw new UsageError('One word is enough: see berthctl image --help.')
  return positionals[0]
}

function nameOf({ path, digest, tags }: DeletedImage): string {
  return tags.length === 0 ? `${path}@${digest.slice(0, 19)}` : `${path}:${tags.join(',')}`
}
