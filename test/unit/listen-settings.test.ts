import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

import { ConfigError, makeConfig, readConfig } from '../../server/config.ts'

const proxies: readonly (readonly [readonly string[], string, boolean])[] = [
  [['10.0.0.5'], '10.0.0.5', true],
  [['10.0.0.5'], '::ffff:10.0.0.5', true],
  [['10.0.0.5'], '10.0.0.6', false],
  [['10.1.0.0/16'], '10.1.255.255', true],
  [['10.1.0.0/16'], '10.2.0.0', false],
  [['fd00::/8'], 'fd12::1', true],
  [['fd00::/8'], 'fe80::1', false],
  [[], '127.0.0.1', false],
  [['0.0.0.0/0'], '', false],
]
for (const [trusted, address, want] of proxies) {
  test(`trusted_proxies = ${JSON.stringify(trusted)}: ${address || 'nobody'} is ${want ? 'one' : 'none'}`, () => {
    assert.equal(makeConfig({ trusted_proxies: trusted }).isTrustedProxy(address), want)
  })
}

test('without a word of the site, this host is the proxy and nobody else', () => {
  const { isTrustedProxy } = makeConfig({})
  assert.deepEqual(
    ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1', '10.0.0.1'].map(isTrustedProxy),
    [true, true, true, true, false],
  )
})

for (const wrong of ['proxy.example.org', '10.0.0.0/33', '10.0.0.0/', 'fd00::/129', '']) {
  test(`trusted_proxies: ${JSON.stringify(wrong)} is refused`, () => {
    assert.throws(() => makeConfig({ trusted_proxies: [wrong] }), ConfigError)
  })
}

for (const wrong of ['blobs/', '/blobs', '/', '/blobs//', '/a b/', 'https://other/']) {
  test(`downloads.accel: ${JSON.stringify(wrong)} is refused`, () => {
    assert.throws(() => makeConfig({ downloads: { accel: wrong } }), ConfigError)
  })
}

test('a unix socket has no port that an address could be made of', () => {
  assert.throws(() => makeConfig({ listen: 'unix:/run/berth/berth.sock' }), /public_url/)
})

test('the address of replies says https where Berth has a certificate', () => {
  const tls = { cert_file: '/etc/berth/tls/cert.pem', key_file: '/etc/berth/tls/key.pem' }
  assert.equal(makeConfig({ tls, listen: '0.0.0.0:443' }).publicUrl, 'https://localhost:443')
})

test('a secret of systemd stands in the place of the file that the key names', (t) => {
  const { env, credential } = site(t, [
    '[database]',
    'url = "postgres://berth@db.example.org/berth"',
    'password_file = "/etc/berth/secrets/database.password_file"',
  ])
  assert.throws(() => readConfig(env), /cannot be read/)
  credential('berth_database.password_file', 'from systemd\n')
  assert.equal(readConfig(env).database?.password?.reveal(), 'from systemd')
})

test('a key that the configuration leaves out is set by its secret, in tables that it has', (t) => {
  const { env, credential } = site(t, [
    '[directory]',
    'provider = "ldap"',
    'preset = "openldap"',
    'servers = ["ldaps://ldap.example.org"]',
    'base = "ou=people,dc=example,dc=org"',
    'bind_dn = "cn=berth,dc=example,dc=org"',
  ])
  credential('directory.bind_password_file', 'bound')
  credential('berth_database.password_file', 'for nothing')
  const { directory, database } = readConfig(env)
  assert.equal(database, undefined)
  assert.ok(directory?.provider === 'ldap')
  assert.equal(directory.service?.password.reveal(), 'bound')
})

test('a secret whose key nobody knows is a mistake; a file that is named after no key is none', (t) => {
  const { env, credential } = site(t, ['[log]', 'level = "info"'])
  credential('README', 'not a secret')
  credential('.hidden_file', 'nor this')
  readConfig(env)
  credential('log.colour_file', 'x')
  assert.throws(() => readConfig(env), /log\.colour_file: unknown key/)
})

function site(t: { after(work: () => void): void }, lines: readonly string[]) {
  const directory = mkdtempSync(join(tmpdir(), 'berth-config-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const credentials = join(directory, 'credentials')
  mkdirSync(credentials)
  const file = join(directory, 'berth.toml')
  writeFileSync(file, lines.join('\n'))
  return {
    env: { BERTH_CONFIG: file, CREDENTIALS_DIRECTORY: credentials },
    credential: (name: string, text: string) => writeFileSync(join(credentials, name), text),
  }
}
