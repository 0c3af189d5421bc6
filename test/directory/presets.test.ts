/**
 * Active Directory and FreeIPA: their attributes in entries of an OpenLDAP server, and their answers
 * to a bind put on the wire before it. See slapd-config.ts for what these stand for.
 */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { bindAnswered, bindRenamed } from '../support/ldap-faults.ts'
import { trees } from '../support/slapd-config.ts'
import { passwordOf } from '../support/slapd-people.ts'
import { skipSlapd, startSlapd } from '../support/slapd.ts'
import type { Slapd } from '../support/slapd.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import type { Fault } from '../support/tcp-proxy.ts'
import { inShort, ipaTable, isUnavailable, open, signIn, siteTable, windowsTable } from './ldap.ts'
import type { Table } from './ldap.ts'

const skip = skipSlapd
const running = skip === false ? await startSlapd({ after }) : undefined
const slapd = running as Slapd

const windows: readonly (readonly [string, string, string])[] = [
  ['alice', passwordOf('Alice'), 'accepted alice'],
  ['ALICE', passwordOf('Alice'), 'accepted alice'],
  ['alice', 'wrong', 'refused password'],
  ['disabled', passwordOf('Disabled'), 'refused disabled'],
  ['expired', passwordOf('Expired'), 'refused expired'],
  ['unlimited', passwordOf('Unlimited'), 'accepted unlimited'],
  ['stale', passwordOf('Stale'), 'password-expired stale'],
  ['stale', 'wrong', 'refused password'],
  ['locked', passwordOf('Locked'), 'accepted locked'], // this server did not lock it: the bind decides
  ['locked', 'wrong', 'refused locked'],
  ['host$', passwordOf('HOST$'), 'refused unknown'],
  ['nobody', 'x', 'refused unknown'],
]
for (const [name, password, want] of windows) {
  test(`Active Directory: ${name} with ${password}: ${want}`, { skip }, async () => {
    assert.equal(inShort(await signIn(open(windowsTable(slapd)), name, password)), want)
  })
}

test('Active Directory: the identifier is objectGUID as Windows writes it', { skip }, async () => {
  const directory = open(windowsTable(slapd))
  const ids = await Promise.all(
    ['Alice', 'Textual'].map(async (name) => {
      const answer = await signIn(directory, name, passwordOf(name))
      return answer.outcome === 'accepted' ? answer.entry.id : undefined
    }),
  )
  assert.deepEqual(ids, [
    '33221100-5544-7766-8899-aabbccddeeff',
    // "sixteen letters!", of which the first eight letters are in another order.
    '74786973-6565-206e-6c65-747465727321',
  ])
})

async function before(t: test.TestContext, fault: Fault, table: Table): Promise<Table> {
  const proxy = await startProxy(t, slapd.port, fault)
  return { ...table, servers: [`ldap://127.0.0.1:${proxy.port}`], allow_plain: true }
}

const diagnostics: readonly (readonly [string, string])[] = [
  ['525', 'refused unknown'],
  ['52e', 'refused password'],
  ['530', 'refused disabled'],
  ['531', 'refused disabled'],
  ['532', 'password-expired alice'],
  ['533', 'refused disabled'],
  ['701', 'refused expired'],
  ['773', 'password-expired alice'],
  ['775', 'refused locked'],
  ['57', 'refused password'],
]
for (const [data, want] of diagnostics) {
  test(
    `Active Directory: a bind that is refused with data ${data}: ${want}`,
    { skip },
    async (t) => {
      const text = `80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data ${data}, v4563`
      const fault = bindAnswered('cn=Alice Example', 49, text)
      const table = await before(t, fault, windowsTable(slapd))
      assert.equal(inShort(await signIn(open(table), 'alice', passwordOf('Alice'))), want)
    },
  )
}

test('the numbers of Active Directory mean nothing elsewhere', { skip }, async (t) => {
  const table = await before(t, bindAnswered('uid=alice', 49, 'data 532, v1'), siteTable(slapd))
  assert.equal(inShort(await signIn(open(table), 'alice', passwordOf('alice'))), 'refused password')
})

const principal = {
  direct_bind: '{user}@ad.test',
  bind_dn: undefined,
  bind_password_file: undefined,
}

