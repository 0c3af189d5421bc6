import { parseArgs } from 'node:util'

import { listGroups } from '../../server/accounts/groups.ts'
import type { Command } from '../command.ts'
import { UsageError } from '../exit.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const help = `berthctl group list [--json]: the groups of the directory

Groups are known from the first sign-in of a member on. Those that the configuration names under
[groups] spaces own the space of their name in the library.
`

export const groupCommand: Command = {
  help,
  run: async ([verb, ...args]) => {
    if (verb !== 'list') throw new UsageError('Say "group list".')
    const { values } = parseArgs({ args, options: { json: { type: 'boolean' } } })
    await withAppliance(configOfServer(), async ({ database, groupSpaces }) => {
      const groups = await listGroups(database)
      if (values.json === true) {
        const json = groups.map((group) => ({ ...group, ownsSpace: groupSpaces.has(group.name) }))
        process.stdout.write(`${JSON.stringify(json, null, 2)}\n`)
        return
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
}
