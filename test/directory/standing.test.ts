/** What re-validation learns: complete answers, or an error. */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { Attribute, Change } from 'ldapts'

import type { Directory, Standing } from '../../server/accounts/directory.ts'
import { blackHole, cutAfterSearches } from '../support/ldap-faults.ts'
import { trees } from '../support/slapd-config.ts'
import { passwordOf, personAttributes, personDn } from '../support/slapd-people.ts'
import { skipSlapd, startSlapd } from '../support/slapd.ts'
import type { Slapd } from '../support/slapd.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { ipaTable, isUnavailable, open, signIn, siteTable, windowsTable } from './ldap.ts'

const skip = skipSlapd
const running = skip === false ? await startSlapd({ after }) : undefined
const slapd = running as Slapd

const absent = '00000000-0000-0000-0000-000000000000'

async function ask(directory: Directory, ids: readonly string[]): Promise<Standing[]> {
  assert.ok(directory.standing)
  const standings = await directory.standing(ids)
  assert.equal(standings.size, new Set(ids).size)
  return ids.map((id) => {
    const standing = standings.get(id)
    assert.ok(standing, `no answer for ${id}`)
    return standing
  })
}

/** The identifiers of people, as an administrator of the tree reads them. */
async function idsOf(names: readonly string[]): Promise<string[]> {
  return await slapd.administer(async (client) => {
    const ids: string[] = []
    for (const name of names) {
      const { searchEntries } = await client.search(personDn(name), {
        scope: 'base',
        attributes: ['entryUUID'],
      })
      ids.push(String(searchEntries[0]?.['entryUUID']))
    }
    return ids
  })
}

function inShort(standing: Standing): string {
  if (standing.state === 'present') return `present ${standing.entry.name}`
  return standing.state === 'gone' ? 'gone' : `barred ${standing.reason}`
}

const states: readonly (readonly [string, string])[] = [
  ['alice', 'present alice'],
  ['adminlocked', 'barred locked'],
  ['locked', 'present locked'], // by wrong passwords: a token needs none
  ['ended', 'barred expired'],
  ['notyet', 'barred disabled'],
  ['reset', 'present reset'],
  ['overdue', 'present overdue'],
  ['MixedCase', 'present mixedcase'],
  ['under__score', 'barred disabled'],
  ['noshell', 'barred disabled'],
]

test('everybody has an answer, with groups', { skip }, async () => {
  const state = { nologin_shells: true }
  const groups = { method: 'search', base: `ou=groups,${trees.site}` }
  const directory = open(siteTable(slapd, { groups, state }))
  const ids = await idsOf(states.map(([name]) => name))
  const standings = await ask(directory, [...ids, absent, '', 'no uuid', '*', '*)(uid=*'])
  assert.deepEqual(standings.map(inShort), [
    ...states.map(([, want]) => want),
    ...Array.from({ length: 5 }, () => 'gone'),
  ])
  const [alice] = standings
  assert.ok(alice?.state === 'present')
  assert.deepEqual(alice.entry, {
    id: ids[0],
    name: 'alice',
    email: 'alice@site.test',
    fullName: 'alice of the site',
    groups: ['climate', 'comma, plus+'],
  })
  const signed = await signIn(directory, 'alice', passwordOf('alice'))
  assert.deepEqual(signed, { outcome: 'accepted', entry: alice.entry })
})

test('nobody asked, nobody connected to', { skip }, async (t) => {
  const proxy = await startProxy(t, slapd.tlsPort)
  const directory = open(siteTable(slapd, { servers: [`ldaps://127.0.0.1:${proxy.port}`] }))
  assert.deepEqual(await ask(directory, []), [])
  assert.equal(proxy.connections(), 0)
})

test('many people take one connection and are all told of', { skip }, async (t) => {
  const proxy = await startProxy(t, slapd.tlsPort)
  const directory = open(siteTable(slapd, { servers: [`ldaps://127.0.0.1:${proxy.port}`] }))
  const names = Array.from({ length: 230 }, (_, index) => `many${index}`)
  await slapd.administer(async (client) => {
    for (const name of names) {
      const attributes: Record<string, string[]> = {}
      for (const [key, value] of personAttributes(name)) (attributes[key] ??= []).push(value)
      await client.add(personDn(name), attributes)
    }
  })
  const ids = await idsOf(names)
  const standings = await ask(directory, [...ids, absent])
  assert.deepEqual(standings.map(inShort), [...names.map((name) => `present ${name}`), 'gone'])
  assert.equal(proxy.connections(), 1)
})

