/** Signing in with OpenLDAP: who is let in, who is not and why, with both ways of asking. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { trees } from '../support/slapd-config.ts'
import { passwordOf, personAttributes, personDn } from '../support/slapd-people.ts'
import { skipSlapd, startSlapd } from '../support/slapd.ts'
import type { Slapd } from '../support/slapd.ts'
import { inShort, isUnavailable, open, readableLog, signIn, siteTable } from './ldap.ts'
import type { Table } from './ldap.ts'

const skip = skipSlapd
const slapd = skip === false ? await startSlapd({ after }) : undefined

function site(more: Table = {}): Table {
  return siteTable(slapd as Slapd, more)
}

const byTemplate = {
  direct_bind: `uid={user},ou=people,${trees.site}`,
  bind_dn: undefined,
  bind_password_file: undefined,
}

/** Name, password (undefined: the right one), and the answer. */
const matrix: readonly (readonly [string, string | undefined, string])[] = [
  ['alice', undefined, 'accepted alice'],
  ['alice', 'wrong', 'refused password'],
  ['alice', passwordOf('bob'), 'refused password'],
  ['nobody', undefined, 'refused unknown'],
  ['adminlocked', undefined, 'refused locked'],
  ['locked', undefined, 'refused locked'],
  ['waslocked', undefined, 'accepted waslocked'],
  ['ended', undefined, 'refused expired'],
  ['ending', undefined, 'accepted ending'],
  ['notyet', undefined, 'refused disabled'],
  ['reset', undefined, 'password-expired reset'],
  ['reset', 'wrong', 'refused password'],
  ['overdue', undefined, 'refused password'],
  ['grace', undefined, 'password-expired grace'],
  ['grace', 'wrong', 'refused password'],
  ['shadow', undefined, 'accepted shadow'],
  ['noshell', undefined, 'accepted noshell'],
  ['left', undefined, 'accepted left'],
  ['mixedcase', passwordOf('MixedCase'), 'accepted mixedcase'],
  ['multi', undefined, 'accepted multi'],
  ['alias', passwordOf('multi'), 'accepted multi'],
  ['under__score', undefined, 'refused malformed'],
  ['first', undefined, 'refused malformed'],
  ['odd', undefined, 'accepted odd'],
]
for (const [name, password, want] of matrix) {
  const what = password === undefined ? 'the right password' : `the password ${password}`
  test(`${name} with ${what}: ${want}`, { skip }, async () => {
    const answer = await signIn(open(site()), name, password ?? passwordOf(name))
    assert.equal(inShort(answer), want)
  })
}

/**
 * Where the person's own name is bound first, the directory says less: what is locked or over is a
 * wrong password to us, and a name has one spelling.
 */
const differing: Readonly<Record<string, string>> = {
  nobody: 'refused password',
  adminlocked: 'refused password',
  locked: 'refused password',
  ended: 'refused password',
  notyet: 'refused password',
  alias: 'refused password',
  first: 'refused password',
  odd: 'refused password',
}
for (const [name, password, want] of matrix) {
  const expected = differing[name] ?? want
  const what = password === undefined ? 'the right password' : `the password ${password}`
  test(`direct bind: ${name} with ${what}: ${expected}`, { skip }, async () => {
    const answer = await signIn(open(site(byTemplate)), name, password ?? passwordOf(name))
    assert.equal(inShort(answer), expected)
  })
}

test('an entry tells who it is: identifier, mail, full name', { skip }, async () => {
  for (const more of [{}, byTemplate]) {
    const answer = await signIn(open(site(more)), 'alice', passwordOf('alice'))
    assert.ok(answer.outcome === 'accepted')
    assert.match(answer.entry.id, /^[0-9a-f-]{36}$/)
    assert.deepEqual(
      { ...answer.entry, id: '' },
      {
        id: '',
        name: 'alice',
        email: 'alice@site.test',
        fullName: 'alice of the site',
        groups: [],
      },
    )
  }
})

test('other attributes can be chosen', { skip }, async () => {
  const chosen = { id_attribute: 'mail', full_name_attribute: 'sn', mail_attribute: 'description' }
  const answer = await signIn(open(site(chosen)), 'alice', passwordOf('alice'))
  assert.ok(answer.outcome === 'accepted')
  const { id, fullName, email } = answer.entry
  assert.deepEqual({ id, fullName, email }, { id: 'alice@site.test', fullName: 'alice', email: '' })
  const without = await signIn(open(site({ id_attribute: 'employeeNumber' })), 'alice', 'x')
  assert.equal(inShort(without), 'refused malformed')
  const kept = await signIn(open(site({ lowercase_names: false })), 'mixedcase', 'x')
  assert.equal(inShort(kept), 'refused malformed')
})

const choices: readonly (readonly [string, Table, string])[] = [
  ['shadow', { shadow_expire: true }, 'refused expired'],
  ['alice', { shadow_expire: true, nologin_shells: true }, 'accepted alice'],
  ['noshell', { nologin_shells: true }, 'refused disabled'],
  [
    'left',
    { disabled_attribute: 'employeeType', disabled_values: ['retired', 'left'] },
    'refused disabled',
  ],
  ['left', { disabled_attribute: 'employeeType', disabled_values: ['retired'] }, 'accepted left'],
]
for (const [name, state, want] of choices) {
  test(`${name} with ${JSON.stringify(state)}: ${want}`, { skip }, async () => {
    for (const more of [{}, byTemplate]) {
      const answer = await signIn(open(site({ ...more, state })), name, passwordOf(name))
      assert.equal(inShort(answer), want)
    }
  })
}

