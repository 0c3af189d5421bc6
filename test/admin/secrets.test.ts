/** berthctl secrets on a running server: what was made before a rotation stays good, or ends. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { createLocalJWKSet, jwtVerify } from 'jose'

import { openSigningKeys } from '../../server/accounts/signing-key.ts'
import { sql } from '../../server/database.ts'
import { withRegistryToken, withToken } from '../support/registry-client.ts'
import { eventually, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { assertDone, assertRefused } from './command.ts'
import { controlOf } from './control.ts'

const server = await startServer({ after })
const { berthctl, json } = controlOf({ after }, server)
const alice = await server.user('alice')
const sif = makeSif({ seed: 'secrets' })
await alice.push('alice/demo/tool', 'v1', sif)
const secrets = join(server.dataDir, 'secrets')

interface AgeJson {
  readonly name: string
  readonly madeAt: string
  readonly former: readonly { readonly acceptedUntil: string }[]
}

test('ages are listed, and never a secret', async () => {
  const listed = await berthctl('secrets', 'list')
  assertDone(listed)
  assert.match(listed.stdout, /^Secret +Made +Age +Former ones +File\ntoken-signing-key +\d{4}/)
  assert.match(listed.stdout, /\ncapability-key +\S+ +0 days +none +\//)
  const capability = readFileSync(join(secrets, 'capability-key'), 'utf8')
  const texts = [listed.stdout, JSON.stringify(await json('secrets', 'list'))].join('')
  assert.ok(!texts.includes(capability) && !texts.includes('PRIVATE'))
})

test('a new signing key ends no token, and both keys are published', async () => {
  const before = await withRegistryToken(alice, ['repository:alice/demo/tool:pull'])
  const [oldKey] = (await server.anonymous.get('/v1/keys/public')).json.keys
  const rotated = await berthctl('secrets', 'rotate', 'token-signing-key')
  assertDone(rotated)
  assert.match(
    rotated.stdout,
    /^There is a new token-signing-key; the former one is accepted until/,
  )

  // The running server takes it up within a second, and what it has signed with the former one is good.
  const after = await server.signIn('alice')
  for (const client of [alice, after]) {
    assert.equal((await client.get('/v1/token-status')).status, 200)
  }
  const oldToken = before.credentials?.token ?? ''
  assert.equal((await withToken(alice, oldToken).get('/v2/alice/demo/tool/tags/list')).status, 200)

  const signed = await eventuallySigned(oldKey.kid)
  const published = (await server.anonymous.get('/v1/keys/public')).json
  const kids = published.keys.map(({ kid }: { kid: string }) => kid)
  assert.equal(kids.length, 2)
  assert.equal(kids[1], oldKey.kid)
  for (const key of published.keys) {
    assert.deepEqual(Object.keys(key).toSorted(), ['alg', 'e', 'kid', 'kty', 'n', 'use'])
  }
  // Whoever verifies tokens with what is published can, the old ones and the new ones.
  for (const token of [alice.credentials?.token ?? '', signed]) {
    await jwtVerify(token, createLocalJWKSet(published))
  }
  // The private half of the former key is gone.
  for (const file of readdirSync(secrets).filter((name) => /\.pem\.\d+$/.test(name))) {
    assert.match(readFileSync(join(secrets, file), 'utf8'), /^-----BEGIN PUBLIC KEY-----/)
    assert.equal(statSync(join(secrets, file)).mode & 0o777, 0o600)
  }
  const [age] = await json<AgeJson[]>('secrets', 'list')
  const days = (Date.parse(age?.former[0]?.acceptedUntil ?? '') - Date.now()) / 86_400_000
  assert.ok(days > 365 && days < 367)
})

test('another process knows a key that it has not seen before', async () => {
  const path = join(secrets, 'token-signing-key.pem')
  const [here, there] = [await openSigningKeys(path, 365), await openSigningKeys(path, 365)]
  const old = here.current.kid
  await there.rotate({ now: false })
  const { kid } = there.current
  assert.notEqual(kid, old)
  assert.equal(here.find((key) => key.kid === kid)?.kid, kid)
  assert.equal(here.find((key) => key.kid === old)?.privateKey, undefined)
  assert.equal(
    here.find((key) => key.kid === 'x'),
    undefined,
  )
})

test('addresses that were handed out stay good for their time, or end with --now', async () => {
  const address = async (): Promise<string> =>
    server.appliance.capabilities.downloadPath({ digest: await digestOf(), size: sif.length })
  const first = await address()
  assert.equal((await server.anonymous.get(first)).status, 200)
  assertDone(await berthctl('secrets', 'rotate', 'capability-key'))
  assert.equal((await server.anonymous.get(first)).status, 200)

  const refused = await berthctl('secrets', 'rotate', 'capability-key', '--now')
  assertRefused(refused, 1, /transfers that are under way fail .* Add --yes to do it/)
  assertDone(await berthctl('secrets', 'rotate', 'capability-key', '--now', '--yes'))
  // What the running server has looked at may be a second old.
  await eventually(
    async () =>
      await server.anonymous.get(first).then(
        () => false,
        () => true,
      ),
    'the address ends',
  )
  assert.equal((await server.anonymous.get(await address())).status, 200)
  const rows = await server.db.query<{ who: string; now: boolean }>(sql`
    select account_name as "who", (details->>'now')::boolean as "now"
    from audit where action = 'secret.rotate' and target = 'capability-key' order by id`)
  assert.deepEqual(
    rows.map(({ now }) => now),
    [false, true],
  )
  for (const { who } of rows) assert.match(who, /^\S+@host$/)
  const ages = await json<AgeJson[]>('secrets', 'list')
  assert.deepEqual(ages.find(({ name }) => name === 'capability-key')?.former, [])
})

test('other words are refused', async () => {
  assertRefused(
    await berthctl('secrets', 'rotate', 'password'),
    2,
    /SECRET is token-signing-key or/,
  )
  assertRefused(await berthctl('secrets', 'rotate'), 2, /Say "berthctl secrets rotate SECRET/)
})

/** A token of the registry that another key has signed than this one. */
async function eventuallySigned(formerKid: string): Promise<string> {
  let token = ''
  await eventually(async () => {
    const client = await withRegistryToken(alice, ['repository:alice/demo/tool:pull'])
    token = client.credentials?.token ?? ''
    const head = JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString())
    return head.kid !== formerKid
  }, 'the server signs with the new key')
  return token
}

async function digestOf(): Promise<string> {
  const [image] = await server.db.query<{ digest: string }>(sql`select digest from images`)
  return image?.digest ?? ''
}
