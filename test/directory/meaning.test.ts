/** What attributes, times, names and answers mean: tables, without a server. */
import assert from 'node:assert/strict'
import test from 'node:test'

import { InvalidCredentialsError, UnwillingToPerformError } from 'ldapts'

import { accountState } from '../../server/directory/account-state.ts'
import { bindRefusal } from '../../server/directory/bind-refusal.ts'
import { escapeRdnValue, isWithin, parseDn } from '../../server/directory/distinguished-name.ts'
import { Entry } from '../../server/directory/entry.ts'
import { parseGeneralizedTime } from '../../server/directory/generalized-time.ts'
import { guidBytes, guidText } from '../../server/directory/object-guid.ts'
import { Servers } from '../../server/directory/servers.ts'
import type { LdapSettings, Preset } from '../../server/ldap-settings.ts'
import { settingsOf } from './ldap.ts'

const times: readonly (readonly [string, string | undefined])[] = [
  ['20260131235959Z', '2026-01-31T23:59:59.000Z'],
  ['202601312359Z', '2026-01-31T23:59:00.000Z'],
  ['2026013123Z', '2026-01-31T23:00:00.000Z'],
  ['20260131235959.5Z', '2026-01-31T23:59:59.500Z'],
  ['20260131235959,123456Z', '2026-01-31T23:59:59.123Z'],
  ['2026013123.5Z', '2026-01-31T23:30:00.000Z'],
  ['20260201085959+0900', '2026-01-31T23:59:59.000Z'],
  ['20260131185959-05', '2026-01-31T23:59:59.000Z'],
  ['20161231235960Z', '2016-12-31T23:59:59.000Z'],
  ['20260231000000Z', undefined],
  ['20261301000000Z', undefined],
  ['20260131235959', undefined],
  ['2026-01-31T23:59:59Z', undefined],
  ['', undefined],
]
for (const [text, want] of times) {
  test(`the time ${JSON.stringify(text)} is ${want ?? 'none'}`, () => {
    assert.equal(parseGeneralizedTime(text)?.toISOString(), want)
  })
}

const now = new Date('2026-06-01T12:00:00Z')
const soon = '20260601120001Z'
const justNow = '20260601120000Z'
/** The present time in units of 100 ns since 1601. */
const windowsNow = (BigInt(now.getTime()) + 11_644_473_600_000n) * 10_000n

type Values = Readonly<Record<string, string | string[]>>

function settingsFor(preset: Preset, state: Readonly<Record<string, unknown>> = {}): LdapSettings {
  const settings = settingsOf({
    provider: 'ldap',
    preset,
    servers: ['ldaps://a'],
    base: 'dc=a',
    state,
  })
  assert.ok(settings.provider === 'ldap')
  return settings
}

