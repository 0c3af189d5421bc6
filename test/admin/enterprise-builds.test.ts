/** `singularity enterprise get builds` and `get build-agents` against a real server. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { sql } from '../../server/database.ts'
import { builderSettings, definitionOf, ended, stateIs, submit } from '../support/builds.ts'
import type { Client } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { assertDone, assertRefused, run } from './command.ts'
import type { Outcome } from './command.ts'

const directory = mkdtempSync(join(tmpdir(), 'berth-enterprise-builds-'))
after(() => rmSync(directory, { recursive: true, force: true }))
after(async () => {
  await alice.send('PUT', `/v1/build/${running}/_cancel`)
  await ended(alice, running)
})

const builder = builderSettings({}, { name: 'here', archs: ['amd64', 'arm64'], slots: 2 })
const server = await startServer({ after }, { settings: { builder } })
const [alice, bob] = [await server.user('alice'), await server.user('bob')]
const root = await server.user('root', { isAdmin: true })

const amd64 = { builderRequirements: { arch: 'amd64' } }
const named = { ...amd64, libraryRef: 'library://alice/tools/one:v1' }
const done = await submit(alice, definitionOf('image one'), named)
const built = await ended(alice, done)
const running = await submit(alice, definitionOf(`wait-for ${directory}/never`), amd64)
await stateIs(alice, running, 'running')
const old = await submit(bob, definitionOf('fail early'), amd64)
await ended(bob, old)
await server.db.query(sql`
  update builds set submitted_at = '2026-03-03T03:00:00Z', started_at = '2026-03-03T03:00:01Z',
    ended_at = '2026-03-03T03:00:05.5Z' where id = ${old}`)

let homes = 0
async function enterprise(client: Client | undefined, ...words: string[]): Promise<Outcome> {
  homes += 1
  const file = join(directory, `${homes}`, 'remote.yaml')
  const token = client?.credentials?.token
  const entry = [`    URI: ${server.url}`, ...(token === undefined ? [] : [`    Token: ${token}`])]
  mkdirSync(join(directory, `${homes}`))
  writeFileSync(file, ['Active: a', 'Remotes:', '  a:', ...entry, ''].join('\n'))
  const env = { SINGULARITY_CONFIGDIR: join(directory, `${homes}`), TZ: 'UTC' }
  return await run('berth-singularity', ['enterprise', ...words], { env })
}

test("one's own builds of the last day, in the plugin's columns", async () => {
  for (const noun of ['bld', 'build', 'builds']) {
    const listed = await enterprise(alice, 'get', noun)
    assertDone(listed)
    assert.match(
      listed.stderr,
      /^INFO: {4}Listing builds of user [0-9a-f]{24} in the last 24 hours\n$/,
    )
    const [head, first = '', second = '', ...rest] = listed.stdout.split('\n')
    assert.match(head ?? '', /^ID +CreatedBy IsComplete SubmitTime +CompleteTime +LibraryRef$/)
    const time = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? \+0000 UTC`
    const ephemeral = `library://alice/remote-builds/rb-${running}:latest`
    assert.match(first, new RegExp(`^${running} alice +false +${time} +${ephemeral} $`))
    assert.match(
      second,
      new RegExp(`^${done} alice +true +${time} +${time} +library://alice/tools/one:v1 +$`),
    )
    assert.deepEqual(rest, [''])
  }
})

test('single builds, the long table, csv, json and yaml', async () => {
  const long = await enterprise(root, 'get', 'bld', old, '-o', 'long')
  assertDone(long)
  const ref = `library://bob/remote-builds/rb-${old}:latest`
  const columns = [
    ['ID', old],
    ['CreatedBy', 'bob'],
    ['IsComplete', 'true'],
    ['SubmitTime', '2026-03-03 03:00:00 +0000 UTC'],
    ['StartTime', '2026-03-03 03:00:01 +0000 UTC'],
    ['CompleteTime', '2026-03-03 03:00:05.5 +0000 UTC'],
    ['LibraryRef', ref],
    ['LibraryURL', server.url],
    ['ImageSize', '0'],
  ].map(([title = '', cell = '']) => {
    const width = Math.max(title.length, cell.length)
    return [title.padEnd(width), cell.padEnd(width)]
  })
  const line = (row: number): string => columns.map((column) => column[row]).join(' ')
  assert.equal(long.stdout, `${line(0)} ImageChecksum\n${line(1)}  \n`)
  const csv = await enterprise(alice, 'get', 'bld', done, '-o', 'csv')
  assertDone(csv)
  const [, row = ''] = csv.stdout.split('\n')
  assert.ok(row.endsWith(`,${server.url},${built.imageSize},${built.imageChecksum}`), row)
  const json = JSON.parse((await enterprise(alice, 'get', 'bld', done, '--json')).stdout)
  assert.equal(json[0].createdBy, alice.credentials?.accountId, 'IDs are not translated')
  assert.equal(json[0].status, 'Complete')
  assert.deepEqual(Object.keys(json[0]), Object.keys(json[0]).toSorted())
  const yaml = await enterprise(alice, 'get', 'bld', done, '-o', 'yaml')
  assert.match(yaml.stdout, /^ {2}iscomplete: true$/m)
  const described = await enterprise(alice, 'describe', 'bld', done)
  assertDone(described)
  assert.match(described.stdout, new RegExp(`^Build: ${done}\n`))
  assert.match(described.stdout, /^ {2}Library Ref:\tlibrary:\/\/alice\/tools\/one:v1$/m)
})

test('--user, --all, --from and --to', async () => {
  const ids = async (client: Client, ...words: string[]): Promise<string[]> => {
    const listed = await enterprise(client, 'get', 'bld', '--json', ...words)
    assertDone(listed)
    return (JSON.parse(listed.stdout) as { id: string }[]).map(({ id }) => id)
  }
  assert.deepEqual(await ids(root), [])
  assert.deepEqual(await ids(root, '--all'), [running, done])
  assert.deepEqual(await ids(root, '--user', 'bob', '--from', '2026-01-01T00:00:00Z'), [old])
  assert.deepEqual(await ids(root, '--all', '--to', '2026-03-04T00:00:00+09:00'), [old])
  assert.deepEqual(await ids(alice, '--all'), [running, done], 'others stay out of sight')
  assert.deepEqual(await ids(bob), [], 'of the last day')
  const wrong = await enterprise(alice, 'get', 'bld', '--from', 'yesterday')
  assertRefusedBy(wrong, /\[400\].*is a time such as/)
})

test('no token, somebody else, and nothing of that ID', async () => {
  assertRefusedBy(await enterprise(undefined, 'get', 'bld'), /\[401\]/)
  const foreign = await enterprise(bob, 'get', 'bld', done)
  assertDone(foreign)
  assert.equal(foreign.stdout.split('\n').length, 2, 'the head alone')
  assert.match(foreign.stderr, /^WARNING: \[GET \/v1\/build\/[0-9a-f]{24}\]\[404\]/)
  assertRefusedBy(await enterprise(bob, 'describe', 'bld', done), /\[404\]/)
})

test('the builders, for administrators: one line for each slot, and its build', async () => {
  for (const words of [
    ['get', 'age'],
    ['get', 'build-agents', 'default'],
  ]) {
    const listed = await enterprise(root, ...words)
    assertDone(listed)
    const [head, ...rows] = listed.stdout.split('\n')
    assert.match(head ?? '', /^ID +Queue +AddedAt +TaskID$/)
    assert.match(rows[0] ?? '', new RegExp(`^[0-9a-f]{24} amd64,arm64 20.* UTC ${running} $`))
    assert.match(rows[1] ?? '', /^[0-9a-f]{24} amd64,arm64 20.* UTC +$/)
    assert.deepEqual(rows.slice(2), [''])
  }
  assertRefusedBy(await enterprise(alice, 'get', 'age'), /\[403\]/)
  assertRefusedBy(await enterprise(undefined, 'get', 'age'), /\[401\]/)
  assertRefusedBy(await enterprise(root, 'get', 'age', 'other'), /\[404\].*one pool/)
  assertRefused(await enterprise(root, 'get', 'age', 'a', 'b'), 2, /one pool of builders/)
  assertRefused(await enterprise(root, 'describe', 'age', 'default'), 2, /listed only/)
})

/** With a line of information before the refusal where a list was asked for. */
function assertRefusedBy(outcome: Outcome, why: RegExp): void {
  assert.equal(outcome.code, 1, outcome.stderr)
  assert.equal(outcome.stdout, '')
  assert.match(outcome.stderr, why)
}
