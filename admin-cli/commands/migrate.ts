import type { Database } from '../../server/database.ts'
import { migrate, migrationStates, refuse, stepBack } from '../../server/migrate.ts'
import type { MigrationState } from '../../server/migrate.ts'
import { berthVersion } from '../../server/version.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { requireYes, yesOption } from '../confirmation.ts'
import { jsonOption, printJson } from '../json-option.ts'
import { table } from '../table.ts'
import { configOfServer, withDatabase } from '../with-appliance.ts'

type Work = (database: Database) => Promise<void>

const go = verb({
  name: '',
  summary: 'applies what is pending, as the server does when it starts',
  options: {
    plan: { type: 'boolean', summary: 'says what it would apply; changes nothing' },
    json: jsonOption,
  },
  run: async (_words, values) => {
    await withDatabase(configOfServer(), values.plan ? plan(values.json) : apply(values.json))
  },
})

const look = verb({
  name: 'status',
  summary: 'every migration: applied when, pending, or of a newer Berth',
  options: { json: jsonOption },
  notes: 'Exit status 1 when this Berth would refuse the database.',
  run: async (_words, { json }) => await withDatabase(configOfServer(), status(json)),
})

const goBack = verb({
  name: 'back',
  summary: 'before an older Berth is started that refuses this schema',
  arguments: { LAST: { summary: 'its last migration, such as 0007-builds.sql' } },
  options: { yes: yesOption },
  run: async ({ LAST: last }, { yes }) => await withDatabase(configOfServer(), back(last, yes)),
})

function status(isJson: boolean): Work {
  return async (database) => {
    const states = await migrationStates(database)
    if (states.some(({ state }) => state === 'changed' || state === 'too-new')) process.exitCode = 1
    if (isJson) {
      printJson({ version: berthVersion, migrations: states })
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
      printJson({ version: berthVersion, pending: steps })
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
    if (isJson) printJson({ applied, seconds })
    else if (applied.length === 0) process.stdout.write('Nothing to do.\n')
    else process.stdout.write(`Applied ${applied.join(', ')} in ${seconds.toFixed(1)} s.\n`)
  }
}

function back(last: string, yes: boolean): Work {
  return async (database) => {
    const states = await migrationStates(database)
    const later = states.filter(({ name, appliedAt }) => appliedAt !== null && name > last)
    const names = later.map(({ name }) => name).join(', ')
    if (later.length > 0) {
      const consequence = `This puts ${names} aside for an older Berth. The server must be stopped.`
      await requireYes(consequence, 'Put aside?', yes)
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

export const migrateCommand: Command = {
  name: 'migrate',
  summary: 'the schema of the database',
  verbs: [go, look, goBack],
  notes:
    'There is no way down. A migration marked "adds" leaves everything in place for the release before, which then runs on the new schema: going back is starting the old program. "back" is for programs from before this rule; the next start of the newer one takes its word back. A migration marked "changes" has no way back but the backup from before the upgrade.',
}
