import { parseArgs } from 'node:util'

import { hostOperator } from '../../server/accounts/accounts.ts'
import { listActive } from '../../server/builds/build-rows.ts'
import type { KnownBuilder } from '../../server/builds/builders.ts'
import type { Command } from '../command.ts'
import { UsageError } from '../exit.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const help = `berthctl builder: the builders of this site, and the hosts that build for it

  berthctl builder list [--json]   all builders, how they are, and what they have to do
  berthctl builder add NAME        a new builder host; prints its token, once
  berthctl builder remove NAME     ends its token; builds that it has begin anew elsewhere

A builder host runs berth-builder, with the token in a file of its own; builder.toml there says the
rest. Other builders are in the configuration of the server, [[builder.builders]].
`

export const builderCommand: Command = {
  help,
  run: async ([verb, ...args]) => {
    if (verb === 'list') return await list(args)
    if (verb === 'add') return await add(args)
    if (verb === 'remove') return await remove(args)
    throw new UsageError('Say "builder list", "builder add NAME" or "builder remove NAME".')
  },
}

async function add(args: string[]): Promise<void> {
  const name = oneName(args)
  await withAppliance(configOfServer(), async ({ builder }) => {
    const token = await builder.hosts.add(hostOperator, name)
    process.stdout.write(`${token}\n`)
    process.stderr.write(
      `The token of the builder ${name}, shown this once: put it into the file that token_file in its builder.toml names.\n`,
    )
  })
}

async function remove(args: string[]): Promise<void> {
  const name = oneName(args)
  await withAppliance(configOfServer(), async ({ builder }) => {
    const builds = await builder.hosts.remove(hostOperator, name)
    const rest =
      builds === 0 ? '' : ` ${builds} ${builds === 1 ? 'build' : 'builds'} of it will begin anew.`
    process.stdout.write(`Removed the builder ${name}.${rest}\n`)
  })
}

async function list(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: { json: { type: 'boolean' } } })
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
    if (values.json === true) {
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
}

/** Only builder hosts test themselves by the clock; any builder's walls may be found broken. */
function selfTestOf({ host, rest }: KnownBuilder): string {
  if (rest !== undefined) return 'FAILED'
  return host?.selfTestAt ? 'passed' : '-'
}

function oneName(args: string[]): string {
  const { positionals } = parseArgs({ args, allowPositionals: true, options: {} })
  const [name, ...rest] = positionals
  if (name === undefined || rest.length > 0) throw new UsageError('Give the name of one builder.')
  return name
}
