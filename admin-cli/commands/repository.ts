import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { requireYes, yesOption } from '../confirmation.ts'
import { CommandError, UsageError } from '../exit.ts'
import { jsonOption, printJson } from '../json-option.ts'
import { hostOperator } from '../operator.ts'
import { sizeInWords } from '../size-words.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'
import { imageTable, limitOf, ownerOptions } from './image/filter.ts'

const pathWord = { summary: 'SPACE/COLLECTION/CONTAINER' } as const

const list = verb({
  name: 'list',
  summary: 'containers of the library and repositories of the registry, which are the same',
  options: {
    ...ownerOptions,
    oldest: { type: 'boolean', summary: 'those first in which nothing came for longest' },
    largest: { type: 'boolean', summary: 'the largest first' },
    limit: { type: 'string', value: 'N', summary: 'the first N (default: all)' },
    json: jsonOption,
  },
  run: async (_words, { owner, space, oldest, largest, limit, json }) => {
    if (oldest && largest) throw new UsageError('Say --oldest or --largest.')
    const order = oldest ? 'oldest' : largest ? 'largest' : 'path'
    const filter = { owner, space, order, limit: limitOf(limit) } as const
    await withAppliance(configOfServer(), async ({ holdings }) => {
      const repositories = await holdings.repositories(hostOperator, filter)
      if (json) return printJson(repositories)
      if (repositories.length === 0) {
        process.stdout.write('There is no such container.\n')
        return
      }
      const rows = repositories.map((one) => [
        one.path,
        sizeInWords(one.sizeBytes),
        String(one.images),
        String(one.manifests),
        String(one.downloads),
        one.pulledAt?.toISOString().slice(0, 10) ?? 'never',
        one.updatedAt.toISOString().slice(0, 10),
        one.private ? 'private' : 'public',
      ])
      const head = ['Container', 'Size', 'Images', 'Manifests', 'Pulls', 'Pulled', 'Changed']
      process.stdout.write(table([[...head, 'Readers'], ...rows]))
    })
  },
})

const show = verb({
  name: 'show',
  summary: 'one container and its images',
  arguments: { PATH: pathWord },
  options: { json: jsonOption },
  run: async ({ PATH: path }, { json }) => {
    await withAppliance(configOfServer(), async ({ holdings }) => {
      const [found] = await holdings.repositories(hostOperator, { repository: path })
      if (found === undefined) throw new CommandError(`There is no container "${path}".`)
      const images = await holdings.images(hostOperator, { repository: path })
      if (json) return printJson({ ...found, imageList: images })
      process.stdout.write(
        table([
          ['Container', found.path],
          ['Owner', found.owner ?? '(the site)'],
          ['Readers', found.private ? 'private' : 'everybody'],
          ['Size', sizeInWords(found.sizeBytes)],
          ['Images', String(found.images)],
          ['Manifests', String(found.manifests)],
          ['Pulls', String(found.downloads)],
          ['Pulled', found.pulledAt?.toISOString() ?? 'never'],
          ['Changed', found.updatedAt.toISOString()],
        ]),
      )
      if (images.length > 0) process.stdout.write(`\n${imageTable(images)}`)
    })
  },
})

const remove = verb({
  name: 'delete',
  summary: 'a container with all that is in it',
  arguments: { PATH: pathWord },
  options: { yes: yesOption },
  notes:
    'What is in it can be restored for library.undelete_days, and brings the container back: berthctl image deleted.',
  run: async ({ PATH: path }, { yes }) => {
    await withAppliance(configOfServer(), async ({ holdings }) => {
      const [found] = await holdings.repositories(hostOperator, { repository: path })
      if (found === undefined) throw new CommandError(`There is no container "${path}".`)
      const images = await holdings.images(hostOperator, { repository: path })
      if (!yes && images.length > 0) process.stderr.write(imageTable(images))
      const what = `${found.manifests} ${found.manifests === 1 ? 'manifest' : 'manifests'} of ${sizeInWords(found.sizeBytes)}`
      await requireYes(`This deletes ${path} with ${what}.`, 'Delete?', yes)
      await holdings.deleteRepository(hostOperator, found.path)
      process.stdout.write(`Deleted ${path} with ${what}.\n`)
    })
  },
})

export const repositoryCommand: Command = {
  name: 'repository',
  summary: 'the containers of the library',
  verbs: [list, show, remove],
}
