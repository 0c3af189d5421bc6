/** berthctl quota on a running server: the next push goes by it. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { replaceMemberships } from '../../server/accounts/groups.ts'
import { sql } from '../../server/database.ts'
import { assertProblem } from '../support/client.ts'
import { assertLedger, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { assertDone, assertRefused } from './command.ts'
import { controlOf } from './control.ts'

const settings = {
  quota: { default: '2 MiB' },
  groups: { spaces: ['climate'], quotas: { climate: '3 MiB' } },
}
const server = await startServer({ after }, { settings })
const { berthctl, json } = controlOf(
  { after },
  server,
  '[quota]\ndefault = "2 MiB"\n[groups]\nspaces = ["climate"]\n[groups.quotas]\nclimate = "3 MiB"\n',
)

const sized = (seed: string, bytes: number): Buffer => makeSif({ seed, payload: bytes })

interface QuotaJson {
  readonly space: string
  readonly quotaBytes: number
  readonly ownQuotaBytes: number | null
  readonly usedBytes: number
}

test('below what is stored only deletes and pulls work, until it fits again', async () => {
  const alice = await server.user('alice')
  const [one, two] = [sized('one', 600_000), sized('two', 600_000)]
  assert.equal((await alice.push('alice/demo/one', 'v1', one)).status, 200)
  assert.equal((await alice.push('alice/demo/two', 'v1', two)).status, 200)

  const set = await berthctl('quota', 'set', 'alice', '700KiB')
  assertDone(set)
  assert.match(
    set.stdout,
    /^alice may hold 700\.00 KiB, and holds 1\.\d+ MiB\. That is too much: it takes no push/,
  )
  const refused = await alice.push('alice/demo/three', 'v1', sized('three', 1000))
  assertProblem(refused, 403, /quota exceeded: .* of 700\.00 KiB/)
  const pulled = await alice.get('/v1/imagefile/alice/demo/one:v1')
  assert.equal(pulled.status, 200)
  assert.equal((await alice.delete('/v1/images/alice/demo/two:v1?arch=amd64')).status, 200)
  assert.equal((await alice.push('alice/demo/three', 'v1', sized('three', 1000))).status, 200)

  const shown = await json<QuotaJson>('quota', 'show', 'alice')
  assert.equal(shown.quotaBytes, 700 * 1024)
  assert.equal(shown.ownQuotaBytes, 700 * 1024)
  assertDone(await berthctl('quota', 'reset', 'alice'))
  const back = await json<QuotaJson>('quota', 'show', 'alice')
  assert.deepEqual([back.quotaBytes, back.ownQuotaBytes], [2 * 2 ** 20, null])
  await assertLedger(server.db)
})

test("the site's default holds before the configuration's, at once, for all without their own", async () => {
  const bob = await server.user('bob')
  assertDone(await berthctl('quota', 'set', '--default', '0'))
  assertProblem(await bob.push('bob/demo/tool', 'v1', sized('bob', 1000)), 403, /of 0 B/)
  assertDone(await berthctl('quota', 'set', 'bob', '1.5MiB'))
  assert.equal((await bob.push('bob/demo/tool', 'v1', sized('bob', 1000))).status, 200)
  // Before the first push there is no space, and the default waits.
  await server.user('carol')
  assert.equal((await json<QuotaJson>('quota', 'show', 'carol')).quotaBytes, 0)
  const { default: usual } = await json<{ default: object }>('quota', 'list')
  assert.deepEqual(usual, { bytes: 0, configuredBytes: 2 * 2 ** 20, setBytes: 0 })
  const listed = await berthctl('quota', 'list')
  assert.match(listed.stdout, /^default: 0 B \(berthctl quota set --default\)\n\nSpace +Kind /)
  assert.match(listed.stdout, /^bob +user +1\.50 MiB +yes /m)

  const reset = await berthctl('quota', 'reset', '--default')
  assert.equal(reset.stdout, 'The default is that of the configuration: 2.00 MiB.\n')
  assert.equal((await json<QuotaJson>('quota', 'show', 'carol')).quotaBytes, 2 * 2 ** 20)
})

test('the space of a group is set before its first push, and reset to what [groups] says', async () => {
  const ann = await server.user('ann')
  const { database } = server.appliance
  await database.transaction(
    async (tx) =>
      await replaceMemberships(tx, ann.credentials?.accountId ?? '', ['climate', 'users']),
  )
  assertDone(await berthctl('quota', 'set', 'group:climate', '4MiB'))
  const set = await json<QuotaJson>('quota', 'show', 'group:climate')
  assert.equal(set.quotaBytes, 4 * 2 ** 20)
  assert.equal((await ann.push('climate/demo/tool', 'v1', sized('group', 1000))).status, 200)
  const reset = await berthctl('quota', 'reset', 'group:climate')
  assert.equal(reset.stdout, 'climate may hold 3.00 MiB again.\n')
  assertRefused(await berthctl('quota', 'set', 'group:users', '1GiB'), 1, /"users" has no space/)
  assertRefused(await berthctl('quota', 'set', 'group:none', '1GiB'), 1, /no group "none" here/)
})

test('each change is in the audit log with what it was before', async () => {
  await server.user('dora')
  assertDone(await berthctl('quota', 'set', 'dora', '1GiB'))
  assertDone(await berthctl('quota', 'set', 'dora', '2GiB'))
  const rows = await server.db.query<{ who: string; details: object }>(sql`
    select account_name as "who", details from audit
    where action = 'quota.set' and target = 'dora' order by id`)
  assert.deepEqual(
    rows.map(({ details }) => details),
    [
      { quotaBytes: 2 ** 30, before: null },
      { quotaBytes: 2 ** 31, before: 2 ** 30 },
    ],
  )
  for (const { who } of rows) assert.match(who, /^\S+@host$/)
})

const misuses: readonly (readonly [string, 1 | 2, RegExp])[] = [
  ['set', 2, /Say "quota set NAME SIZE"/],
  ['set alice', 2, /Say "quota set NAME SIZE"/],
  ['set alice much', 2, /"much" is not a size: try 200GiB/],
  ['set alice -5', 2, /Unknown option '-5'/],
  ['set alice 1PB', 2, /"1PB" is not a size/],
  ['set --default alice 1GiB', 2, /Say "quota set NAME SIZE"/],
  ['reset', 2, /Say "quota reset NAME"/],
  ['reset alice --default', 2, /Say "quota reset NAME"/],
  ['set nobody 1GiB', 1, /no space and no account "nobody"/],
  ['show nobody', 1, /no space and no account "nobody"/],
]
for (const [words, code, why] of misuses) {
  test(`"quota ${words}" is refused`, async () => {
    assertRefused(await berthctl('quota', ...words.split(' ')), code, why)
  })
}
