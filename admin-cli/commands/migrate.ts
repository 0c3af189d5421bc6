import { parseArgs } from 'node:util'

import type { Database } from '../../server/database.ts'
import { migrate, migrationStates, refuse, stepBack } from '../../server/migrate.ts'
import type { MigrationState } from '../../server/migrate.ts'
import { berthVersion } from '../../server/version.ts'
import type { Command } from '../command.ts'
import { CommandError, UsageError } from '../exit.ts'
import { askYesOrNo } from '../question.ts'
import { table } from '../table.ts'
import { configOfServer, withDatabase } from '../with-appliance.ts'

const help = `berthctl migrate: the schema of the database

  berthctl migrate status [--json]     every migration: applied when, pending, or of a newer Berth
  berthctl migrate --plan [--json]     what an upgrade would apply; changes nothing
  berthctl migrate [--json]            applies it, as the server does when it starts
  berthctl migrate back LAST [--yes]   before an older Berth is started that refuses this schema: LAST
                                       is the name of its last migration, such as 0007-builds.sql

There is no way down. A migration marked "adds" leaves everything in place for the release before, which
then runs on the new schema: going back is starting the old program. "back" is for programs from before
this rule; the next start of the newer one takes its word back. A migration marked "changes" has no way
back but the backup from before the upgrade.

Exit status 1 when this Berth would refuse the database.
`

export const migrateCommand: Command = {
  help,
  run: async (args) => {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        plan: { type: 'boolean' },
        json: { type: 'boolean' },
        yes: { type: 'boolean' },
      },
    })
    await withDatabase(configOfServer(), workOf(positionals, values))
  },
}

type Work = (database: Database) => Promise<void>

function workOf(
  [verb, last, ...rest]: readonly string[],
  values: { readonly plan?: boolean; readonly json?: boolean; readonly yes?: boolean },
): Work {
  const isJson = values.json === true
  if (verb === undefined) return values.plan === true ? plan(isJson) : apply(isJson)
  if (verb === 'status' && last === undefined) return status(isJson)
  if (verb === 'back' && last !== undefined && rest.length === 0) {
    return back(last, values.yes === true)
  }
  throw new UsageError('Say "migrate", "migrate --plan", "migrate status" or "migrate back LAST".')
}

function status(isJson: boolean): Work {
  return async (database) => {
    const states = await migrationStates(database)
    if (states.some(({ state }) => state === 'changed' || state === 'too-new')) process.exitCode = 1
    if (isJson) {
      print({ version: berthVersion, migrations: states })
      return
    }
    const rows = states.map(({ name, state, expands, checksum, appliedAt }) => [
      name,
      expands ? 'adds' : 'changes',
      state,
      appliedAt?.toISOString() ?? '-',
      checksum.slice(0, 12),
    ])
    process.stdout.write(table([['Migration', 'Kind', 'State', 'Applied', 'SHA-256'], ...rows]))
  }
}

function plan(isJson: boolean): Work {
  return async (database) => {
    const states = await migrationStates(database)
    refuse(states)
    const pending = states.filter(({ state }) => state === 'pending')
    if (isJson) {
      const steps = pending.map(({ name, expands }) => ({ name, expands }))
      print({ version: berthVersion, pending: steps })
      return
    }
    if (pending.length === 0) {
      process.stdout.write('Nothing to do: the schema is that of this Berth.\n')
      return
    }
    for (const { name, expands } of pending) {
      const kind = expands ? 'adds; the release before runs on it' : 'changes'
      process.stdout.write(`${name}: ${kind}\n`)
    }
    process.stdout.write(wayBack(pending, states))
  }
}

function apply(isJson: boolean): Work {
  return async (database) => {
    const began = Date.now()
    const applied = await migrate(database)
    const seconds = (Date.now() - began) / 1000
    if (isJson) print({ applied, seconds })
    else if (applied.length === 0) process.stdout.write('Nothing to do.\n')
    else process.stdout.write(`Applied ${applied.join(', ')} in ${seconds.toFixed(1)} s.\n`)
  }
}

function back(last: string, yes: boolean): Work {
  return async (database) => {
    const states = await migrationStates(database)
    const later = states.filter(({ name, appliedAt }) => appliedAt !== null && name > last)
    const names = later.map(({ name }) => name).join(', ')
    if (later.length > 0 && !yes) {
      const question = `Put ${names} aside for an older Berth? The server must be stopped.`
      const answer = await askYesOrNo(question)
      if (answer === undefined) {
        throw new CommandError(`This would put ${names} aside: say --yes to do it.`)
      }
      if (!answer) return
    }
    const aside = await stepBack(database, last)
    process.stdout.write(
      aside.length === 0
        ? `Nothing to do: ${last} is the last one.\n`
        : `Put aside: ${aside.join(', ')}. Start the older Berth now.\n`,
    )
  }
}

function wayBack(pending: readonly MigrationState[], states: readonly MigrationState[]): string {
  if (pending.some(({ expands }) => !expands)) {
    return 'There is no way back but a backup: make one before (berthctl backup create).\n'
  }
  const last = states.findLast(({ state }) => state === 'applied')?.name
  if (last === undefined) return ''
  return `The way back: start the older Berth; where it refuses, berthctl migrate back ${last} first.\n`
}

function print(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}
