import assert from 'node:assert/strict'
import test from 'node:test'

import { parseLifetime } from '../../server/enterprise/lifetime.ts'
import { Failure } from '../../server/failure.ts'

const day = 86_400

for (const [text, seconds] of [
  ['1s', 1],
  ['90m', 5400],
  ['1h30m', 5400],
  ['720h', 30 * day],
  ['30d', 30 * day],
  ['1.5h', 5400],
  ['1d12h', 1.5 * day],
  ['1500ms1s', 1],
  ['2s500ms', 2],
  ['1h1m1s1ms1us1µs1ns', 3661],
  ['999999999d', 999_999_999 * day],
] as const) {
  test(`${text} is ${seconds} s`, () => assert.equal(parseLifetime(text), seconds))
}

for (const text of [
  '',
  '30',
  'd',
  '-1h',
  '+1h',
  '1h ',
  ' 1h',
  '1 h',
  '1w',
  '1y',
  '0s',
  '0d',
  '999ms',
  '1.h',
  '.5h',
  '1e3s',
  'Infinityd',
  '1s'.repeat(100),
]) {
  test(`${JSON.stringify(text)} is no lifetime`, () => {
    assert.throws(
      () => parseLifetime(text),
      (error) => error instanceof Failure && error.kind === 'invalid',
    )
  })
}
