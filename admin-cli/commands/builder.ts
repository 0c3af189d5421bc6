import { listActive } from '../../server/builds/build-rows.ts'
import type { KnownBuilder } from '../../server/builds/builders.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { requireYes, yesOption } from '../confirmation.ts'
import { jsonOption } from '../json-option.ts'
import { hostOperator } from '../operator.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const add = verb({
  name: 'add',
  summary: 'a new builder host; prints its token, once',
  arguments: { NAME: {} },
  run: async ({ NAME: name }) => {
    await withAppliance(configOfServer(), async ({ builder }) => {
      const token = await builder.hosts.add(hostOperator, name)
      process.stdout.write(`${token}\n`)
      process.stderr.write(
        `The token of the builder ${name}, shown this once: put it into the file that token_file in its builder.toml names.\n`,
      )
    })
  },
})

const remove = verb({
  name: 'remove',
  summary: 'ends its token; builds that it has begin anew elsewhere',
  arguments: { NAME: {} },
  options: { yes: yesOption },
  run: async ({ NAME: name }, { yes }) => {
    await withAppliance(configOfServer(), async ({ builder }) => {
      await requireYes(
        `The token of the builder ${name} ends, and builds that it has begin anew elsewhere.`,
        'Remove it?',
        yes,
      )
      const builds = await builder.hosts.remove(hostOperator, name)
      const rest =
        builds === 0 ? '' : ` ${builds} ${builds === 1 ? 'build' : 'builds'} of it will begin anew.`
      process.stdout.write(`Removed the builder ${name}.${rest}\n`)
    })
  },
})

const list = verb({
  name: 'list',
  summary: 'all builders, how they are, and what they have to do',
  options: { json: jsonOption },
  run: async (_words, { json }) => {
    await withAppliance(configOfServer(), async ({ builder, database }) => {
      const [builders, active] = await Promise.all([
        builder.builders.list('rows'),
        listActive(database),
      ])
      const all = builders.map((one) => ({
        name: one.name,
        executor: one.executor,
        archs: one.archs,
        slots: one.slots,
        running: active.filter((build) => build.builder === one.name).length,
        lastHeard: one.host?.heardAt ?? null,
        selfTest: selfTestOf(one),
        version: one.host?.version ?? '',
        unavailable: one.unavailable ?? null,
      }))
      if (json) {
        process.stdout.write(`${JSON.stringify(all, null, 2)}\n`)
        return
      }
      const rows = all.map((one) => [
        one.name,
        one.executor,
        one.archs.join(','),
        String(one.slots),
        String(one.running),
        one.lastHeard?.toISOString() ?? '-',
        one.selfTest,
        one.version || '-',
      ])
      const titles = [
        'Name',
        'Executor',
        'Archs',
        'Slots',
        'Running',
        'Heard',
        'Self-test',
        'Version',
      ]
      process.stdout.write(table([titles, ...rows]))
      for (const { unavailable } of all) {
        if (unavailable !== null) process.stdout.write(`\n${unavailable}\n`)
      }
    })
  },
})

/** Only builder hosts test themselves by the clock; any builder's walls may be found broken. */
function selfTestOf({ host, rest }: KnownBuilder): string {
  if (rest !== undefined) return 'FAILED'
  return host?.selfTestAt ? 'passed' : '-'
}

export const builderCommand: Command = {
  name: 'builder',
  summary: 'the builders of this site, and the hosts that build for it',
  verbs: [list, add, remove],
  notes:
    'A builder host runs berth-builder, with the token in a file of its own; builder.toml there says the rest. Other builders are in the configuration of the server, [[builder.builders]].',
}
