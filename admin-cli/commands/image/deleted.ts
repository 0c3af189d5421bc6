import type { DeletedImage } from '../../../server/content/trash.ts'
import { verb } from '../../command.ts'
import { requireYes, yesOption } from '../../confirmation.ts'
import { UsageError } from '../../exit.ts'
import { jsonOption } from '../../json-option.ts'
import { hostOperator } from '../../operator.ts'
import { sizeInWords } from '../../size-words.ts'
import { table } from '../../table.ts'
import { configOfServer, withAppliance } from '../../with-appliance.ts'

export const deleted = verb({
  name: 'deleted',
  summary: 'what can be restored, the newest first',
  arguments: { SPACE: { optional: true, complete: 'space' } },
  options: { json: jsonOption },
  run: async ({ SPACE: space }, { json }) => {
    await withAppliance(configOfServer(), async ({ trash }) => {
      const images = await (space === undefined ? trash.listAll() : trash.list(hostOperator, space))
      if (json) {
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
  },
})

export const restore = verb({
  name: 'restore',
  summary: 'brings one back, with its tags',
  arguments: { NUMBER: { summary: 'as "image deleted" lists it' } },
  run: async ({ NUMBER: text }) => {
    if (!/^[1-9]\d{0,14}$/.test(text)) {
      throw new UsageError('Give the number of an image: berthctl image deleted lists them.')
    }
    await withAppliance(configOfServer(), async ({ trash }) => {
      const { path, digest, tags, tagsTaken } = await trash.restore(hostOperator, Number(text))
      const tagged = tags.length === 0 ? 'without a tag' : `with ${tags.join(', ')}`
      process.stdout.write(`${path}@${digest} is back, ${tagged}.\n`)
      if (tagsTaken.length === 0) return
      process.stdout.write(`Other images have these tags now: ${tagsTaken.join(', ')}.\n`)
    })
  },
})

export const purge = verb({
  name: 'purge',
  summary: 'gives all of them up now, for a disk that is short of room',
  arguments: { SPACE: { optional: true, complete: 'space' } },
  options: { yes: yesOption },
  run: async ({ SPACE: space }, { yes }) => {
    await withAppliance(configOfServer(), async ({ trash }) => {
      const images = await (space === undefined ? trash.listAll() : trash.list(hostOperator, space))
      const bytes = images.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
      const what = `${images.length} deleted images of ${sizeInWords(bytes)}`
      if (images.length > 0) {
        await requireYes(`Nobody can restore ${what} then.`, 'Give them up?', yes)
      }
      const purged = await trash.purgeEverything(hostOperator, space)
      process.stdout.write(
        `${purged.images} deleted images of ${sizeInWords(purged.bytes)} were given up. "berthctl gc" gives their space back now.\n`,
      )
    })
  },
})

function nameOf({ path, digest, tags }: DeletedImage): string {
  return tags.length === 0 ? `${path}@${digest.slice(0, 19)}` : `${path}:${tags.join(',')}`
}
