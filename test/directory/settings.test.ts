/** The table [directory]: what is taken, and that every mistake is told at once with its place. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'
import { inspect } from 'node:util'

import { ConfigError, makeConfig } from '../../server/config.ts'
import { openDirectory } from '../../server/directory/open-directory.ts'
import { settingsOf, silent } from './ldap.ts'
import type { Table } from './ldap.ts'

const directory = mkdtempSync(join(tmpdir(), 'berth-directory-'))
after(() => rmSync(directory, { recursive: true, force: true }))

function file(name: string, text: string): string {
  const path = join(directory, name)
  writeFileSync(path, text)
  return path
}

const secret = file('secret', 'very-secret\n')
const empty = file('empty', '\n')
const noPem = file('no.pem', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')

const ldap: Table = {
  provider: 'ldap',
  preset: 'openldap',
  servers: ['ldaps://ldap.example.org'],
  base: 'dc=example,dc=org',
}
const portal: Table = {
  provider: 'portal',
  url: 'https://portal.example.org/check',
  format: 'json',
  success_field: 'ok',
}

test('without the table there is no directory', () => {
  const config = makeConfig({})
  assert.equal(config.directory, undefined)
  assert.equal(openDirectory(config.directory, silent), undefined)
})

test('what is not said comes from the preset', () => {
  const settings = settingsOf(ldap)
  assert.ok(settings.provider === 'ldap')
  assert.deepEqual(settings.attributes, {
    name: 'uid',
    id: 'entryUUID',
    mail: 'mail',
    fullName: 'cn',
  })
  assert.equal(settings.timeoutMs, 8000)
  assert.equal(settings.groups.method, 'none')
  const windows = settingsOf({ ...ldap, preset: 'activedirectory', name_attribute: 'mail' })
  assert.ok(windows.provider === 'ldap')
  assert.equal(windows.attributes.name, 'mail')
  assert.equal(windows.attributes.id, 'objectGUID')
  assert.equal(windows.groups.method, 'member_of')
  assert.match(windows.userFilter ?? '', /objectCategory=person/)
  const ipa = settingsOf({ ...ldap, preset: 'freeipa' })
  assert.ok(ipa.provider === 'ldap')
  assert.equal(ipa.attributes.id, 'ipaUniqueID')
})

const servers: readonly (readonly [string, Table, string])[] = [
  ['ldaps://a', {}, 'a 636 tls a'],
  ['ldaps://a:1636/', {}, 'a 1636 tls a'],
  ['LDAPS://a', { server_name: 'b' }, 'a 636 tls b'],
  ['ldap://a', { start_tls: true }, 'a 389 start-tls a'],
  ['ldaps://[2001:db8::1]:7', {}, '2001:db8::1 7 tls 2001:db8::1'],
  ['ldap://127.0.0.1:389', { allow_plain: true }, '127.0.0.1 389 none 127.0.0.1'],
  ['ldap://localhost', { allow_plain: true }, 'localhost 389 none localhost'],
  ['ldap://[::1]', { allow_plain: true }, '::1 389 none ::1'],
]
for (const [url, more, want] of servers) {
  test(`${url} with ${JSON.stringify(more)} is ${want}`, () => {
    const settings = settingsOf({ ...ldap, servers: [url], ...more })
    assert.ok(settings.provider === 'ldap')
    const [server] = settings.servers
    assert.equal(
      [server?.host, server?.port, server?.security, server?.certificateName].join(' '),
      want,
    )
  })
}

test('a secret comes from its file and is printed nowhere', () => {
  const named = { bind_dn: 'cn=berth', bind_password_file: secret }
  const config = makeConfig({ directory: { ...ldap, ...named } })
  assert.ok(config.directory?.provider === 'ldap')
  assert.equal(config.directory.service?.password.reveal(), 'very-secret')
  for (const text of [JSON.stringify(config), inspect(config, { depth: 9, showHidden: true })]) {
    assert.doesNotMatch(text, /very-secret/)
  }
})

/** What is changed in a table that is right, and the mistakes, each as "place: beginning". */
const mistakes: readonly (readonly [Table, Table, readonly string[]])[] = [
  [ldap, { provider: 'nis' }, ['provider: Invalid option']],
  [ldap, { provider: undefined }, ['provider: Invalid option']],
  [ldap, { preset: 'novell' }, ['preset: Invalid option']],
  [ldap, { servers: [] }, ['servers: Too small']],
  [ldap, { servers: 'ldaps://a' }, ['servers: Invalid input']],
  [
    ldap,
    { servers: ['http://a', 'ldaps://', 'ldaps://a/dc=x', 'ldaps://u:p@a', 'a', 'ldaps://a?b'] },
    [
      'servers.0: expected',
      'servers.1: expected',
      'servers.2: expected',
      'servers.3: expected',
      'servers.4: expected',
      'servers.5: expected',
    ],
  ],
  [ldap, { servers: ['ldap://a'] }, ['servers: ldap://a would carry passwords in clear']],
  [
    ldap,
    { servers: ['ldap://10.0.0.1', 'ldap://127.0.0.1'], allow_plain: true },
    ['servers: ldap://10.0.0.1: without TLS passwords may go to this machine only'],
  ],
  [ldap, { servers: ['ldap://127.0.0.1'] }, ['servers: ldap://127.0.0.1 would carry']],
  [ldap, { servers: ['ldap://127.0.0.1.evil.test'], allow_plain: true }, ['servers: ']],
  [ldap, { start_tls: true }, ['start_tls: is for ldap:// addresses']],
  [ldap, { base: undefined }, ['base: say where people are searched']],
  [ldap, { base: 'example.org' }, ['base: expected a distinguished name']],
  [ldap, { bind_dn: 'cn=x' }, ['bind_password_file: bind_dn and bind_password_file belong']],
  [ldap, { bind_password_file: secret }, ['bind_dn: bind_dn and bind_password_file belong']],
  [ldap, { bind_dn: 'cn=x', bind_password_file: empty }, ['bind_password_file: ']],
  [ldap, { bind_dn: 'cn=x', bind_password_file: `${secret}.absent` }, ['bind_password_file: ']],
  [ldap, { ca_file: `${secret}.absent` }, ['ca_file: ']],
  [ldap, { ca_file: directory }, ['ca_file: ']],
  [ldap, { ca_file: secret }, ['ca_file: ']],
  [ldap, { ca_file: noPem }, ['ca_file: ']],
  [ldap, { user_filter: 'uid=a' }, ['user_filter: expected one filter']],
  [ldap, { user_filter: '(uid=a' }, ['user_filter: expected one filter']],
  [ldap, { user_filter: '(uid=a)(cn=b)' }, ['user_filter: expected one filter']],
  [ldap, { user_filter: '()' }, ['user_filter: expected one filter']],
  [ldap, { id_attribute: 'entry UUID' }, ['id_attribute: expected the name']],
  [ldap, { direct_bind: 'uid=x' }, ['direct_bind: expected a name with one {user}']],
  [ldap, { direct_bind: '{user}{user}' }, ['direct_bind: expected a name with one {user}']],
  [ldap, { direct_bind: '{user}@a', base: undefined }, ['base: is needed']],
  [ldap, { timeout_seconds: 0 }, ['timeout_seconds: Too small']],
  [ldap, { timeout_seconds: 61 }, ['timeout_seconds: Too big']],
  [ldap, { groups: { method: 'search' } }, ['groups.base: say where groups']],
  [ldap, { groups: {} }, ['groups.method: Invalid option']],
  [
    ldap,
    { groups: { method: 'nested', base: 'dc=a', member_attribute: 'memberUid' } },
    ['groups.member_attribute: memberUid holds'],
  ],
  [
    ldap,
    { state: { disabled_attribute: 'a' } },
    ['state.disabled_attribute: disabled_attribute and'],
  ],
  [
    ldap,
    { state: { disabled_values: ['a'] } },
    ['state.disabled_attribute: disabled_attribute and'],
  ],
  [
    ldap,
    { url: 'https://a', success_field: 'ok' },
    ['url: unknown key', 'success_field: unknown key'],
  ],
  [ldap, { bind_password: 'x' }, ['bind_password: unknown key']],
  [portal, { servers: ['ldaps://a'], base: 'dc=a' }, ['servers: unknown key', 'base: unknown key']],
  [portal, { url: 'http://portal.example.org' }, ['url: would carry passwords in clear']],
  [portal, { url: 'http://portal.example.org', allow_plain: true }, ['url: without TLS']],
  [portal, { url: 'portal.example.org' }, ['url: Invalid']],
  [portal, { url: 'https://u:p@portal.example.org' }, ['url: has a user']],
  [portal, { success_field: undefined }, ['success_field: Invalid input']],
  [portal, { success_field: 'a..b' }, ['success_field: expected a field']],
  [portal, { format: 'xml' }, ['format: Invalid option']],
  [portal, { refused_status: [200] }, ['refused_status: has the status']],
  [portal, { refused_status: 401 }, ['refused_status: Invalid input']],
  [portal, { name_field: 'x', password_field: 'x' }, ['password_field: is the field of the name']],
  [portal, { reply: { login: 'x' } }, ['reply.login: unknown key']],
  [
    ldap,
    {
      preset: 'novell',
      servers: ['ldap://a', 'b'],
      base: undefined,
      colour: 'red',
      ca_file: secret,
      bind_dn: 'cn=x',
      groups: { method: 'search' },
      timeout_seconds: 'long',
    },
    [
      'preset: Invalid option',
      'servers.1: expected',
      'ca_file: ',
      'timeout_seconds: Invalid input',
      'colour: unknown key',
      'servers: ldap://a would carry',
      'bind_password_file: bind_dn and',
      'base: say where people',
      'groups.base: say where groups',
    ],
  ],
]
for (const [right, change, want] of mistakes) {
  test(`${String(right['provider'])} with ${JSON.stringify(change).replaceAll(directory, '')}`, () => {
    assert.ok(makeConfig({ directory: right }).directory)
    const all = Object.entries({ ...right, ...change }).filter(([, value]) => value !== undefined)
    assert.throws(
      () => makeConfig({ directory: Object.fromEntries(all) }, 'berth.toml'),
      (error: unknown) => {
        assert.ok(error instanceof ConfigError, String(error))
        assert.equal(error.mistakes.length, want.length, error.message)
        for (const [index, beginning] of want.entries()) {
          const mistake = error.mistakes[index] ?? ''
          assert.ok(mistake.startsWith(`berth.toml: directory.${beginning}`), error.message)
        }
        assert.doesNotMatch(error.message, /very-secret/)
        return true
      },
    )
  })
}

test('a filter that only LDAP can judge is told when Berth starts', () => {
  const settings = settingsOf({ ...ldap, user_filter: '(=a)' })
  assert.throws(() => openDirectory(settings, silent), /\(=a\) is no LDAP filter/)
})
