/** The whole server on a site's directory: accounts, groups, suspension, outage. */
import assert from 'node:assert/strict'
import test from 'node:test'
import type { TestContext } from 'node:test'

import { Attribute, Change } from 'ldapts'

import { listAlarms } from '../../server/alarms.ts'
import { sql } from '../../server/database.ts'
import { assertProblem, Client } from '../support/client.ts'
import type { Reply } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import type { TestServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { trees } from '../support/slapd-config.ts'
import { passwordOf, personAttributes, personDn } from '../support/slapd-people.ts'
import { skipSlapd, startSlapd } from '../support/slapd.ts'
import type { Slapd } from '../support/slapd.ts'
import { siteTable } from './ldap.ts'
import type { Table } from './ldap.ts'

const skip = skipSlapd

interface Site {
  readonly slapd: Slapd
  readonly server: TestServer
}

async function openSite(t: TestContext, more: Table = {}): Promise<Site> {
  const slapd = await startSlapd(t)
  const groups = { method: 'member_of', base: `ou=groups,${trees.site}` }
  const settings = {
    directory: siteTable(slapd, { groups }),
    groups: { spaces: ['climate'] },
    sign_in: { password_url: 'https://portal.example.org/password' },
    ...more,
  }
  return { slapd, server: await startServer(t, { settings }) }
}

async function ask(server: TestServer, name: string, password: string): Promise<Reply> {
  const basic = Buffer.from(`${name}:${password}`).toString('base64')
  const headers = { authorization: `Basic ${basic}` }
  return await server.anonymous.send('POST', '/api/v1/tokens', { headers, body: '{}' })
}

/** A client with a token for the directory's password. */
async function enter(server: TestServer, name: string): Promise<Client> {
  const reply = await ask(server, name, passwordOf(name.toLowerCase()))
  assert.equal(reply.status, 201, reply.body.toString())
  const { token, id } = reply.json.data
  return new Client(server.url, { name, accountId: '', token, tokenId: id })
}

async function isLive(client: Client): Promise<boolean> {
  return (await client.get('/v1/token-status')).status === 200
}

async function change(
  slapd: Slapd,
  dn: string,
  attribute: string,
  values: string[],
): Promise<void> {
  const modification = new Attribute({ type: attribute, values })
  await slapd.administer(async (client) => {
    await client.modify(dn, [new Change({ operation: 'replace', modification })])
  })
}

async function addPerson(slapd: Slapd, name: string): Promise<void> {
  const attributes: Record<string, string[]> = {}
  for (const [key, value] of personAttributes(name)) (attributes[key] ??= []).push(value)
  await slapd.administer(async (client) => await client.add(personDn(name), attributes))
}

test(
  'the first sign-in makes an account, with what the directory says of it',
  { skip },
  async (t) => {
    const { server } = await openSite(t)
    const alice = await enter(server, 'ALICE')
    const current = (await alice.get('/v1/rbac/users/current')).json
    assert.deepEqual(
      [current.username, current.email, current.realname],
      ['alice', 'alice@site.test', 'alice of the site'],
    )
    await alice.push('alice/demo/tool', 'latest', makeSif({ seed: 'ldap' }))
    await enter(server, 'alice')
    const accounts = await server.db.query(
      sql`select name, provider, is_admin as "isAdmin" from accounts`,
    )
    assert.deepEqual(accounts, [{ name: 'alice', provider: 'ldap', isAdmin: false }])
    for (const [name, password] of [
      ['alice', 'wrong'],
      ['nobody', 'alice-password'],
      ['ended', passwordOf('ended')],
      ['*', passwordOf('alice')],
    ] as const) {
      assertProblem(await ask(server, name, password), 401, /^The name or the password is wrong\.$/)
    }
  },
)

test('an expired password is said to be one, and where it is changed', { skip }, async (t) => {
  const { server } = await openSite(t)
  assertProblem(
    await ask(server, 'reset', passwordOf('reset')),
    401,
    /has expired: change it at https:\/\/portal\.example\.org\/password/,
  )
  assertProblem(await ask(server, 'reset', 'wrong'), 401, /^The name or the password is wrong\.$/)
})

test(
  'a group owns its space; leaving it ends the right with the next check',
  { skip },
  async (t) => {
    const { server, slapd } = await openSite(t, {
      groups: { spaces: ['climate'], admins: 'unique', allowed: ['climate', 'posix', 'late'] },
    })
    const [alice, bob] = [await enter(server, 'alice'), await enter(server, 'bob')]
    assertProblem(
      await ask(server, 'patient', passwordOf('patient')),
      401,
      /may not use this service/,
    )
    await bob.push('climate/models/cesm', 'latest', makeSif({ seed: 'cesm' }))
    await alice.push('climate/models/wrf', 'latest', makeSif({ seed: 'wrf' }))
    await slapd.administer(async (client) => {
      await client.add(`cn=late,ou=groups,${trees.site}`, {
        objectClass: 'groupOfNames',
        cn: 'late',
        member: [personDn('bob')],
      })
    })
    await change(slapd, `cn=climate,ou=groups,${trees.site}`, 'member', [personDn('alice')])
    assert.equal((await bob.get('/v1/entities')).status, 200)
    await server.appliance.revalidate()
    assertProblem(await bob.delete('/v1/images/climate/models/wrf:latest'), 403)
    assert.ok(await isLive(bob), 'he is in another allowed group')
    assert.equal((await alice.delete('/v1/images/climate/models/cesm:latest')).status, 200)
  },
)

test('who is disabled or gone is suspended, and restored when he is back', { skip }, async (t) => {
  const { server, slapd } = await openSite(t)
  await addPerson(slapd, 'carol')
  const [alice, bob, carol] = [
    await enter(server, 'alice'),
    await enter(server, 'bob'),
    await enter(server, 'carol'),
  ]
  await change(slapd, personDn('alice'), 'pwdEndTime', ['20200101000000Z'])
  await slapd.administer(async (client) => await client.del(personDn('carol')))
  assert.deepEqual(await server.appliance.revalidate(), {
    checked: 3,
    suspended: ['alice', 'carol'],
    restored: [],
    held: [],
  })
  assert.deepEqual(
    [await isLive(alice), await isLive(bob), await isLive(carol)],
    [false, true, false],
  )
  await change(slapd, personDn('alice'), 'pwdEndTime', [])
  const again = await server.appliance.revalidate()
  assert.deepEqual([again?.suspended, again?.restored], [[], ['alice']])
  assert.ok(await isLive(alice))
  // The same login name for somebody else: another identifier, so not the first one's account.
  await addPerson(slapd, 'carol')
  const second = await ask(server, 'carol', passwordOf('carol'))
  assertProblem(second, 401, /"carol" belonged to somebody else here before you/)
  assert.equal(await isLive(carol), false)
  const audited = await server.db.query<{ line: string }>(sql`
    select action || ' ' || target || coalesce(' ' || (details->>'reason'), '') as "line"
    from audit where action in ('account.suspend', 'account.restore') order by id`)
  assert.deepEqual(
    audited.map(({ line }) => line),
    [
      'account.suspend alice expired in the directory',
      'account.suspend carol not in the directory any more',
      'account.restore alice',
    ],
  )
})

test('an outage suspends nobody, raises an alarm, and ends no token', { skip }, async (t) => {
  const { server, slapd } = await openSite(t)
  const alice = await enter(server, 'alice')
  await slapd.end()
  await assert.rejects(server.appliance.revalidate(), /directory/i)
  assert.ok(await isLive(alice))
  const [alarm] = await listAlarms(server.db)
  assert.match(alarm?.message ?? '', /could not be asked.*Nobody was suspended/)
  assertProblem(await ask(server, 'alice', passwordOf('alice')), 503)
  // What nobody could check does not count as a guess.
  assert.deepEqual(await server.db.query(sql`select 1 from sign_in_attempts`), [])
})

test('a change that is too large to be true waits for a confirmation', { skip }, async (t) => {
  const { server, slapd } = await openSite(t)
  const alice = await enter(server, 'alice')
  const gone = Array.from({ length: 21 }, (_, i) => `ghost${i}`)
  for (const name of gone) {
    await server.db.query(sql`
      insert into accounts (id, name, provider, directory_id)
      values (lpad(to_hex(${Number(name.slice(5))}::int), 24, '0'), ${name}, 'ldap', ${name})`)
  }
  const held = await server.appliance.revalidate()
  assert.deepEqual([held?.suspended, held?.held.length], [[], 21])
  const [alarm] = await listAlarms(server.db)
  assert.match(alarm?.message ?? '', /21 of 22 people.*berthctl directory revalidate --confirm/)
  const confirmed = await server.appliance.revalidate({ confirmed: true })
  assert.equal(confirmed?.suspended.length, 21)
  assert.deepEqual(await listAlarms(server.db), [])
  assert.ok(await isLive(alice))
  await slapd.end()
})

test(
  'wrong passwords are counted for the entry, below what locks it in the directory',
  { skip },
  async (t) => {
    const { server } = await openSite(t, { sign_in: { failures_per_account: 2 } })
    for (const spelling of ['victim', 'VICTIM']) {
      assertProblem(await ask(server, spelling, 'guess'), 401)
    }
    assertProblem(await ask(server, ' victim', 'guess'), 429)
    assertProblem(await ask(server, 'victim', passwordOf('victim')), 429)
    await server.db.query(sql`delete from sign_in_attempts`)
    // The directory locks after three: it has seen two.
    assert.equal((await ask(server, 'victim', passwordOf('victim'))).status, 201)
  },
)

test('a local account is its own, whatever the directory says of the name', { skip }, async (t) => {
  const { server } = await openSite(t)
  await server.account('alice')
  assertProblem(await ask(server, 'alice', 'not-it'), 401)
  assert.equal((await ask(server, 'alice', 'alice-password')).status, 201)
  const rows = await server.db.query(sql`select provider from accounts`)
  assert.deepEqual(rows, [{ provider: 'local' }])
})
