/** berthctl build on the database of a running server, whose runner is the stand-in. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { stringify } from 'smol-toml'

import { sql } from '../../server/database.ts'
import {
  builderSettings,
  definitionOf,
  ended,
  follow,
  outputOf,
  stateIs,
  submit,
} from '../support/builds.ts'
import { eventually, startServer } from '../support/server.ts'
import { openTerminal, withoutTerminal } from '../support/terminal.ts'
import { assertDone, assertRefused, pathOf, run } from './command.ts'
import type { Outcome } from './command.ts'

const builder = builderSettings({ running_per_user: 1 }, { slots: 2 })
const server = await startServer({ after }, { settings: { builder } })
const directory = mkdtempSync(join(tmpdir(), 'berth-build-ctl-'))
after(() => rmSync(directory, { recursive: true, force: true }))
const file = join(directory, 'berth.toml')
writeFileSync(
  file,
  stringify({
    data_dir: server.dataDir,
    database: { url: server.appliance.config.database?.url ?? '' },
    builder,
  }),
)
const never = join(directory, 'never')

async function berthctl(...words: readonly string[]): Promise<Outcome> {
  return await run('berthctl', ['build', ...words], { env: { BERTH_CONFIG: file } })
}

interface BuildJson {
  readonly id: string
  readonly account: string
  readonly state: string
  readonly reason: string
  readonly place: { position: number; waiting: number; reason: string } | null
  readonly definition?: string
  readonly seconds: number | null
}

async function listed(...words: readonly string[]): Promise<BuildJson[]> {
  const outcome = await berthctl('list', '--json', ...words)
  assertDone(outcome)
  return JSON.parse(outcome.stdout) as BuildJson[]
}

test('the list: everybody, by account and state, and what the waiting ones wait for', async () => {
  const [alice, bob] = [await server.user('alice'), await server.user('bob')]
  const failed = await submit(bob, definitionOf('print \u001b[2Jred', 'fail on purpose'))
  await ended(bob, failed)
  const running = await submit(alice, definitionOf(`wait-for ${never}`))
  await stateIs(alice, running, 'running')
  const waiting = await submit(alice, definitionOf('image x'))

  const table = await berthctl('list', '--account', 'alice')
  assertDone(table)
  const [head = '', first = '', second = '', ...rest] = table.stdout.split('\n')
  assert.match(head, /^ID +Account +State +Arch +Builder +Submitted +Took +Place +Reason$/)
  assert.match(
    first,
    new RegExp(
      `^${waiting} alice +queued +amd64 .*1/1 +alice has 1 running build, and 1 is the limit$`,
    ),
  )
  assert.match(second, new RegExp(`^${running} alice +running +amd64 +here .*\\ds *$`))
  assert.deepEqual(rest, [''])

  const ids = async (...words: string[]): Promise<string[]> =>
    (await listed(...words)).map(({ id }) => id)
  assert.deepEqual(await ids(), [waiting, running, failed])
  assert.deepEqual(await ids('--state', 'open'), [waiting, running])
  assert.deepEqual(await ids('--state', 'failed'), [failed])
  assert.deepEqual(await ids('--state', 'failed', '--account', 'alice'), [])
  assert.deepEqual(await ids('--limit', '1'), [waiting])
  assert.deepEqual(await ids('--since', '1h', '--account', 'bob'), [failed])
  assert.deepEqual(await ids('--since', '2100-01-01'), [])
  const [one] = await listed('--state', 'failed')
  assert.deepEqual([one?.reason, one?.place], ['on purpose', null])

  const shown = await berthctl('show', waiting)
  assertDone(shown)
  assert.match(shown.stdout, /^Place +1 of 1, alice has 1 running build, and 1 is the limit$/m)
  assert.match(shown.stdout, /^Image +library:\/\/alice\/remote-builds\/rb-/m)
  assert.match(shown.stdout, /\n\nBootstrap: scratch\n/)
  const json = JSON.parse((await berthctl('show', failed, '--json')).stdout) as BuildJson
  assert.deepEqual([json.id, json.account, json.state], [failed, 'bob', 'failed'])
  assert.match(json.definition ?? '', /^Bootstrap: scratch/)
  const output = await berthctl('output', failed)
  assert.equal(output.stdout, '\u001b[2Jred\nBuild failed: on purpose\n', 'bytes as they came')

  assertDone(await berthctl('cancel', '--account', 'alice', '--yes'))
  assert.deepEqual(await ids('--state', 'open'), [])
})

test('cancel asks or takes --yes, ends what runs and what waits, and is in the audit log', async () => {
  const carol = await server.user('carol')
  const running = await submit(carol, definitionOf(`wait-for ${never}`))
  await stateIs(carol, running, 'running')
  const waiting = await submit(carol, definitionOf('image x'))
  const following = follow(carol, running)
  assertRefused(
    await berthctl('cancel', running),
    1,
    new RegExp(`The build ${running} of carol will end without an image\\. Add --yes`),
  )
  assertRefused(
    await berthctl('cancel', '--account', 'carol'),
    1,
    /2 builds of carol will end without an image/,
  )
  await stateIs(carol, running, 'running')

  const done = await berthctl('cancel', running, waiting, '--yes')
  assertDone(done)
  assert.equal(done.stdout, `Build ${running} was cancelled.\nBuild ${waiting} was cancelled.\n`)
  const reason = 'cancelled by the administrator root@host'
  const followed = await following
  assert.equal(followed.code, 1000)
  assert.ok(followed.text.endsWith(`Build cancelled: ${reason}\n`), followed.text)
  assert.ok((await outputOf(carol, waiting)).endsWith(`Build cancelled: ${reason}\n`))
  for (const id of [running, waiting]) {
    assert.equal((await ended(carol, id)).reason, reason)
    const rows = await server.db.query<{ who: string }>(sql`
      select account_name as "who" from audit where action = 'build.cancel' and target = ${id}`)
    assert.deepEqual(rows, [{ who: 'root@host' }])
  }
  const again = await berthctl('cancel', running)
  assertDone(again)
  assert.equal(again.stdout, `Build ${running} has ended: cancelled.\n`)
  const none = await berthctl('cancel', '--account', 'carol')
  assert.equal(none.stdout, 'carol has no build.\n')
})

test('on a terminal it asks, and only "y" cancels', { skip: withoutTerminal }, async (t) => {
  const dave = await server.user('dave')
  const id = await submit(dave, definitionOf(`wait-for ${never}`))
  await stateIs(dave, id, 'running')
  const env = { BERTH_CONFIG: file, HOME: '/nonexistent' }
  const refused = openTerminal(t, `${pathOf('berthctl')} build cancel ${id}`, env)
  await refused.see('Cancel? [y/N]')
  refused.type('\r')
  await refused.see('Nothing was changed.')
  assert.equal(await refused.closed, 1)
  await stateIs(dave, id, 'running')
  const agreed = openTerminal(t, `${pathOf('berthctl')} build cancel ${id}`, env)
  await agreed.see('Cancel? [y/N]')
  agreed.type('y\r')
  await agreed.see('was cancelled')
  assert.equal(await agreed.closed, 0)
  await eventually(async () => (await ended(dave, id)).state === 'cancelled', 'it has ended')
})

test('what is not there', async () => {
  const none = '0'.repeat(24)
  for (const words of [
    ['show', none],
    ['output', none],
    ['cancel', none, '--yes'],
  ]) {
    assertRefused(await berthctl(...words), 1, /no build 0{24}/)
  }
  for (const verb of ['list', 'cancel']) {
    assertRefused(await berthctl(verb, '--account', 'nobody'), 1, /no account "nobody"/)
  }
})

const misuses: readonly (readonly [string, RegExp])[] = [
  ['', /Say what to do: list, show, output, cancel/],
  ['stop', /Say what to do: list/],
  ['list --state done', /"done" is no state: open, queued/],
  ['list --since yesterday', /not a time/],
  ['list --limit many', /not a number of lines/],
  ['list alice', /Unexpected argument 'alice'/],
  ['show', /Say "berthctl build show ID/],
  ['output a b', /Say "berthctl build output ID/],
  ['cancel', /Give the IDs of builds, or --account/],
  ['cancel a --account alice', /Give the IDs of builds, or --account/],
]
for (const [words, why] of misuses) {
  test(`"build ${words}" is refused before anything is opened`, async () => {
    assertRefused(await berthctl(...words.split(' ').filter(Boolean)), 2, why)
  })
}
