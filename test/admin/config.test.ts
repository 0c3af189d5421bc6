/** `berthctl config check`: what stands between a mistake and the server. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { run } from './command.ts'

const directory = mkdtempSync(join(tmpdir(), 'berth-config-'))
after(() => rmSync(directory, { recursive: true, force: true }))

function file(name: string, text: string): string {
  const path = join(directory, name)
  writeFileSync(path, text)
  return path
}

test('what is right is said to be right, named or as BERTH_CONFIG', async () => {
  const right = file('right.toml', 'public_url = "https://scs.example.org"\n')
  for (const outcome of [
    await run('berthctl', ['config', 'check', right]),
    await run('berthctl', ['config', 'check'], { env: { BERTH_CONFIG: right } }),
  ]) {
    assert.equal(outcome.code, 0, outcome.stderr)
    assert.match(outcome.stdout, /https:\/\/scs\.example\.org/)
  }
})

test('every mistake is named with its place', async () => {
  const wrong = file('wrong.toml', 'colour = "red"\n[quota]\ndefault = "a lot"\n')
  const { code, stdout, stderr } = await run('berthctl', ['config', 'check', wrong])
  assert.equal(code, 2)
  assert.equal(stdout, '')
  assert.match(stderr, /wrong\.toml: colour: unknown key/)
  assert.match(stderr, /wrong\.toml: quota\.default: /)
  const absent = await run('berthctl', ['config', 'check', join(directory, 'absent.toml')])
  assert.equal(absent.code, 2)
  assert.match(absent.stderr, /absent\.toml: cannot be read/)
})

test('a secret of systemd stands for its file', async () => {
  const text =
    '[directory]\nprovider = "ldap"\npreset = "openldap"\nservers = ["ldaps://ldap.example.org"]\nbind_dn = "cn=berth,dc=example,dc=org"\nbase = "dc=example,dc=org"\n'
  const path = file('directory.toml', text)
  assert.equal((await run('berthctl', ['config', 'check', path])).code, 2)
  const secrets = join(directory, 'secrets')
  mkdirSync(secrets)
  writeFileSync(join(secrets, 'directory.bind_password_file'), 'open sesame')
  const env = { CREDENTIALS_DIRECTORY: secrets }
  const outcome = await run('berthctl', ['config', 'check', path], { env })
  assert.equal(outcome.code, 0, outcome.stderr)
  assert.doesNotMatch(outcome.stdout + outcome.stderr, /sesame/)
})

test('it is called with "check" and at most one file', async () => {
  for (const args of [[], ['print'], ['check', 'a', 'b'], ['check', '--fast']]) {
    assert.equal((await run('berthctl', ['config', ...args])).code, 2)
  }
})
