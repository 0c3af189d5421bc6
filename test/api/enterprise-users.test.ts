/** The consent service: users, groups and roles, for administrators and for oneself. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { sql } from '../../server/database.ts'
import { newId } from '../../server/identifiers.ts'
import { assertProblem } from '../support/client.ts'
import type { Client } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after }, { settings: { groups: { admins: 'HPC-Admins' } } })
const { anonymous } = server
const alice = await server.user('alice')
const bob = await server.user('bob')
const admin = await server.user('root', { isAdmin: true })
const nobody = 'f'.repeat(24)
const mib = 2 ** 20

const idOf = (client: Client): string => client.credentials?.accountId ?? ''
const pathOf = (client: Client): string => `/v1/admin/users/${idOf(client)}`

test('an administrator lists everybody, each with all members', async () => {
  const carol = await directoryUser('carol', ['chem', 'hpc-admins'])
  const reply = await admin.get('/v1/admin/users')
  assert.equal(reply.status, 200)
  assert.match(String(reply.headers['content-type']), /^application\/json\b/)
  const names = reply.json.data.map((user: { username: string }) => user.username)
  assert.deepEqual(names, names.toSorted())
  for (const user of reply.json.data) {
    assert.match(user.id, /^[0-9a-f]{24}$/)
    for (const member of ['groups', 'roles', 'allRoles', 'organizationIDs']) {
      assert.ok(Array.isArray(user[member]), member)
    }
    for (const member of ['maxLibrarySize', 'maxBuildTime', 'maxBuildTimeCumulative']) {
      assert.equal(typeof user.quotas[member], 'number', member)
    }
  }
  const shown = reply.json.data.find((user: { id: string }) => user.id === idOf(carol))
  assert.match(shown.createdAt, /^\d{4}-\d\d-\d\dT.*Z$/)
  assert.deepEqual(
    { ...shown, createdAt: '' },
    {
      id: idOf(carol),
      organizationIDs: ['000000000000000000000001'],
      username: 'carol',
      provider: 'ldap',
      providerID: 'uuid-of-carol',
      fullName: 'Carol of the site',
      email: 'carol@site.example',
      active: true,
      createdAt: '',
      groups: ['chem', 'hpc-admins'],
      // The role comes with the group, not directly.
      roles: [],
      allRoles: ['admin'],
      quotas: { maxLibrarySize: 102_400, maxBuildTime: 0, maxBuildTimeCumulative: 0 },
    },
  )
})

test('the list is for administrators: all others hear 401, in both forms of an error', async () => {
  for (const client of [alice, anonymous]) {
    const reply = await client.get('/v1/admin/users')
    assertProblem(reply, 401)
    const { code, status, message, error } = reply.json
    assert.deepEqual({ code, status }, { code: 401, status: 'Unauthorized' })
    assert.equal(message, error.message)
  }
  assertProblem(await alice.get('/v1/admin/users'), 401, /administrators.*signed in as alice/)
})

test('one sees oneself, and an administrator everybody', async () => {
  for (const client of [alice, admin]) {
    const reply = await client.get(pathOf(alice))
    assert.equal(reply.status, 200)
    assert.equal(reply.json.data.username, 'alice')
  }
  assertProblem(await bob.get(pathOf(alice)), 401)
  assertProblem(await anonymous.get(pathOf(alice)), 401)
  assertProblem(await bob.get(`/v1/admin/users/${nobody}`), 401)
  assertProblem(await admin.get(`/v1/admin/users/${nobody}`), 404)
  for (const id of ['alice', 'x', 'F'.repeat(24), '%00', `${nobody}0`]) {
    assertProblem(await admin.get(`/v1/admin/users/${id}`), 400)
  }
})

test('an administrator by a token that is only for pulling is none here', async () => {
  const actor = await server.appliance.tokens.authenticate(admin.credentials?.token ?? '', 'test')
  assert.ok(actor)
  const { token } = await server.appliance.tokens.issue(actor, 'module', 'pull')
  const headers = { authorization: `Bearer ${token}` }
  assertProblem(await anonymous.get('/v1/admin/users', headers), 401, /only for pulling/)
  assert.equal((await anonymous.get(pathOf(admin), headers)).status, 200)
})

test('a quota in MiB acts with the next push, before the first push too', async () => {
  const user = await server.user('small')
  const sif = makeSif({ seed: 1, payload: 300_000 })
  assert.equal(
    (await setQuota(user, { maxLibrarySize: 0.25 })).json.data.quotas.maxLibrarySize,
    0.25,
  )
  assertProblem(
    await user.push('small/tools/bwa', 'latest', sif),
    403,
    /quota exceeded.*256.00 KiB/,
  )
  const raised = await setQuota(user, { maxLibrarySize: 1, maxBuildTime: 0 })
  assert.equal(raised.status, 200)
  assert.equal((await user.push('small/tools/bwa', 'latest', sif)).status, 200)
  const usage = (await user.get('/api/v1/usage')).json.data[0]
  assert.deepEqual([usage.quotaBytes, usage.usedBytes], [mib, sif.length])
  // Below what is stored: nothing goes, and nothing more comes.
  assert.equal((await setQuota(user, { maxLibrarySize: 0 })).status, 200)
  assertProblem(await user.push('small/tools/two', 'x', makeSif({ seed: 2 })), 403, /quota/)
  assert.equal((await user.get('/v1/images/small/tools/bwa:latest')).status, 200)
  const cleared = await setQuota(user, { maxLibrarySize: null })
  assert.equal(cleared.json.data.quotas.maxLibrarySize, 102_400)
  const told = await server.db.query(sql`
    select account_name as "by", (details->>'quotaBytes')::int8 as "bytes" from audit
    where action = 'quota.set' and target = 'small' order by id`)
  assert.deepEqual(told, [
    { by: 'root', bytes: mib / 4 },
    { by: 'root', bytes: mib },
    { by: 'root', bytes: 0 },
    { by: 'root', bytes: null },
  ])
})

test('a quota that is none is refused, and nobody but administrators sets one', async () => {
  for (const body of [
    {},
    { maxLibrarySize: -1 },
    { maxLibrarySize: '100' },
    { maxLibrarySize: 1e300 },
    { maxLibrarySize: 1, maxBuildTime: 60 },
    { maxLibrarySize: 1, other: 1 },
    [],
  ]) {
    assertProblem(await setQuota(alice, body), 400)
  }
  const malformed = await admin.send('POST', `${pathOf(alice)}/updatequota`, { body: '{' })
  assertProblem(malformed, 400)
  const body = { maxLibrarySize: 1 }
  assertProblem(await alice.post(`${pathOf(alice)}/updatequota`, body), 401)
  assertProblem(await anonymous.post(`${pathOf(alice)}/updatequota`, body), 401)
  assertProblem(await admin.post(`/v1/admin/users/${nobody}/updatequota`, body), 404)
  assertProblem(await admin.post('/v1/admin/users/alice/updatequota', body), 400)
  assert.equal((await admin.get(pathOf(alice))).json.data.quotas.maxLibrarySize, 102_400)
})

test("a space of the site is not taken for a person's own", async () => {
  const user = await server.user('sitewide')
  await server.db.query(sql`insert into entities (name) values ('sitewide')`)
  assertProblem(await setQuota(user, { maxLibrarySize: 5 }), 400, /not sitewide's own/)
  const [space] = await server.db.query<{ quota: number | null }>(
    sql`select quota_bytes as "quota" from entities where name = 'sitewide'`,
  )
  assert.equal(space?.quota, null)
})

test('who is deactivated can do nothing from the next request on, until activated', async () => {
  const user = await server.account('pausing')
  const off = await admin.post(`${pathOf(user)}/deactivate`, {})
  assert.equal(off.status, 200)
  assert.equal(off.json.data.active, false)
  assert.match(off.json.data.deactivatedAt, /Z$/)
  assertProblem(await user.get('/v1/token-status'), 404)
  const basic = Buffer.from('pausing:pausing-password').toString('base64')
  const signIn = { headers: { authorization: `Basic ${basic}` }, body: '{}' }
  assertProblem(await anonymous.send('POST', '/api/v1/tokens', signIn), 401)
  assert.equal((await admin.post(`${pathOf(user)}/deactivate`, {})).status, 200)
  const on = await admin.post(`${pathOf(user)}/activate`, {})
  assert.equal(on.json.data.active, true)
  assert.equal(on.json.data.deactivatedAt, undefined)
  assert.equal((await user.get('/v1/token-status')).status, 200)
  const told = await server.db.query(sql`
    select action, account_name as "by" from audit
    where target = 'pausing' and action in ('account.disable', 'account.enable') order by id`)
  assert.deepEqual(told, [
    { action: 'account.disable', by: 'root' },
    { action: 'account.enable', by: 'root' },
  ])
})

test('nobody locks himself out, and nobody else may', async () => {
  assertProblem(await admin.post(`${pathOf(admin)}/deactivate`, {}), 400, /yourself/)
  assertProblem(await admin.delete(`${pathOf(admin)}/role/admin`), 400, /yourself/)
  for (const client of [alice, anonymous]) {
    assertProblem(await client.post(`${pathOf(bob)}/deactivate`, {}), 401)
    assertProblem(await client.post(`${pathOf(bob)}/activate`, {}), 401)
    assertProblem(await client.post(`${pathOf(bob)}/role/admin`, {}), 401)
  }
  for (const verb of ['activate', 'deactivate']) {
    assertProblem(await admin.post(`/v1/admin/users/${nobody}/${verb}`, {}), 404)
    assertProblem(await admin.post(`/v1/admin/users/bob/${verb}`, {}), 400)
  }
  assert.equal((await bob.get('/v1/token-status')).status, 200)
})

test('whom the directory bars is not active, and cannot be made so here', async () => {
  const user = await directoryUser('suspended', [])
  await server.db.query(sql`
    update accounts set suspended_at = now(), suspended_reason = 'locked in the directory'
    where id = ${idOf(user)}`)
  assert.equal((await admin.get(pathOf(user))).json.data.active, false)
  const reply = await admin.post(`${pathOf(user)}/activate`, {})
  assertProblem(reply, 400, /locked in the directory/)
})

test('the role is given to local accounts and taken from them, and acts at once', async () => {
  const user = await server.user('deputy')
  assertProblem(await user.get('/v1/admin/users'), 401)
  const given = await admin.post(`${pathOf(user)}/role/admin`, {})
  assert.deepEqual(given.json.data.roles, ['admin'])
  assert.deepEqual(given.json.data.allRoles, ['admin'])
  assert.equal((await user.get('/v1/admin/users')).status, 200)
  assert.equal((await admin.post(`${pathOf(user)}/role/admin`, {})).status, 200)
  const taken = await admin.delete(`${pathOf(user)}/role/admin`)
  assert.deepEqual(taken.json.data.allRoles, [])
  assertProblem(await user.get('/v1/admin/users'), 401)
  const told = await server.db.query(
    sql`select details from audit where target = 'deputy' and action = 'account.administrator' order by id`,
  )
  assert.deepEqual(told, [{ details: { isAdmin: true } }, { details: { isAdmin: false } }])
  assertProblem(await admin.post(`${pathOf(user)}/role/library-admin`, {}), 404, /only one/)
  assertProblem(await admin.post(`/v1/admin/users/${nobody}/role/admin`, {}), 404)
  assertProblem(await admin.post('/v1/admin/users/x/role/admin', {}), 400)
})

test('what the directory and the configuration rule is explained and not changed', async () => {
  const user = await directoryUser('member', ['chem'])
  for (const method of ['POST', 'DELETE']) {
    const membership = `${pathOf(user)}/group/chem`
    assertProblem(await admin.send(method, membership), 400, /change the members of chem there/)
    const local = `${pathOf(alice)}/group/chem`
    assertProblem(await admin.send(method, local), 400, /alice is a local account/)
    assertProblem(await admin.send(method, `${pathOf(user)}/group/none`), 404)
    assertProblem(await admin.send(method, `/v1/admin/users/${nobody}/group/chem`), 404)
    assertProblem(await admin.send(method, '/v1/admin/users/x/group/chem'), 400)
    assertProblem(await alice.send(method, membership), 401)
    assertProblem(await anonymous.send(method, membership), 401)
    const groupRole = '/v1/admin/groups/chem/role/admin'
    assertProblem(await admin.send(method, groupRole), 400, /\[groups\] admins/)
    assertProblem(await admin.send(method, '/v1/admin/groups/none/role/admin'), 404)
    assertProblem(await admin.send(method, '/v1/admin/groups/chem/role/none'), 404)
    assertProblem(await alice.send(method, groupRole), 401)
    assertProblem(await anonymous.send(method, groupRole), 401)
    assertProblem(await admin.send(method, `${pathOf(user)}/role/admin`), 400, /hpc-admins/)
  }
  assert.deepEqual((await admin.get(pathOf(user))).json.data.groups, ['chem'])
})

test('groups and roles are listed and found by name', async () => {
  await directoryUser('grouped', ['chem', 'hpc-admins'])
  const groups = await admin.get('/v1/admin/groups')
  assert.equal(groups.status, 200)
  const named = groups.json.data.map((one: { name: string }) => one.name)
  assert.deepEqual(named, ['chem', 'hpc-admins'])
  const one = await admin.get('/v1/admin/groups/hpc-admins')
  assert.deepEqual(one.json.data, groups.json.data[1])
  assert.deepEqual(one.json.data.roles, ['admin'])
  assert.match(one.json.data.id, /^[0-9a-f]{24}$/)
  assertProblem(await admin.get('/v1/admin/groups/none'), 404)
  const roles = await admin.get('/v1/admin/roles')
  assert.deepEqual(
    roles.json.data.map((role: { name: string }) => role.name),
    ['admin'],
  )
  assert.deepEqual((await admin.get('/v1/admin/roles/admin')).json.data, roles.json.data[0])
  assertProblem(await admin.get('/v1/admin/roles/library-admin'), 404)
  for (const path of ['groups', 'groups/chem', 'groups/none', 'roles', 'roles/admin', 'roles/x']) {
    assertProblem(await alice.get(`/v1/admin/${path}`), 401)
    assertProblem(await anonymous.get(`/v1/admin/${path}`), 401)
  }
})

test('the number of users is told by who checks their password', async () => {
  await directoryUser('counted', [])
  const { entitiesStored, usersByProvider } = (await admin.get('/v1/stats/users')).json.data
  const [row] = await server.db.query<{ all: number; ldap: number }>(sql`
    select count(*) as "all", count(*) filter (where provider = 'ldap') as "ldap" from accounts`)
  assert.equal(entitiesStored, row?.all)
  assert.equal(usersByProvider.ldap, row?.ldap)
  assert.equal(usersByProvider.local + usersByProvider.ldap, row?.all)
  assertProblem(await alice.get('/v1/stats/users'), 401)
  assertProblem(await anonymous.get('/v1/stats/users'), 401)
})

async function setQuota(user: Client, body: unknown) {
  return await admin.post(`${pathOf(user)}/updatequota`, body)
}

/** An account as the first sign-in through a directory leaves it. */
async function directoryUser(name: string, groups: readonly string[]): Promise<Client> {
  const user = await server.user(name)
  await server.db.query(sql`
    update accounts set provider = 'ldap', directory_id = ${`uuid-of-${name}`},
      email = ${`${name}@site.example`}, full_name = ${`${name[0]?.toUpperCase()}${name.slice(1)} of the site`},
      is_admin = ${groups.includes('hpc-admins')}
    where id = ${idOf(user)}`)
  for (const group of groups) {
    await server.db.query(
      sql`insert into groups (id, name) values (${newId()}, ${group}) on conflict do nothing`,
    )
    await server.db.query(sql`
      insert into memberships (account_id, group_id)
      select ${idOf(user)}, id from groups where name = ${group}`)
  }
  return user
}
