/** What of berthctl doctor is pure: versions, and what an error says beneath its first words. */
import assert from 'node:assert/strict'
import test from 'node:test'

import { codesOf, messageOf, runChecks } from '../../admin-cli/doctor/check.ts'
import { versionOutcome } from '../../admin-cli/doctor/database.ts'

test('versions of PostgreSQL that are too old, or nearly', () => {
  const expected = [
    [90_624, 'fault'],
    [120_022, 'fault'],
    [130_023, 'warning'],
    [140_020, undefined],
    [150_018, undefined],
    [180_004, undefined],
  ] as const
  for (const [number, state] of expected) assert.equal(versionOutcome(number)?.state, state)
})

test('an error is told with what lies beneath it, once', () => {
  const beneath = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
  const above = new Error('The database does not answer', { cause: beneath })
  assert.equal(messageOf(above), 'The database does not answer: connect ECONNREFUSED')
  const same = new Error('ldap://x: connect ECONNREFUSED', { cause: beneath })
  assert.equal(messageOf(same), 'ldap://x: connect ECONNREFUSED')
  assert.deepEqual(codesOf(above), ['ECONNREFUSED'])
  assert.equal(messageOf(new Error('one\ntwo')), 'one')
})

test('a check that breaks is a fault, and the others are looked at all the same', async () => {
  const findings = await runChecks(
    [
      {
        name: 'breaks',
        fix: 'mend it',
        run: () => {
          throw new Error('broken')
        },
      },
      { name: 'well', fix: '', run: () => undefined },
    ],
    {},
  )
  assert.deepEqual(findings, [
    { check: 'breaks', state: 'fault', what: 'broken', fix: 'mend it' },
    { check: 'well', state: 'ok', what: '', fix: '' },
  ])
})
