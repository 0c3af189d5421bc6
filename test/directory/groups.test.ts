/** The groups of a person by each method, from real entries of OpenLDAP. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { trees } from '../support/slapd-config.ts'
import { passwordOf } from '../support/slapd-people.ts'
import { skipSlapd, startSlapd } from '../support/slapd.ts'
import type { Slapd } from '../support/slapd.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { ipaTable, isUnavailable, open, signIn, siteTable, windowsTable } from './ldap.ts'
import type { Table } from './ldap.ts'

const skip = skipSlapd
const running = skip === false ? await startSlapd({ after }) : undefined
const slapd = running as Slapd

const base = `ou=groups,${trees.site}`

async function groupsOf(
  table: Table,
  name = 'alice',
  password = passwordOf(name),
): Promise<readonly string[]> {
  const answer = await signIn(open(table), name, password)
  assert.ok(answer.outcome === 'accepted', JSON.stringify(answer))
  return answer.entry.groups
}

const cases: readonly (readonly [Table | undefined, readonly string[]])[] = [
  [undefined, []],
  [{ method: 'none' }, []],
  [{ method: 'member_of' }, ['climate', 'comma, plus+', 'guests']],
  [{ method: 'member_of', base }, ['climate', 'comma, plus+']],
  [{ method: 'member_of', base: base.toUpperCase() }, ['climate', 'comma, plus+']],
  [{ method: 'member_of', name_attribute: 'ou' }, []],
  [{ method: 'search', base }, ['climate', 'comma, plus+']],
  [{ method: 'search', base: trees.site }, ['climate', 'comma, plus+', 'guests']],
  [{ method: 'search', base, filter: '(!(cn=comma*))' }, ['climate']],
  [{ method: 'search', base, member_attribute: 'uniqueMember' }, ['unique']],
  [{ method: 'search', base, member_attribute: 'memberUid' }, ['posix']],
  [{ method: 'search', base, name_attribute: 'gidNumber', member_attribute: 'memberUid' }, ['7']],
  [{ method: 'search', base, name_attribute: 'description' }, []],
  [{ method: 'nested', base }, ['climate', 'comma, plus+', 'everybody', 'institute']],
  [{ method: 'nested', base, filter: '(!(cn=institute))' }, ['climate', 'comma, plus+']],
]
for (const [groups, want] of cases) {
  test(
    `${JSON.stringify(groups ?? 'no groups')}: ${want.join(' | ') || 'none'}`,
    { skip },
    async () => {
      const direct = {
        direct_bind: `uid={user},ou=people,${trees.site}`,
        bind_dn: undefined,
        bind_password_file: undefined,
      }
      for (const more of [{}, direct]) {
        const table = siteTable(slapd, groups === undefined ? more : { ...more, groups })
        assert.deepEqual(await groupsOf(table), want)
      }
    },
  )
}

test('memberUid holds the name as the directory writes it', { skip }, async () => {
  const groups = { method: 'search', base, member_attribute: 'memberUid' }
  const table = siteTable(slapd, { groups })
  assert.deepEqual(await groupsOf(table, 'mixedcase', passwordOf('MixedCase')), ['posix'])
  assert.deepEqual(await groupsOf(table, 'bob'), [])
})

test(
  'somebody without groups has none, and a name with commas is found as a member',
  { skip },
  async () => {
    for (const method of ['member_of', 'search', 'nested']) {
      const table = siteTable(slapd, { groups: { method, base } })
      assert.deepEqual(await groupsOf(table, 'ending'), [], method)
    }
    const dn = `cn=Comma\\, Plus\\+ \\"Quote\\",ou=people,${trees.site}`
    const group = `cn=odd ones,${base}`
    await slapd.administer(async (client) => {
      await client.add(group, { objectClass: 'groupOfNames', cn: 'odd ones', member: dn })
    })
    try {
      for (const method of ['member_of', 'search', 'nested']) {
        const table = siteTable(slapd, { groups: { method, base } })
        assert.deepEqual(await groupsOf(table, 'odd'), ['odd ones'], method)
      }
    } finally {
      await slapd.administer(async (client) => await client.del(group))
    }
  },
)

test('groups that cannot be read completely are no groups at all', { skip }, async () => {
  const absent = siteTable(slapd, { groups: { method: 'search', base: `ou=x,${trees.site}` } })
  await assert.rejects(groupsOf(absent), isUnavailable(/LDAP result 32/))
})

test("FreeIPA: groups are those below the groups' base, rules are not", { skip }, async () => {
  const below = { method: 'member_of', base: `ou=groups,${trees.ipa}` }
  assert.deepEqual(await groupsOf(ipaTable(slapd, { groups: below })), ['ipausers'])
  assert.deepEqual(await groupsOf(ipaTable(slapd)), ['allow-all', 'ipausers'])
})

test('Active Directory: memberOf by default', { skip }, async () => {
  assert.deepEqual(await groupsOf(windowsTable(slapd), 'alice', passwordOf('Alice')), [
    'domain-people',
  ])
})

/**
 * OpenLDAP does not know the rule of Active Directory that follows chains of groups, and finds nobody
 * by it. What can be seen here is that the question is asked in the right words.
 */
test('Active Directory: nested groups are asked for in one search', { skip }, async (t) => {
  const proxy = await startProxy(t, slapd.port)
  const table = windowsTable(slapd, {
    servers: [`ldap://127.0.0.1:${proxy.port}`],
    allow_plain: true,
    groups: { method: 'nested', base: `ou=groups,${trees.windows}` },
  })
  assert.deepEqual(await groupsOf(table, 'alice', passwordOf('Alice')), [])
  // RFC 4511, 4.5.1: the rule, the attribute and the value of an extensible match.
  const rule = '1.2.840.113556.1.4.1941'
  const value = `cn=Alice Example,ou=people,${trees.windows}`
  const asked = Buffer.concat([
    Buffer.from([0x81, rule.length]),
    Buffer.from(rule),
    Buffer.from([0x82, 'member'.length]),
    Buffer.from('member'),
    Buffer.from([0x83, value.length]),
    Buffer.from(value),
  ])
  assert.ok(proxy.fromClients().includes(asked))
})
