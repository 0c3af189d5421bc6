/** What is searched for, and how the index says what was found. */
import assert from 'node:assert/strict'
import test from 'node:test'

import {
  escapeUserId,
  flagOf,
  humanIndex,
  machineIndex,
} from '../../server/keystore/index-lines.ts'
import type { KeyRow } from '../../server/keystore/key-rows.ts'
import { isNamed, namesIn } from '../../server/keystore/ownership.ts'
import { parseSearch } from '../../server/keystore/search-term.ts'
import type { SearchTerm } from '../../server/keystore/search-term.ts'

const v4 = '0123456789ABCDEF0123456789ABCDEF01234567'
const terms: readonly (readonly [string, SearchTerm])[] = [
  [`0x${v4.toLowerCase()}`, { kind: 'fingerprint', fingerprint: v4 }],
  [`0X${v4}`, { kind: 'fingerprint', fingerprint: v4 }],
  [`0x${'ab'.repeat(32)}`, { kind: 'fingerprint', fingerprint: 'AB'.repeat(32) }],
  ['0x0123456789ABCDEF', { kind: 'key-id', keyId: '0123456789ABCDEF', short: undefined }],
  // Printed as a number, leading zeros are gone.
  ['0x3f4f4f14b03b2', { kind: 'key-id', keyId: '0003F4F4F14B03B2', short: undefined }],
  ['0x36aaaf45', { kind: 'key-id', keyId: '0000000036AAAF45', short: '36AAAF45' }],
  ['0x6aaaf45', { kind: 'key-id', keyId: '0000000006AAAF45', short: '06AAAF45' }],
  ['36aaaf45', { kind: 'words', words: '36aaaf45', hex: '36AAAF45' }],
  [v4, { kind: 'words', words: v4, hex: v4 }],
  ['alice', { kind: 'words', words: 'alice', hex: undefined }],
  [' alice@example.org ', { kind: 'words', words: 'alice@example.org', hex: undefined }],
  ['0x', { kind: 'words', words: '0x', hex: undefined }],
  ['0xzz', { kind: 'words', words: '0xzz', hex: undefined }],
  [`0x${'a'.repeat(65)}`, { kind: 'words', words: `0x${'a'.repeat(65)}`, hex: undefined }],
]
for (const [text, want] of terms) {
  test(`${text.slice(0, 24)} is ${want.kind}`, () => assert.deepEqual(parseSearch(text), want))
}

const day = (text: string): Date => new Date(`${text}T00:00:00Z`)
const key: KeyRow = {
  fingerprint: v4,
  version: 4,
  algorithm: 1,
  bits: 4096,
  createdAt: day('2026-01-01'),
  expiresAt: null,
  revoked: false,
  bytes: Buffer.alloc(0),
  ownerId: null,
  ownerName: 'alice',
  pushedAt: day('2026-01-02'),
  updatedAt: day('2026-01-02'),
  retiredAt: null,
  tombstonedAt: null,
  userIds: [
    {
      text: 'Alice +x (a:b) 100% <alice@example.org>',
      email: 'alice@example.org',
      createdAt: day('2026-01-01'),
      expiresAt: null,
      revoked: false,
    },
  ],
}
const hundredYears = day('2126-01-01')

test('the machine-readable index has seven fields for a key, and escapes user IDs', () => {
  const created = day('2026-01-01').getTime() / 1000
  assert.equal(
    machineIndex([key]),
    `info:1:1\npub:${v4}:1:4096:${created}::\nuid:Alice %2Bx (a%3Ab) 100%25 <alice@example.org>:${created}::\n`,
  )
  const ended = { ...key, expiresAt: day('2026-02-01') }
  assert.match(machineIndex([ended]), new RegExp(`:${created}:${created + 31 * 86_400}:e\n`))
  for (const line of machineIndex([key, ended]).split('\n').slice(1, -1)) {
    if (line.startsWith('pub:')) assert.equal(line.split(':').length, 7)
  }
})

test('the flag is one letter, the most serious', () => {
  assert.equal(flagOf(key), '')
  assert.equal(flagOf({ ...key, expiresAt: hundredYears }), '')
  assert.equal(flagOf({ ...key, expiresAt: day('2020-01-01') }), 'e')
  assert.equal(flagOf({ ...key, retiredAt: day('2026-02-01'), expiresAt: day('2020-01-01') }), 'd')
  assert.equal(flagOf({ ...key, revoked: true, retiredAt: day('2026-02-01') }), 'r')
})

test('what could be taken for the structure of the index is escaped', () => {
  assert.equal(escapeUserId('a:b\nc%d+e'), 'a%3Ab%0Ac%25d%2Be')
  assert.equal(escapeUserId('Größe <x@y>'), 'Gr%C3%B6%C3%9Fe <x@y>')
})

test('people read whose a key is and how it stands', () => {
  const text = humanIndex([{ ...key, retiredAt: day('2026-02-01') }])
  assert.match(text, /retired\n {2}Alice .*\n {2}of alice, made 2026-01-01, ends never\n/)
})

const userIds: readonly (readonly [string, string, string])[] = [
  ['alice (work) <alice>', 'alice', 'alice'],
  ['Alice Liddell <alice@example.org>', 'alice liddell', 'alice@example.org'],
  ['alice', 'alice', ''],
  ['alice@example.org', '', 'alice@example.org'],
  ['<alice@example.org>', '', 'alice@example.org'],
  ['alice <bob@example.org> <alice@example.org>', '', ''],
]
for (const [text, name, email] of userIds) {
  test(`"${text}" names ${name || 'nobody'} and ${email || 'no address'}`, () => {
    assert.deepEqual(namesIn(text), { name, email })
  })
}

const person = { name: 'alice', email: 'Alice.L@Example.org' }
const claims: readonly (readonly [string, boolean])[] = [
  ['alice (comment) <alice>', true],
  ['ALICE <whatever@example.org>', true],
  ['A. Liddell <alice.l@example.org>', true],
  ['A. Liddell <alice>', true],
  ['A. Liddell <alice@example.org>', false],
  ['alice2 <alice2>', false],
  ['bob <bob>', false],
]
for (const [text, want] of claims) {
  test(`"${text}" ${want ? 'is' : 'is not'} a key of alice`, () => {
    assert.equal(isNamed(text, person), want)
    assert.equal(isNamed('<>', { name: 'alice', email: '' }), false)
  })
}
