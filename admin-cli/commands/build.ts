import { setTimeout as delay } from 'node:timers/promises'

import { findAccount } from '../../server/accounts/accounts.ts'
import type { Appliance } from '../../server/appliance.ts'
import type { BuildRow, BuildState } from '../../server/builds/build-rows.ts'
import type { Place } from '../../server/builds/builds.ts'
import { referenceOf } from '../../server/builds/target.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { requireYes, yesOption } from '../confirmation.ts'
import { CommandError, UsageError } from '../exit.ts'
import { jsonOption, printJson } from '../json-option.ts'
import { countOf, timeOf } from '../list-options.ts'
import { hostOperator } from '../operator.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const open: readonly BuildState[] = ['queued', 'starting', 'running']
const states: Readonly<Record<string, readonly BuildState[]>> = {
  open,
  queued: ['queued'],
  starting: ['starting'],
  running: ['running'],
  succeeded: ['succeeded'],
  failed: ['failed'],
  cancelled: ['cancelled'],
}
const usualLines = 100
/** More than an account may have in the queue and at work. */
const maxOpen = 20_000
const pieceBytes = 1 << 18
/** What a builder has to end a running build, and a little more. */
const patienceMs = 20_000

const list = verb({
  name: 'list',
  summary: 'the newest first; what waits says for what',
  options: {
    account: { type: 'string', value: 'NAME', summary: 'of one account', complete: 'account' },
    state: {
      type: 'string',
      value: 'STATE',
      summary:
        'queued, starting, running, succeeded, failed or cancelled, or open for the first three',
      complete: Object.keys(states),
    },
    since: {
      type: 'string',
      value: 'TIME',
      summary: 'from this time on: 2026-11-21, 2026-11-21T08:00:00Z, or 2h, 7d',
    },
    limit: { type: 'string', value: 'N', summary: 'the newest N (default 100)' },
    json: jsonOption,
  },
  run: async (_words, values) => {
    const wanted = values.state === undefined ? null : statesNamed(values.state)
    const from = values.since === undefined ? null : timeOf(values.since)
    const limit = values.limit === undefined ? usualLines : countOf(values.limit)
    await withAppliance(configOfServer(), async (appliance) => {
      const { builds } = appliance.builder
      const accountId = await accountIdOf(appliance, values.account)
      const filter = { accountId, from, to: null, includeDeleted: false, states: wanted }
      const rows = await builds.list(hostOperator, filter, limit)
      const shown = []
      for (const row of rows) shown.push(buildJson(row, await builds.place(row, hostOperator)))
      if (values.json) return printJson(shown)
      const head = ['ID', 'Account', 'State', 'Arch', 'Builder', 'Submitted', 'Took', 'Place']
      const lines = shown.map((build) => [
        build.id,
        build.account,
        build.state,
        build.arch,
        build.builder,
        build.submittedAt.slice(0, 16),
        took(build.seconds),
        build.place === null ? '' : `${build.place.position}/${build.place.waiting}`,
        build.place?.reason ?? build.reason,
      ])
      process.stdout.write(table([[...head, 'Reason'], ...lines]))
    })
  },
})

const show = verb({
  name: 'show',
  summary: 'all about one, with its definition file',
  arguments: { ID: {} },
  options: { json: jsonOption },
  run: async ({ ID: id }, { json }) => {
    await withAppliance(configOfServer(), async ({ builder: { builds } }) => {
      const row = await builds.find(hostOperator, id)
      const build = buildJson(row, await builds.place(row, hostOperator))
      if (json) return printJson({ ...build, definition: row.definition })
      const { place } = build
      const facts = [
        ['Build', build.id],
        ['Account', build.account],
        ['State', build.state],
        ['Reason', build.reason],
        ['Place', place === null ? '' : `${place.position} of ${place.waiting}, ${place.reason}`],
        ['Architecture', build.arch],
        ['Builder', build.builder],
        ['Job', build.job],
        ['Attempts', String(build.attempts)],
        ['Submitted', build.submittedAt],
        ['Started', build.startedAt ?? ''],
        ['Ended', build.endedAt ?? ''],
        ['Image', build.image],
        ['Size', build.imageBytes === null ? '' : `${build.imageBytes} bytes`],
        ['Hash', build.imageDigest ?? ''],
        ['Output', `${build.outputBytes} bytes`],
      ].filter(([, value]) => value !== '')
      process.stdout.write(`${table(facts)}\n${legible(row.definition)}`)
    })
  },
})

const output = verb({
  name: 'output',
  summary: 'what it has printed so far',
  arguments: { ID: {} },
  run: async ({ ID: id }) => {
    await withAppliance(configOfServer(), async ({ builder: { builds, output: texts } }) => {
      const { outputBytes: end } = await builds.find(hostOperator, id)
      for (let position = 0; position < end;) {
        const piece = await texts.read(id, position, end, pieceBytes)
        if (piece.length === 0) break
        position += piece.length
        process.stdout.write(process.stdout.isTTY ? legible(piece.toString()) : piece)
      }
    })
  },
})