/** Preset, attributes, and: what bars the account, whether wrong passwords may have locked it, whether the password is over. */
const states: readonly (readonly [Preset, Values, string | undefined, boolean, boolean])[] = [
  ['openldap', {}, undefined, false, false],
  ['openldap', { pwdaccountlockedtime: '000001010000Z' }, 'locked', true, false],
  ['openldap', { pwdAccountLockedTime: '20260601110000Z' }, undefined, true, false],
  ['openldap', { pwdEndTime: soon }, undefined, false, false],
  ['openldap', { pwdEndTime: justNow }, 'expired', false, false],
  ['openldap', { pwdEndTime: 'soon' }, 'expired', false, false],
  ['openldap', { pwdStartTime: justNow }, undefined, false, false],
  ['openldap', { pwdStartTime: soon }, 'disabled', false, false],
  ['openldap', { pwdStartTime: 'soon' }, 'disabled', false, false],
  ['openldap', { pwdReset: 'TRUE' }, undefined, false, true],
  ['openldap', { pwdReset: 'FALSE' }, undefined, false, false],
  ['openldap', { pwdGraceUseTime: [justNow, soon] }, undefined, false, true],
  ['openldap', { userAccountControl: '2', nsAccountLock: 'TRUE' }, undefined, false, false],
  ['activedirectory', { userAccountControl: '512' }, undefined, false, false],
  ['activedirectory', { userAccountControl: '514' }, 'disabled', false, false],
  ['activedirectory', { userAccountControl: '66050' }, 'disabled', false, false],
  ['activedirectory', { accountExpires: '0' }, undefined, false, false],
  ['activedirectory', { accountExpires: '9223372036854775807' }, undefined, false, false],
  ['activedirectory', { accountExpires: String(windowsNow + 10_000n) }, undefined, false, false],
  ['activedirectory', { accountExpires: String(windowsNow) }, 'expired', false, false],
  ['activedirectory', { accountExpires: 'never' }, 'expired', false, false],
  ['activedirectory', { lockoutTime: '0' }, undefined, false, false],
  ['activedirectory', { lockoutTime: String(windowsNow) }, undefined, true, false],
  [
    'activedirectory',
    { lockoutTime: String(windowsNow), 'msDS-User-Account-Control-Computed': '0' },
    undefined,
    false,
    false,
  ],
  ['activedirectory', { 'msDS-User-Account-Control-Computed': '16' }, undefined, true, false],
  ['activedirectory', { 'msDS-User-Account-Control-Computed': '8388608' }, undefined, false, true],
  ['activedirectory', { 'msDS-User-Account-Control-Computed': '8388624' }, undefined, true, true],
  ['freeipa', { nsAccountLock: 'TRUE' }, 'disabled', false, false],
  ['freeipa', { nsaccountlock: 'true' }, 'disabled', false, false],
  ['freeipa', { nsAccountLock: 'FALSE' }, undefined, false, false],
  ['freeipa', { krbPrincipalExpiration: justNow }, 'expired', false, false],
  ['freeipa', { krbPrincipalExpiration: soon }, undefined, false, false],
  ['freeipa', { krbPasswordExpiration: justNow }, undefined, false, true],
  ['freeipa', { krbPasswordExpiration: soon }, undefined, false, false],
]
for (const [preset, values, barred, isLocked, isOver] of states) {
  test(`${preset}: ${JSON.stringify(values)}`, () => {
    const entry = new Entry({ dn: 'cn=x', ...values })
    const state = accountState(entry, settingsFor(preset), now)
    assert.equal(state.barred?.reason, barred)
    assert.equal(state.attemptsLock !== undefined, isLocked)
    assert.equal(state.passwordExpired !== undefined, isOver)
  })
}

const today = Math.floor(now.getTime() / 86_400_000)
const shadows: readonly (readonly [string, string | undefined])[] = [
  ['-1', undefined],
  ['0', 'expired'],
  [String(today), 'expired'],
  [String(today + 1), undefined],
  ['x', 'expired'],
]
for (const [shadowExpire, want] of shadows) {
  test(`shadowExpire ${shadowExpire}: ${want ?? 'in order'}`, () => {
    const entry = new Entry({ dn: 'cn=x', shadowExpire })
    const chosen = settingsFor('openldap', { shadow_expire: true })
    assert.equal(accountState(entry, chosen, now).barred?.reason, want)
    assert.equal(accountState(entry, settingsFor('openldap'), now).barred, undefined)
  })
}

test('a GUID has the order of bytes that Windows shows', () => {
  const bytes = Buffer.from('00112233445566778899aabbccddeeff', 'hex')
  assert.equal(guidText(bytes), '33221100-5544-7766-8899-aabbccddeeff')
  assert.deepEqual(guidBytes('33221100-5544-7766-8899-aabbccddeeff'), bytes)
  assert.equal(guidText(bytes.subarray(1)), undefined)
  for (const text of ['', 'x', '33221100-5544-7766-8899-aabbccddeef', '*']) {
    assert.equal(guidBytes(text), undefined)
  }
})