test(
  'Active Directory: a principal name is bound, and the entry is its own',
  { skip },
  async (t) => {
    const alice = `cn=Alice Example,ou=people,${trees.windows}`
    const fault = bindRenamed({ 'alice@ad.test': alice, 'stale@ad.test': alice })
    const table = await before(t, fault, windowsTable(slapd, principal))
    const directory = open(table)
    assert.equal(inShort(await signIn(directory, 'alice', passwordOf('Alice'))), 'accepted alice')
    assert.equal(inShort(await signIn(directory, 'alice', 'wrong')), 'refused password')
    // alice has stale@ad.test for a principal name, and is not the person whose login name is stale.
    assert.equal(inShort(await signIn(directory, 'stale', passwordOf('Alice'))), 'refused unknown')
    assert.equal(directory.standing, undefined)
  },
)

const ipa: readonly (readonly [string, string, string])[] = [
  ['alice', passwordOf('alice'), 'accepted alice'],
  ['alice', 'wrong', 'refused password'],
  ['locked', passwordOf('locked'), 'refused disabled'],
  ['stale', passwordOf('stale'), 'password-expired stale'],
  ['stale', 'wrong', 'refused password'],
  ['expired', passwordOf('expired'), 'refused expired'],
]
for (const [name, password, want] of ipa) {
  test(`FreeIPA: ${name} with ${password}: ${want}`, { skip }, async () => {
    assert.equal(inShort(await signIn(open(ipaTable(slapd)), name, password)), want)
    const direct = ipaTable(slapd, { direct_bind: `uid={user},ou=people,${trees.ipa}` })
    assert.equal(inShort(await signIn(open(direct), name, password)), want)
  })
}

const results: readonly (readonly [number, string])[] = [
  [19, 'refused locked'],
  [32, 'refused unknown'],
  [34, 'refused malformed'],
  [48, 'refused password'],
  [49, 'refused password'],
  [53, 'refused disabled'],
]
for (const [code, want] of results) {
  test(`FreeIPA: a bind that is refused with the result ${code}: ${want}`, { skip }, async (t) => {
    const table = await before(t, bindAnswered('uid=alice', code, 'no'), ipaTable(slapd))
    assert.equal(inShort(await signIn(open(table), 'alice', passwordOf('alice'))), want)
  })
}

for (const code of [1, 8, 50, 51, 52, 53, 80]) {
  test(
    `a bind that fails with the result ${code} says nothing of the person`,
    { skip },
    async (t) => {
      const proxy = await startProxy(t, slapd.port, bindAnswered('uid=alice', code, 'no'))
      const other = await startProxy(t, slapd.port)
      const servers = [proxy, other].map(({ port }) => `ldap://127.0.0.1:${port}`)
      const table = siteTable(slapd, { servers, allow_plain: true })
      await assert.rejects(signIn(open(table), 'alice', passwordOf('alice')), isUnavailable())
      // The password was out already: nobody else gets it.
      assert.equal(proxy.fromClients().includes(passwordOf('alice')), true)
      assert.equal(other.fromClients().includes(passwordOf('alice')), false)
    },
  )
}

for (const [code, asksNext] of [
  [51, true],
  [52, true],
  [49, false],
  [50, false],
  [53, false],
] as const) {
  const what = asksNext ? 'another server is asked' : 'no other server is asked'
  test(`the service account is refused with the result ${code}: ${what}`, { skip }, async (t) => {
    const proxy = await startProxy(t, slapd.port, bindAnswered('cn=berth', code, 'no'))
    const other = await startProxy(t, slapd.port)
    const servers = [proxy, other].map(({ port }) => `ldap://127.0.0.1:${port}`)
    const directory = open(siteTable(slapd, { servers, allow_plain: true }))
    const signing = signIn(directory, 'alice', passwordOf('alice'))
    if (asksNext) assert.equal(inShort(await signing), 'accepted alice')
    else await assert.rejects(signing, isUnavailable(new RegExp(`LDAP result ${code}`)))
    assert.equal(other.connections() > 0, asksNext)
  })
}

test(
  'nobody makes the server work as somebody does, without a real password',
  { skip },
  async (t) => {
    const proxy = await startProxy(t, slapd.port)
    const table = siteTable(slapd, {
      servers: [`ldap://127.0.0.1:${proxy.port}`],
      allow_plain: true,
    })
    const directory = open(table)
    for (const name of ['nobody', 'adminlocked', 'under__score']) {
      const before = proxy.connections()
      await signIn(directory, name, passwordOf(name))
      assert.equal(proxy.connections() - before, 2, name)
      assert.equal(proxy.fromClients().includes(passwordOf(name)), false, name)
    }
  },
)
