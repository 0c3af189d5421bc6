import { listGroups } from '../../server/accounts/groups.ts'
import type { SpaceQuota } from '../../server/content/space-quotas.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { jsonOption, printJson } from '../json-option.ts'
import { hostOperator } from '../operator.ts'
import { sizeInWords } from '../size-words.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const list = verb({
  name: 'list',
  summary: 'the groups of the directory and their members',
  options: { json: jsonOption },
  run: async (_words, { json }) => {
    await withAppliance(configOfServer(), async ({ database, groupSpaces }) => {
      const groups = await listGroups(database)
      if (json) {
        return printJson(
          groups.map((group) => ({ ...group, ownsSpace: groupSpaces.has(group.name) })),
        )
      }
      const rows = groups.map(({ id, name, members }) => [
        id,
        name,
        groupSpaces.has(name) ? 'yes' : 'no',
        members.join(' '),
      ])
      process.stdout.write(table([['ID', 'Name', 'Space', 'Members'], ...rows]))
    })
  },
})

const show = verb({
  name: 'show',
  summary: 'one group, what its members may do, and its space',
  arguments: { NAME: { complete: 'group' } },
  options: { json: jsonOption },
  run: async ({ NAME: name }, { json }) => {
    await withAppliance(configOfServer(), async ({ roster, groupSpaces, quotas }) => {
      const group = await roster.group(hostOperator, name)
      const ownsSpace = groupSpaces.has(group.name)
      const found = ownsSpace ? await quotas.list(hostOperator, group.name) : []
      const space = found.find(({ kind }) => kind === 'group') ?? null
      if (json) return printJson({ ...group, ownsSpace, space })
      process.stdout.write(
        table([
          ['Group', group.name],
          ['ID', group.id],
          ['Since', group.createdAt.toISOString().slice(0, 10)],
          ['Administrates', group.administrates ? 'yes' : 'no'],
          ['Space', spaceWords(ownsSpace, space)],
          ['Members', group.members.join(' ') || '-'],
        ]),
      )
    })
  },
})

function spaceWords(ownsSpace: boolean, space: SpaceQuota | null): string {
  if (!ownsSpace) return 'none: see [groups] spaces in the configuration'
  if (space === null) return 'opens with the first push'
  return `${sizeInWords(space.usedBytes)} used of ${sizeInWords(space.quotaBytes)}`
}

export const groupCommand: Command = {
  name: 'group',
  summary: 'the groups of the directory',
  verbs: [list, show],
  notes:
    "Groups are known from the first sign-in of a member on, and their members are the directory's to say. Those that the configuration names under [groups] spaces own the space of their name in the library.",
}
