import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { expandPattern } from '../../admin-cli/remote-build/glob.ts'

// Patterns of %files mean what Go's io/fs.Glob makes of them, which the stock client uses.

const root = mkdtempSync(join(tmpdir(), 'berth-glob-'))
after(() => rmSync(root, { recursive: true }))
mkdirSync(join(root, 'd/sub/deep'), { recursive: true })
for (const name of ['a.txt', '.b.txt', 'c-d', 'ü', 'x]y', '*'])
  writeFileSync(join(root, 'd', name), '')
symlinkSync('nowhere', join(root, 'd/broken'))

const patterns: readonly (readonly [pattern: string, found: readonly string[]])[] = [
  ['d/a.txt', ['d/a.txt']],
  ['d/none', []],
  ['d/broken', []],
  ['d/*.txt', ['d/.b.txt', 'd/a.txt']],
  ['d/?', ['d/*', 'd/ü']],
  ['d/[a-b].txt', ['d/a.txt']],
  ['d/[^a].txt', []],
  ['d/[!a]', []],
  ['d/[^a]*-d', ['d/c-d']],
  ['d/c[-]d', ['d/c-d']],
  ['d/\\*', ['d/*']],
  ['d/x[\\]]y', ['d/x]y']],
  ['d/[b-a].txt', []],
  ['d/[', []],
  ['d/a+txt', []],
  ['*/*/deep', ['d/sub/deep']],
  ['d/*/deep/*', []],
  ['*/s?b', ['d/sub']],
]

for (const [pattern, found] of patterns) {
  test(`the pattern ${pattern}`, () => {
    const below = root.slice(1)
    assert.deepEqual(
      expandPattern(`${below}/${pattern}`),
      found.map((name) => `${below}/${name}`),
    )
  })
}
