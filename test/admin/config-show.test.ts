/** berthctl config: what holds, without secrets, and every mistake at once. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { parse } from 'smol-toml'

import { assertDone, run } from './command.ts'
import type { Outcome } from './command.ts'

const directory = mkdtempSync(join(tmpdir(), 'berth-config-'))
after(() => rmSync(directory, { recursive: true, force: true }))
const file = join(directory, 'berth.toml')
const secret = 'hunter2-is-secret'
writeFileSync(join(directory, 'password'), `${secret}\n`)

const config = async (
  text: string,
  words: readonly string[],
  env: Readonly<Record<string, string>> = { BERTH_CONFIG: file },
): Promise<Outcome> => {
  writeFileSync(file, text)
  return await run('berthctl', ['config', ...words], { env })
}

const whole = `
public_url = "https://berth.example.org"
[database]
url = "postgres://berth:${secret}@db.example.org/berth"
password_file = "${directory}/password"
[quota]
default = "200 GiB"
[directory]
provider = "ldap"
preset = "openldap"
servers = ["ldaps://ldap.example.org"]
base = "dc=example,dc=org"
bind_dn = "cn=berth,dc=example,dc=org"
bind_password_file = "${directory}/password"
`

test('what holds is shown with defaults, without a secret, as TOML and as JSON', async () => {
  const shown = await config(whole, ['show'])
  assertDone(shown)
  assert.ok(!shown.stdout.includes(secret))
  const settings = parse(shown.stdout) as Record<string, Record<string, unknown>>
  assert.equal(settings['quota']?.['default'], 200 * 2 ** 30)
  assert.equal(settings['tokens']?.['valid_days'], 365)
  assert.equal(settings['listen'], '127.0.0.1:5080')
  assert.equal(settings['directory']?.['bind_dn'], 'cn=berth,dc=example,dc=org')
  assert.equal(settings['database']?.['url'], 'postgres://berth:redacted@db.example.org/berth')
  const json = await config(whole, ['show', '--json'])
  assertDone(json)
  assert.ok(!json.stdout.includes(secret))
  assert.deepEqual(JSON.parse(json.stdout), JSON.parse(JSON.stringify(settings)))
})

test('the environment holds before the file, and a file can be named', async () => {
  const BERTH_PUBLIC_URL = 'https://other.example.org'
  const shown = await config(whole, ['show', '--json'], { BERTH_CONFIG: file, BERTH_PUBLIC_URL })
  assert.equal(JSON.parse(shown.stdout).public_url, BERTH_PUBLIC_URL)
  const named = await config(whole, ['show', file, '--json'], { BERTH_CONFIG: '/dev/null' })
  assert.equal(JSON.parse(named.stdout).public_url, 'https://berth.example.org')
})

test('a right configuration is right', async () => {
  const checked = await config(whole, ['check', file], {})
  assertDone(checked)
  assert.equal(checked.stdout, 'The configuration is right: https://berth.example.org\n')
})

for (const verb of ['check', 'show']) {
  test(`"config ${verb}" names every mistake at once, and exits with 2`, async () => {
    const wrong = '[quota]\ndefault = "many"\n[tokens]\nvalid_days = 0\n[library]\nfoo = 1\n'
    const outcome = await config(wrong, [verb, file], {})
    assert.equal(outcome.code, 2)
    assert.equal(outcome.stdout, '')
    assert.match(outcome.stderr, /quota\.default: expected a size such as "100 GiB"/)
    assert.match(outcome.stderr, /tokens\.valid_days: /)
    assert.match(outcome.stderr, /library\.foo: unknown key/)
  })
}

test('a file that is not there, or is no TOML', async () => {
  const absent = await config('', ['check', join(directory, 'absent.toml')], {})
  assert.deepEqual([absent.code, absent.stdout], [2, ''])
  assert.match(absent.stderr, /absent\.toml: cannot be read/)
  const broken = await config('quota = [', ['check', file], {})
  assert.equal(broken.code, 2)
  assert.match(broken.stderr, /berth\.toml:1:\d+: /)
})
