/**
 * What --help says, of every noun and every verb, as files in golden/: a change of it is seen and
 * read. BERTH_RENEW_GOLDEN=1 writes them anew.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import { helpOfNoun, helpOfNouns, helpOfVerb } from '../../admin-cli/documents/help.ts'
import { nouns } from '../../admin-cli/nouns.ts'
import { packageRoot } from '../../server/package-root.ts'
import { assertDone, assertRefused, run } from './command.ts'

const directory = join(packageRoot, 'test/admin/golden')
const renew = process.env['BERTH_RENEW_GOLDEN'] === '1'

const texts = new Map([
  ['berthctl.txt', helpOfNouns(nouns)],
  ...nouns.map((noun): [string, string] => [
    `berthctl-${noun.name}.txt`,
    [helpOfNoun(noun), ...noun.verbs.map((verb) => helpOfVerb(noun, verb))].join(
      `${'-'.repeat(80)}\n`,
    ),
  ]),
])

if (renew) {
  for (const file of readdirSync(directory)) rmSync(join(directory, file))
  for (const [file, text] of texts) writeFileSync(join(directory, file), text)
}

test('there is a file for every noun, and no other', () => {
  assert.deepEqual(readdirSync(directory).toSorted(), [...texts.keys()].toSorted())
})

for (const [file, text] of texts) {
  test(`${file} is what --help says`, () => {
    assert.equal(text, readFileSync(join(directory, file), 'utf8'))
  })
}

test('no line of a help is wider than a terminal', () => {
  for (const [file, text] of texts) {
    for (const line of text.split('\n')) assert.ok(line.length <= 100, `${file}: ${line}`)
  }
})

test('summaries begin small and end without a full stop, names are words', () => {
  const summaries = nouns.flatMap((noun) => [
    noun.summary,
    ...noun.verbs.flatMap((verb) => [
      verb.summary,
      ...Object.values(verb.options).map(({ summary }) => summary),
    ]),
  ])
  assert.ok(summaries.length > 100)
  for (const summary of summaries) assert.doesNotMatch(summary, /^(?!Berth\b)[A-Z](?![A-Z]|\b)|\.$/)
  for (const { name, verbs } of nouns) {
    for (const word of [name, ...verbs.map((verb) => verb.name)]) assert.match(word, /^[a-z]*$/)
  }
})

test('verbs that can be answered with --yes say so in one way, and lists have --json', () => {
  const all = nouns.flatMap((noun) => noun.verbs.map((verb) => ({ noun, verb })))
  for (const { noun, verb } of all) {
    const { yes, json } = verb.options
    if (yes !== undefined) assert.equal(yes.summary, 'does it without asking')
    if (['list', 'show'].includes(verb.name)) assert.ok(json, `${noun.name} ${verb.name}`)
  }
})

for (const [words, text] of [
  ['--help', helpOfNouns(nouns)],
  ['help', helpOfNouns(nouns)],
  ['token --help', textOf('token')],
  ['help token', textOf('token')],
  ['token revoke --help', textOf('token', 'revoke')],
  ['sweep -h', textOf('gc')],
] as const) {
  test(`berthctl ${words}`, async () => {
    const outcome = await run('berthctl', words.split(' '))
    assertDone(outcome)
    assert.equal(outcome.stdout, text)
  })
}

test('a word that is no noun, and no word', async () => {
  assertRefused(await run('berthctl', ['help', 'frobnicate']), 2, /no command "frobnicate"/)
  assertRefused(await run('berthctl', []), 2, /Say which command: see berthctl --help/)
})

function textOf(name: string, verbName?: string): string {
  const noun = nouns.find((one) => one.name === name)
  assert.ok(noun)
  if (verbName === undefined) return helpOfNoun(noun)
  const verb = noun.verbs.find((one) => one.name === verbName)
  assert.ok(verb)
  return helpOfVerb(noun, verb)
}