const values: readonly (readonly [string, string])[] = [
  ['alice', 'alice'],
  ['a,b', 'a\\,b'],
  ['a+uid=b', 'a\\+uid\\=b'],
  ['"a"\\;<>#', '\\"a\\"\\\\\\;\\<\\>\\#'],
  [' a ', '\\20a\\20'],
  [' ', '\\20'],
  ['a\0b\n', 'a\\00b\\0a'],
  ['ä', 'ä'],
]
for (const [value, want] of values) {
  test(`${JSON.stringify(value)} in a distinguished name`, () => {
    assert.equal(escapeRdnValue(value), want)
    const rdns = parseDn(`uid=${want},ou=people`)
    assert.equal(rdns?.length, 2)
    assert.deepEqual([...(rdns[0] ?? [])], [['uid', value]])
  })
}

const names: readonly (readonly [string, readonly (readonly [string, string])[][] | undefined])[] =
  [
    ['', []],
    ['CN=a,DC=b', [[['cn', 'a']], [['dc', 'b']]]],
    ['cn = a b , dc= c', [[['cn', 'a b']], [['dc', 'c']]]],
    ['cn=a\\2Cb', [[['cn', 'a,b']]]],
    ['cn=\\C3\\A4', [[['cn', 'ä']]]],
    [
      'cn=a+uid=b,dc=c',
      [
        [
          ['cn', 'a'],
          ['uid', 'b'],
        ],
        [['dc', 'c']],
      ],
    ],
    ['2.5.4.3=a', [[['2.5.4.3', 'a']]]],
    ['cn', undefined],
    ['a,b', undefined],
    [',', undefined],
  ]
for (const [text, want] of names) {
  test(`the name ${JSON.stringify(text)} is read`, () => {
    assert.deepEqual(
      parseDn(text)?.map((rdn) => [...rdn]),
      want,
    )
  })
}

const places: readonly (readonly [string, string, boolean])[] = [
  ['cn=a,ou=b,dc=c', 'ou=b,dc=c', true],
  ['cn=a,OU=B,DC=C', 'ou=b, dc=c', true],
  ['cn=a,ou=b,dc=c', '', true],
  ['ou=b,dc=c', 'ou=b,dc=c', true],
  ['cn=a,ou=bb,dc=c', 'ou=b,dc=c', false],
  ['cn=x\\,ou=b,dc=c', 'ou=b,dc=c', false],
  ['dc=c', 'ou=b,dc=c', false],
]
for (const [name, base, want] of places) {
  test(`${name} is ${want ? '' : 'not '}within ${base || 'the root'}`, () => {
    assert.equal(isWithin(parseDn(name) ?? [], parseDn(base) ?? []), want)
  })
}

test('a refused bind means what its directory means by it', () => {
  const locked = new InvalidCredentialsError('AcceptSecurityContext error, data 775, v4563')
  assert.equal(bindRefusal(locked, 'openldap')?.outcome, 'refused')
  assert.deepEqual(bindRefusal(locked, 'activedirectory'), {
    outcome: 'refused',
    reason: 'locked',
    detail: 'LDAP result 49, data 775',
  })
  assert.equal(bindRefusal(new UnwillingToPerformError('no'), 'openldap'), undefined)
})

test('an attribute that was told of in part is known to be so', () => {
  const entry = new Entry({ dn: 'cn=x', memberOf: [], 'memberOf;range=0-1499': ['cn=a'] })
  assert.equal(entry.isCut('memberof'), true)
  assert.equal(entry.isCut('member'), false)
})

test('a server that failed comes last for half a minute', () => {
  let clock = 0
  const settings = settingsFor('openldap')
  const [first] = settings.servers
  assert.ok(first)
  const second = { ...first, url: 'ldaps://b' }
  const servers = new Servers([first, second], () => clock)
  const order = (): string[] => servers.inOrder().map(({ url }) => url)
  assert.deepEqual(order(), ['ldaps://a', 'ldaps://b'])
  servers.failed(first)
  assert.deepEqual(order(), ['ldaps://b', 'ldaps://a'])
  clock = 29_999
  assert.deepEqual(order(), ['ldaps://b', 'ldaps://a'])
  servers.failed(second)
  assert.deepEqual(order(), ['ldaps://a', 'ldaps://b'])
  clock = 30_000
  assert.deepEqual(order(), ['ldaps://a', 'ldaps://b'])
  servers.answered(second)
  assert.deepEqual(order(), ['ldaps://a', 'ldaps://b'])
})