const cancel = verb({
  name: 'cancel',
  summary: 'ends builds, and says why in their output',
  arguments: { ID: { optional: true, repeated: true } },
  options: {
    account: {
      type: 'string',
      value: 'NAME',
      summary: 'all of an account instead',
      complete: 'account',
    },
    yes: yesOption,
  },
  run: async ({ ID: ids }, values) => {
    if ((values.account === undefined) === (ids.length === 0)) {
      throw new UsageError('Give the IDs of builds, or --account NAME for all of an account.')
    }
    await withAppliance(configOfServer(), async (appliance) => {
      const chosen = await chosenBuilds(appliance, values.account, ids)
      const ended = chosen.filter(({ endedAt }) => endedAt !== null)
      for (const { id, state } of ended) process.stdout.write(`Build ${id} has ended: ${state}.\n`)
      const rest = chosen.filter(({ endedAt }) => endedAt === null)
      if (rest.length === 0) {
        if (values.account !== undefined) process.stdout.write(`${values.account} has no build.\n`)
        return
      }
      await requireYes(consequenceOf(rest), 'Cancel?', values.yes)
      const { builds } = appliance.builder
      for (const { id } of rest) await builds.cancel(hostOperator, id)
      for (const { id } of rest) {
        const what = (await endsSoon(appliance, id))
          ? 'was cancelled'
          : 'is asked to end, and does as soon as Berth runs'
        process.stdout.write(`Build ${id} ${what}.\n`)
      }
    })
  },
})

async function chosenBuilds(
  appliance: Appliance,
  account: string | undefined,
  ids: readonly string[],
): Promise<BuildRow[]> {
  const { builds } = appliance.builder
  if (account === undefined) {
    const rows = []
    for (const id of ids) rows.push(await builds.find(hostOperator, id))
    return rows
  }
  const accountId = await accountIdOf(appliance, account)
  const filter = { accountId, from: null, to: null, includeDeleted: false, states: open }
  return await builds.list(hostOperator, filter, maxOpen)
}

function consequenceOf(builds: readonly BuildRow[]): string {
  const owners = [...new Set(builds.map(({ accountName }) => accountName))].join(', ')
  const what = builds.length === 1 ? `The build ${builds[0]?.id}` : `${builds.length} builds`
  return `${what} of ${owners} will end without an image.`
}

/** False where no server does it within that time. */
async function endsSoon({ builder: { builds } }: Appliance, id: string): Promise<boolean> {
  const deadline = performance.now() + patienceMs
  for (;;) {
    if ((await builds.find(hostOperator, id)).endedAt !== null) return true
    if (performance.now() > deadline) return false
    await delay(200)
  }
}

/** Null: everybody's. */
async function accountIdOf(
  { database }: Appliance,
  name: string | undefined,
): Promise<string | null> {
  if (name === undefined) return null
  const account = await findAccount(database, name)
  if (account === undefined) throw new CommandError(`There is no account "${name}".`)
  return account.id
}

function statesNamed(name: string): readonly BuildState[] {
  const found = Object.hasOwn(states, name) ? states[name] : undefined
  if (found !== undefined) return found
  throw new UsageError(`"${name}" is no state: ${Object.keys(states).join(', ')}.`)
}

interface BuildJson {
  readonly id: string
  readonly account: string
  readonly state: BuildState
  readonly reason: string
  readonly place: Place | null
  readonly arch: string
  readonly builder: string
  /** What the builder calls it. */
  readonly job: string
  readonly attempts: number
  readonly submittedAt: string
  readonly startedAt: string | null
  readonly endedAt: string | null
  /** From its start to its end, or until now; null before. */
  readonly seconds: number | null
  readonly image: string
  readonly imageBytes: number | null
  readonly imageDigest: string | null
  readonly outputBytes: number
}

function buildJson(row: BuildRow, place: Place | undefined): BuildJson {
  const { startedAt, endedAt } = row
  const until = endedAt ?? new Date()
  return {
    id: row.id,
    account: row.accountName,
    state: row.state,
    reason: row.reason,
    place: place ?? null,
    arch: row.arch,
    builder: row.builder ?? '',
    job: row.handle ?? '',
    attempts: row.attempts,
    submittedAt: row.submittedAt.toISOString(),
    startedAt: startedAt?.toISOString() ?? null,
    endedAt: endedAt?.toISOString() ?? null,
    seconds: startedAt === null ? null : Math.round((until.getTime() - startedAt.getTime()) / 1000),
    image: referenceOf(row),
    imageBytes: row.imageBytes,
    imageDigest: row.imageDigest,
    outputBytes: row.outputBytes,
  }
}

function took(seconds: number | null): string {
  if (seconds === null) return ''
  const minutes = Math.floor(seconds / 60)
  return minutes === 0 ? `${seconds}s` : `${minutes}m${String(seconds % 60).padStart(2, '0')}s`
}

/** Lines of somebody else's making: nothing in them moves the cursor of a terminal. */
function legible(text: string): string {
  return text.replaceAll(/[^\P{Cc}\n\t]/gu, '?')
}

export const buildCommand: Command = {
  name: 'build',
  summary: 'the builds of the remote builder',
  verbs: [list, show, output, cancel],
}
