/** Where the commands find their endpoint when nobody says. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { configuredAddress } from '../../admin-cli/endpoint.ts'

const directory = mkdtempSync(join(tmpdir(), 'berth-client-'))
after(() => rmSync(directory, { recursive: true, force: true }))

function clientFile(name: string, text: string): string {
  const file = join(directory, name)
  writeFileSync(file, text)
  return file
}

test("the file that a site puts on its login nodes names the site's endpoint", () => {
  const file = clientFile('good.toml', '# ours\nurl = "https://berth.example.org"\nother = 1\n')
  assert.equal(configuredAddress(undefined, file), 'https://berth.example.org')
  assert.equal(configuredAddress('', file), 'https://berth.example.org')
})

test('BERTH_URL goes before it', () => {
  const file = clientFile('overridden.toml', 'url = "https://berth.example.org"\n')
  assert.equal(configuredAddress('https://other.example.org', file), 'https://other.example.org')
})

test('there may be no such file, and it may say nothing', () => {
  assert.equal(configuredAddress(undefined, join(directory, 'absent.toml')), undefined)
  assert.equal(configuredAddress(undefined, clientFile('empty.toml', '')), undefined)
})

test('a broken one is named', () => {
  for (const text of ['url = ', 'url = 5\n']) {
    const file = clientFile('broken.toml', text)
    assert.throws(() => configuredAddress(undefined, file), {
      name: 'UsageError',
      message: /broken\.toml: \S/,
    })
  }
})
