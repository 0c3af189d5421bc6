/** berthctl image, repository and usage on a running server. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { sql } from '../../server/database.ts'
import { emptyConfig, imageManifest, pushManifest } from '../support/oci-push.ts'
import { assertLedger, eventually, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { openTerminal, withoutTerminal } from '../support/terminal.ts'
import { assertDone, assertRefused, pathOf } from './command.ts'
import { controlOf } from './control.ts'

const server = await startServer({ after })
const { berthctl, json, file } = controlOf({ after }, server)
const alice = await server.user('alice')
const bob = await server.user('bob')
const shared = makeSif({ seed: 'shared', payload: 400_000 })
const small = makeSif({ seed: 'small' })
await alice.push('alice/demo/large', 'v1', shared)
await alice.push('alice/demo/small', 'v1', small)
await bob.push('bob/demo/copy', 'v1', shared)
await bob.push('bob/demo/old', 'v1', makeSif({ seed: 'old' }))
await server.db.query(sql`
  update images i set uploaded_at = now() - interval '100 days'
  from repositories r where r.id = i.repository_id and r.path = 'bob/demo/old'`)
assert.equal((await alice.get('/v1/imagefile/alice/demo/large:v1')).status, 200)
await eventually(
  async () => (await json<ImageJson[]>('image', 'list')).some(({ pulledAt }) => pulledAt !== null),
  'the pull is counted',
)

interface ImageJson {
  readonly path: string
  readonly digest: string
  readonly pulledAt: string | null
  readonly tags: readonly string[]
  readonly sizeBytes: number
}

const filters: readonly (readonly [string, readonly string[]])[] = [
  ['', ['alice/demo/large', 'alice/demo/small', 'bob/demo/copy', 'bob/demo/old']],
  ['--owner alice', ['alice/demo/large', 'alice/demo/small']],
  ['--space bob', ['bob/demo/copy', 'bob/demo/old']],
  ['--repository bob/demo/copy', ['bob/demo/copy']],
  ['--older 90d', ['bob/demo/old']],
  ['--larger 300KiB', ['alice/demo/large', 'bob/demo/copy']],
  ['--never-pulled --larger 300KiB', ['bob/demo/copy']],
  ['--unsigned --owner bob', ['bob/demo/copy', 'bob/demo/old']],
  ['--oldest --limit 1', ['bob/demo/old']],
  ['--largest --limit 2', ['alice/demo/large', 'bob/demo/copy']],
  ['--owner nobody', []],
]
for (const [words, paths] of filters) {
  test(`image list ${words}`, async () => {
    const found = await json<ImageJson[]>('image', 'list', ...words.split(' ').filter(Boolean))
    assert.deepEqual(
      found.map(({ path }) => path),
      paths,
    )
  })
}

test('the list is a table for people, and an image is shown with all that is known', async () => {
  const listed = await berthctl('image', 'list', '--owner', 'alice')
  assertDone(listed)
  assert.match(listed.stdout, /^Container +Tags +Arch +Size +Came +Pulled +Signatures +Hash\n/)
  assert.match(listed.stdout, /\nalice\/demo\/small +v1 +amd64 +\S+ [KM]iB +\S+ +never +un/)
  assert.match(listed.stdout, /\n\n2 images of .*iB\.\n$/)
  const shown = await berthctl('image', 'show', 'library://alice/demo/small:v1')
  assertDone(shown)
  assert.match(shown.stdout, /^Container +alice\/demo\/small\nTags +v1\nHash +sha256:/)
  const { digest } = await json<ImageJson>('image', 'show', 'alice/demo/small:v1')
  const byHash = await json<ImageJson>('image', 'show', `alice/demo/small@${digest}`)
  assert.equal(byHash.digest, digest)
  assertRefused(await berthctl('image', 'show', 'alice/demo/none:v1'), 1, /no such image/)
  assertRefused(await berthctl('image', 'show', 'Not A Path'), 1, /not a valid|not a tag/)
})

test('a container is shown with its images, and containers are listed by size', async () => {
  const [first] = await json<{ path: string; images: number }[]>(
    'repository',
    'list',
    '--largest',
    '--limit',
    '1',
  )
  assert.deepEqual([first?.path, first?.images], ['alice/demo/large', 1])
  const shown = await berthctl('repository', 'show', 'alice/demo/large')
  assertDone(shown)
  assert.match(shown.stdout, /^Container +alice\/demo\/large\nOwner +alice\n[^]*\nPulls +1\n/)
  assertRefused(await berthctl('repository', 'show', 'a/b/c'), 1, /no container "a\/b\/c"/)
})

test('usage tells who holds what, and that a forecast needs days', async () => {
  const usage = await berthctl('usage')
  assertDone(usage)
  assert.match(usage.stdout, /^Stored +.* in 4 images\nCharged .*\nFree .* are kept\n/)
  assert.match(usage.stdout, /\nForecast not yet: 0 of 14 days have been counted\n\nSpace /)
  const spaces = (await json<{ spaces: { space: string }[] }>('usage')).spaces
  assert.deepEqual(spaces.map(({ space }) => space).toSorted(), ['alice', 'bob'])
  const repositories = await berthctl('usage', 'bob', '--by', 'repository')
  assert.match(repositories.stdout, /^Container +Size +Images Pulls\nbob\/demo\/copy /)
  const never = await json<ImageJson[]>('usage', '--never-pulled')
  assert.ok(never.length === 3 && never[0]?.path === 'bob/demo/copy')
  const [oldest] = await json<ImageJson[]>('usage', '--oldest')
  assert.equal(oldest?.path, 'bob/demo/old')
  assert.equal((await json<ImageJson[]>('usage', '--by', 'image', '--limit', '2')).length, 2)
  const twice = await json<{ spaces: string[]; images: string[] }[]>('usage', '--duplicates')
  assert.deepEqual(
    twice.map(({ spaces, images }) => ({ spaces, images })),
    [{ spaces: ['alice', 'bob'], images: ['alice/demo/large', 'bob/demo/copy'] }],
  )
  assertRefused(await berthctl('usage', 'nobody'), 1, /no entity "nobody"/)
  assertRefused(await berthctl('usage', '--oldest', '--duplicates'), 2, /Say one of --by/)
  assertRefused(await berthctl('usage', '--by', 'moon'), 2, /--by is space, repository, image/)
})

test('with the days counted, usage names the day on which the disk is full', async () => {
  const { freeBytes } = await server.appliance.holdings.countDay()
  const { keepFreeBytes } = server.appliance.config.storage
  const perDay = Math.floor((freeBytes - keepFreeBytes) / 100)
  await server.db.query(sql`
    insert into daily_totals (day, stored_bytes, charged_bytes, free_bytes, images)
    select (now() at time zone 'utc')::date - n, ${perDay * 100}::bigint - n * ${perDay}::bigint, 0, 0, 1
    from generate_series(0, 30) n
    on conflict (day) do update set stored_bytes = excluded.stored_bytes`)
  const { forecast } = await json<{ forecast: { kind: string; day: string } }>('usage')
  assert.equal(forecast.kind, 'full')
  const days = (Date.parse(forecast.day) - Date.now()) / 86_400_000
  // The disk of the tests is used by others meanwhile.
  assert.ok(days > 80 && days < 120, forecast.day)
  assert.match(
    (await berthctl('usage')).stdout,
    /\nForecast the disk is full on \d{4}-\d\d-\d\d \(\+/,
  )
})

test('a deletion shows what it would do, asks, and can be taken back', async () => {
  const refused = await berthctl('image', 'delete', '--owner', 'bob', '--older', '90d')
  assert.equal(refused.code, 1)
  assert.equal(refused.stdout, '')
  assert.match(refused.stderr, /bob\/demo\/old +v1 /)
  assert.match(refused.stderr, /This deletes 1 image of .*\. Add --yes to do it\.\n$/)
  assert.equal((await json<ImageJson[]>('image', 'list', '--space', 'bob')).length, 2)

  const done = await berthctl('image', 'delete', '--owner', 'bob', '--older', '90d', '--yes')
  assertDone(done)
  assert.match(done.stdout, /^Deleted 1 image of /)
  assert.equal((await json<ImageJson[]>('image', 'list', '--space', 'bob')).length, 1)
  const [row] = await server.db.query<{ who: string; target: string }>(sql`
    select account_name as "who", target from audit where action = 'image.delete'`)
  assert.match(row?.who ?? '', /@host$/)
  assert.match(row?.target ?? '', /^bob\/demo\/old@sha256:/)
  assert.match((await berthctl('image', 'deleted', 'bob')).stdout, /bob\/demo\/old:v1/)
  await assertLedger(server.db)
})

test('without a word about which images none is deleted', async () => {
  assertRefused(await berthctl('image', 'delete', '--yes'), 2, /Name images, or say which/)
  const both = await berthctl('image', 'delete', 'alice/demo/small:v1', '--unsigned', '--yes')
  assertRefused(both, 2, /Name images, or say which/)
  assertRefused(
    await berthctl('image', 'delete', 'alice/demo/none:v1', '--yes'),
    1,
    /no such image/,
  )
  const none = await berthctl('image', 'delete', '--owner', 'nobody', '--yes')
  assertDone(none)
  assert.equal(none.stdout, 'There is no such image.\n')
  assert.equal((await json<ImageJson[]>('image', 'list', '--space', 'alice')).length, 2)
})

test('on a terminal the answer decides', { skip: withoutTerminal }, async (t) => {
  const line = `${pathOf('berthctl')} image delete alice/demo/small:v1`
  const answered = async (answer: string): Promise<number | null> => {
    const terminal = openTerminal(t, line, { BERTH_CONFIG: file })
    await terminal.see('Delete? [y/N] ')
    assert.match(terminal.text(), /alice\/demo\/small[^]*This deletes 1 image of/)
    terminal.type(`${answer}\r`)
    return await terminal.closed
  }
  assert.equal(await answered('n'), 1)
  assert.equal((await json<ImageJson[]>('image', 'list', '--space', 'alice')).length, 2)
  assert.equal(await answered('y'), 0)
  assert.equal((await json<ImageJson[]>('image', 'list', '--space', 'alice')).length, 1)
})

test('a container goes with all that is in it, what no library knows too', async () => {
  await bob.push('bob/demo/mixed', 'v1', makeSif({ seed: 'mixed' }))
  const layer = Buffer.from('a layer')
  await pushManifest(bob, 'bob/demo/mixed', 'oci', imageManifest(emptyConfig, [layer]), [
    emptyConfig,
    layer,
  ])
  assertRefused(
    await berthctl('repository', 'delete', 'bob/demo/none', '--yes'),
    1,
    /no container "bob\/demo\/none"/,
  )
  const refused = await berthctl('repository', 'delete', 'bob/demo/mixed')
  assert.equal(refused.code, 1)
  assert.match(refused.stderr, /This deletes bob\/demo\/mixed with 2 manifests of/)
  assertDone(await berthctl('repository', 'delete', 'bob/demo/mixed', '--yes'))
  assertRefused(await berthctl('repository', 'show', 'bob/demo/mixed'), 1, /no container/)
  assert.equal((await bob.get('/v1/images/bob/demo/mixed:v1')).status, 404)
  await assertLedger(server.db)
})
