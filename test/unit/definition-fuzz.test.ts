import assert from 'node:assert/strict'
import test from 'node:test'

import { usualAgents } from '../../server/builds/definition/agents.ts'
import { checkDefinition } from '../../server/builds/definition/check.ts'
import { contextNamesOf, filesOf } from '../../server/builds/definition/files.ts'
import { parseDefinition } from '../../server/builds/definition/parse.ts'

// Whatever the bytes are, the reader ends, quickly, with stages and faults whose lines are in the file.

const seeds = [
  'Bootstrap: docker\nFrom: alpine:3.20\nStage: build\n%post -c /bin/sh\n echo {{ V }}\n%arguments\nV=1\n',
  'Bootstrap: localimage\nFrom: /a.sif\n%files from build\n "a b" /c\n%files\n x y\n%appfiles f\n q r\n',
  'Bootstrap: debootstrap\nOSVersion: sid\nMirrorURL: http://x/%{OSVERSION}\\\n/y\nInclude: a b\n%help\nx\n',
]
const pieces =
  '\n|\r\n|%|%files|%post|{{|}}|{{ V }}|\\|"|\'|#|:| |\t|*|..|/|Bootstrap: |From: |bootſtrap:|\u0085|\u2028|\ufeff|\ud800|\0'.split(
    '|',
  )

test('10,000 mutations are read within their time', () => {
  const random = generator(20240601)
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T
  let slowest = 0
  for (let round = 0; round < 10_000; round += 1) {
    let text = pick(seeds) + (random() < 0.3 ? pick(seeds) : '')
    for (let step = 0; step < 1 + random() * 8; step += 1) {
      const at = Math.floor(random() * text.length)
      const cut = random() < 0.5 ? Math.floor(random() * 20) : 0
      const piece = pick(pieces).repeat(random() < 0.02 ? 2000 : 1)
      text = text.slice(0, at) + piece + text.slice(at + cut)
    }
    const started = performance.now()
    const definition = parseDefinition(text, random() < 0.2 ? { V: pick(pieces).trim() } : {})
    const problems = checkDefinition(definition, {
      agents: usualAgents,
      hasContext: random() < 0.5,
    })
    filesOf(definition)
    contextNamesOf(definition, '/home/u')
    slowest = Math.max(slowest, performance.now() - started)
    const last = text.split('\n').length
    assert.ok(problems.length <= 20)
    for (const { line, message } of problems) {
      assert.ok(line >= 0 && line <= last, message)
      // oxlint-disable-next-line no-control-regex -- what a terminal obeys
      assert.doesNotMatch(message, /[\u0000-\u0008\u000b-\u001f\u2028]/)
    }
    assert.ok(definition.stages.length > 0 || problems.length > 0)
  }
  // It takes milliseconds; machines that others share take breaks.
  assert.ok(slowest < 1000, `${slowest} ms`)
})

const mebibyte = 1024 * 1024
const large: readonly (readonly [name: string, text: string])[] = [
  ['braces', '{{ a'],
  ['placeholders', '{{a}}'],
  ['placeholders in comments', '# {{a}} '],
  ['open braces', '{'],
  ['quotation marks', '"\''],
  ['headers without values', 'a\n'],
  ['sections', '%a\n'],
  ['stages', 'Bootstrap: scratch\n'],
  ['backslashes', 'a:\\\n'],
  ['white space', ' \t'],
  ['percent signs', '%'],
]

for (const [name, piece] of large) {
  test(`1 MiB of ${name} is read within its time`, () => {
    const heads = ['', 'Bootstrap: docker\nFrom: a\n%arguments\na={{a}}{{a}}\n%files\n']
    for (const head of heads) {
      const text = head + piece.repeat((mebibyte - head.length) / piece.length)
      const started = performance.now()
      const definition = parseDefinition(text)
      checkDefinition(definition, { agents: usualAgents, hasContext: true })
      filesOf(definition)
      const took = performance.now() - started
      assert.ok(took < 3000, `${took} ms`)
    }
  })
}

/** Mulberry32: the same numbers each time, so that a failure comes again. */
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let value = Math.imul(state ^ (state >>> 15), 1 | state)
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value
    return ((value ^ (value >>> 14)) >>> 0) / 4294967296
  }
}