test('more than one entry with a name is nobody', { skip }, async () => {
  const whole = site({ base: trees.site })
  assert.equal(inShort(await signIn(open(whole), 'twin', passwordOf('twin'))), 'refused ambiguous')
  const narrowed = { ...whole, user_filter: '(!(description=guest))' }
  assert.equal(inShort(await signIn(open(narrowed), 'twin', 'x')), 'refused ambiguous')
})

test("the site's filter decides who is seen", { skip }, async () => {
  for (const more of [{}, byTemplate]) {
    const only = open(site({ ...more, user_filter: '(&(objectClass=person)(mail=a*))' }))
    assert.equal(inShort(await signIn(only, 'alice', passwordOf('alice'))), 'accepted alice')
    assert.equal(inShort(await signIn(only, 'bob', passwordOf('bob'))), 'refused unknown')
  }
})

test('a part of the tree that another server has is not asked for', { skip }, async () => {
  const { log, text } = readableLog()
  const whole = open(site({ base: trees.site }), log)
  assert.equal(inShort(await signIn(whole, 'alice', passwordOf('alice'))), 'accepted alice')
  assert.equal(inShort(await signIn(whole, 'nobody', 'x')), 'refused unknown')
  assert.match(text(), /the directory refers to others/)
  const inside = open(site({ base: `ou=elsewhere,${trees.site}` }))
  await assert.rejects(signIn(inside, 'alice', 'x'), isUnavailable(/LDAP result 10/))
})

const hostile: readonly string[] = [
  '*',
  'a*',
  '*)(uid=*',
  'alice)(|(uid=*',
  '\\2a',
  'alice\0',
  '\0',
  `alice,ou=people,${trees.site}`,
  'alice+uid=bob',
  'alice,ou=people',
  'x,uid=alice',
  '" or 1',
  'a'.repeat(65_536),
  'alice\u200b',
]
for (const name of hostile) {
  test(`the name ${JSON.stringify(name.slice(0, 30))} is nobody's`, { skip }, async () => {
    for (const more of [{}, byTemplate]) {
      const answer = await signIn(open(site(more)), name, passwordOf('alice'))
      assert.equal(answer.outcome, 'refused', JSON.stringify(answer))
    }
  })
}

test('who is throttled is the person, not the spelling', { skip }, async () => {
  for (const spelling of ['alice', 'ALICE', ' alice', 'alice  ', 'Alice']) {
    const admitted: string[] = []
    const admit = async (name: string): Promise<void> => void admitted.push(name)
    const answer = await open(site()).signIn(spelling, passwordOf('alice'), admit)
    assert.equal(inShort(answer), 'accepted alice')
    assert.deepEqual(admitted, ['alice'])
    // A name that is bound as it is has one spelling only.
    const direct = await open(site(byTemplate)).signIn(spelling, passwordOf('alice'), admit)
    assert.equal(inShort(direct), spelling === 'alice' ? 'accepted alice' : 'refused malformed')
  }
  const admitted: string[] = []
  const admit = async (name: string): Promise<void> => void admitted.push(name)
  for (const more of [{}, byTemplate]) await open(site(more)).signIn('nobody', 'x', admit)
  await open(site()).signIn('adminlocked', 'x', admit)
  assert.deepEqual(admitted, ['nobody', 'nobody', 'adminlocked'])
})

test('somebody who is throttled is not checked', { skip }, async () => {
  for (const more of [{}, byTemplate]) {
    const stop = new Error('too many')
    const refusing = open(site(more)).signIn('bob', passwordOf('bob'), async () => {
      throw stop
    })
    await assert.rejects(refusing, stop)
  }
})

test(
  'wrong passwords lock an account in the directory, and that is told apart',
  { skip },
  async () => {
    const directory = open(site())
    for (let attempt = 0; attempt < 3; attempt += 1) {
      assert.equal(inShort(await signIn(directory, 'victim', 'wrong')), 'refused password')
    }
    const answer = await signIn(directory, 'victim', passwordOf('victim'))
    assert.equal(inShort(answer), 'refused locked')
    assert.match(JSON.stringify(answer), /pwdAccountLockedTime \d{14}/)
  },
)

test('a login name that is given to somebody else has another identifier', { skip }, async () => {
  const server = slapd as Slapd
  const attributes: Record<string, string[]> = {}
  for (const [name, value] of personAttributes('reused')) (attributes[name] ??= []).push(value)
  const ids: string[] = []
  for (const person of ['first', 'second']) {
    await server.administer(async (client) => await client.add(personDn('reused'), attributes))
    const answer = await signIn(open(site()), 'reused', passwordOf('reused'))
    assert.ok(answer.outcome === 'accepted', person)
    ids.push(answer.entry.id)
    await server.administer(async (client) => await client.del(personDn('reused')))
  }
  assert.equal(new Set(ids).size, 2)
})

const misconfigured: readonly (readonly [string, Table, RegExp])[] = [
  ['a service account that does not exist', { bind_dn: 'cn=x,dc=site,dc=test' }, /LDAP result 49/],
  ['a base that does not exist', { base: `ou=x,${trees.site}` }, /LDAP result 32/],
  ['a base of somebody else', { base: 'dc=example,dc=org' }, /LDAP result 32|LDAP result 10/],
  [
    'nobody in particular where nobody may read',
    { bind_dn: undefined, bind_password_file: undefined },
    /LDAP result \d+/,
  ],
]
for (const [what, more, message] of misconfigured) {
  test(`${what} is no reason to refuse anybody`, { skip }, async () => {
    const { log, text } = readableLog()
    const failing = signIn(open(site(more), log), 'alice', passwordOf('alice'))
    await assert.rejects(failing, isUnavailable(message))
    assert.match(text(), /the directory refuses what Berth asks/)
  })
}