test('who was renamed is the same person; who was replaced is gone', { skip }, async () => {
  const directory = open(siteTable(slapd))
  const attributes: Record<string, string[]> = {}
  for (const [key, value] of personAttributes('before')) (attributes[key] ??= []).push(value)
  await slapd.administer(async (client) => await client.add(personDn('before'), attributes))
  const [id = ''] = await idsOf(['before'])
  await slapd.administer(async (client) => {
    await client.modifyDN(personDn('before'), 'uid=afterwards')
  })
  assert.deepEqual((await ask(directory, [id])).map(inShort), ['present afterwards'])
  await slapd.administer(async (client) => await client.del(personDn('afterwards')))
  await slapd.administer(async (client) => await client.add(personDn('before'), attributes))
  assert.deepEqual((await ask(directory, [id])).map(inShort), ['gone'])
})

test('Active Directory is asked by the bytes of objectGUID', { skip }, async () => {
  const directory = open(windowsTable(slapd))
  const alice = '33221100-5544-7766-8899-aabbccddeeff'
  const disabled = '00000000-0000-0000-0000-000000000001'
  const locked = '00000000-0000-0000-0000-000000000005'
  const standings = await ask(directory, [alice, disabled, locked, absent, 'no guid'])
  assert.deepEqual(standings.map(inShort), [
    'present alice',
    'barred disabled',
    'present locked',
    'gone',
    'gone',
  ])
  assert.deepEqual((await ask(directory, ['no guid'])).map(inShort), ['gone'])
})

test('FreeIPA: without a service account, where everybody may read', { skip }, async () => {
  const directory = open(ipaTable(slapd))
  const ids = ['alice', 'locked', 'stale', 'expired', 'nobody'].map((name) => `${name}-unique`)
  assert.deepEqual((await ask(directory, ids)).map(inShort), [
    'present alice',
    'barred disabled',
    'present stale',
    'barred expired',
    'gone',
  ])
})

test(
  'people who are bound directly can be asked about with a service account only',
  { skip },
  async () => {
    const direct_bind = `uid={user},ou=people,${trees.site}`
    const [id = ''] = await idsOf(['alice'])
    const withService = open(siteTable(slapd, { direct_bind }))
    assert.deepEqual((await ask(withService, [id])).map(inShort), ['present alice'])
    const alone = siteTable(slapd, {
      direct_bind,
      bind_dn: undefined,
      bind_password_file: undefined,
    })
    assert.equal(open(alone).standing, undefined)
  },
)

test('an outage is an error, at once or after a part of the answers', { skip }, async (t) => {
  const proxy = await startProxy(t, slapd.port, blackHole)
  const servers = [`ldap://127.0.0.1:${proxy.port}`]
  const table = siteTable(slapd, { servers, allow_plain: true, timeout_seconds: 1 })
  const directory = open(table)
  await assert.rejects(ask(directory, [absent]), isUnavailable(/does not answer/))
  const [alice = ''] = await idsOf(['alice'])
  const others = Array.from({ length: 150 }, (_, index) => `${absent}-${index}`)
  proxy.setFault(cutAfterSearches(1))
  await assert.rejects(ask(directory, [alice, ...others]), isUnavailable(/does not answer/))
  proxy.setFault({})
  const [first, ...rest] = await ask(directory, [alice, ...others])
  assert.ok(first?.state === 'present')
  assert.ok(rest.every(({ state }) => state === 'gone'))
})

test('a directory that answers a part only is not believed', { skip }, async () => {
  const directory = open(siteTable(slapd))
  const ids = await idsOf(['alice', 'bob', 'ending'])
  await setSizeLimit('2')
  try {
    await assert.rejects(ask(directory, ids), isUnavailable(/LDAP result 4/))
  } finally {
    await setSizeLimit('500')
  }
  assert.equal((await ask(directory, ids)).length, 3)
})

test('a directory that refers elsewhere for the rest is not believed', { skip }, async () => {
  const whole = open(siteTable(slapd, { base: trees.site }))
  const [alice = ''] = await idsOf(['alice'])
  await assert.rejects(ask(whole, [alice, absent]), isUnavailable(/refers to .*elsewhere/))
  // Where nobody is missing, nothing was elsewhere.
  assert.deepEqual((await ask(whole, [alice])).map(inShort), ['present alice'])
  const inside = open(siteTable(slapd, { base: `ou=elsewhere,${trees.site}` }))
  await assert.rejects(ask(inside, [alice]), isUnavailable(/LDAP result 10/))
})

test('a base that went away is an error and not an empty directory', { skip }, async () => {
  const elsewhere = open(siteTable(slapd, { base: `ou=x,${trees.site}` }))
  await assert.rejects(ask(elsewhere, [absent]), isUnavailable(/LDAP result 32/))
})

test('identifiers that are not unique are an error', { skip }, async () => {
  const directory = open(siteTable(slapd, { id_attribute: 'gidNumber' }))
  await assert.rejects(
    ask(directory, ['1000']),
    isUnavailable(/two entries have the identifier 1000/),
  )
})

async function setSizeLimit(limit: string): Promise<void> {
  await slapd.configure(async (client) => {
    const modification = new Attribute({ type: 'olcSizeLimit', values: [limit] })
    await client.modify('olcDatabase={1}mdb,cn=config', [
      new Change({ operation: 'replace', modification }),
    ])
  })
}
