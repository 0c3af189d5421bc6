import type { Appliance } from '../../../server/appliance.ts'
import type { StoredImage } from '../../../server/content/holdings.ts'
import { verb } from '../../command.ts'
import { requireYes, yesOption } from '../../confirmation.ts'
import { UsageError } from '../../exit.ts'
import { hostOperator } from '../../operator.ts'
import { ProgressLine } from '../../progress-line.ts'
import { configOfServer, withAppliance } from '../../with-appliance.ts'
import { filterOf, filterOptions, imageTable, isNarrow, sumOf } from './filter.ts'
import { archOption, imageNamed, referenceWord } from './reference.ts'

export const deleteImages = verb({
  name: 'delete',
  summary: 'images with all their tags, those that are named or those that a list would show',
  arguments: { IMAGE: { ...referenceWord, optional: true, repeated: true } },
  options: { ...filterOptions, arch: archOption, yes: yesOption },
  notes:
    'It shows them and asks. They can be restored for library.undelete_days: berthctl image deleted. What is deleted is off the quota at once, and leaves the disk when nobody can restore it any more.',
  run: async ({ IMAGE: names }, { arch, yes, ...values }) => {
    if (names.length > 0 === isNarrow(values)) {
      throw new UsageError('Name images, or say which with the options that "image list" has.')
    }
    await withAppliance(configOfServer(), async (appliance) => {
      const { holdings } = appliance
      const images =
        names.length > 0
          ? await imagesNamed(appliance, names, arch)
          : await holdings.images(hostOperator, filterOf(values))
      if (images.length === 0) {
        process.stdout.write('There is no such image.\n')
        return
      }
      if (!yes) process.stderr.write(imageTable(images))
      await requireYes(`This deletes ${sumOf(images)}.`, 'Delete?', yes)
      const line = new ProgressLine()
      for (const [index, image] of images.entries()) {
        line.show(`${index} of ${images.length} images deleted`)
        await holdings.deleteImage(hostOperator, image)
      }
      line.end()
      process.stdout.write(`Deleted ${sumOf(images)}.\n`)
    })
  },
})

async function imagesNamed(
  appliance: Appliance,
  names: readonly string[],
  arch: string | undefined,
): Promise<StoredImage[]> {
  const found = new Map<string, StoredImage>()
  for (const name of names) {
    const { path, digest } = await imageNamed(appliance, name, arch)
    const images = await appliance.holdings.images(hostOperator, { repository: path })
    const image = images.find((one) => one.digest === digest)
    // One image has two tags: it goes once.
    if (image !== undefined) found.set(`${path} ${digest}`, image)
  }
  return [...found.values()]
}
