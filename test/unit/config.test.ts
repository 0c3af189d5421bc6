import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import type { TestContext } from 'node:test'
import { inspect } from 'node:util'

import { ConfigError, makeConfig, readConfig } from '../../server/config.ts'

test('everything has a default', () => {
  const config = makeConfig({})
  assert.deepEqual(config.listen, { host: '127.0.0.1', port: 5080 })
  assert.equal(config.publicUrl, 'http://localhost:5080')
  assert.ok(config.dataDir.endsWith('/data'))
  assert.equal(config.database, undefined)
  assert.equal(config.quotaBytes, 100 * 2 ** 30)
  assert.equal(config.tokens.validDays, 365)
  assert.equal(config.access.anonymousPull, true)
  for (const address of Object.values(config.services)) assert.equal(address, config.publicUrl)
})

const sizes: readonly (readonly [unknown, number | undefined])[] = [
  [0, 0],
  [5, 5],
  ['5B', 5],
  ['5 B', 5],
  ['1 KiB', 1024],
  ['1.5 MiB', 1.5 * 2 ** 20],
  ['100 GiB', 100 * 2 ** 30],
  ['2TiB', 2 * 2 ** 40],
  [-1, undefined],
  [1.5, undefined],
  ['5', undefined],
  ['', undefined],
  ['5 GB', undefined],
  ['-5 GiB', undefined],
  ['5  GiB', undefined],
  ['1e3 B', undefined],
  ['999999999999999 TiB', undefined],
  [null, undefined],
  [true, undefined],
]
for (const [given, want] of sizes) {
  test(`size ${JSON.stringify(given)} is ${want ?? 'refused'}`, () => {
    const settings = { quota: { default: given } }
    if (want === undefined) assert.throws(() => makeConfig(settings), ConfigError)
    else assert.equal(makeConfig(settings).quotaBytes, want)
  })
}

const listens: readonly (readonly [unknown, string | undefined])[] = [
  ['5080', '127.0.0.1 5080'],
  ['0.0.0.0:80', '0.0.0.0 80'],
  ['localhost:0', 'localhost 0'],
  ['[::1]:443', '::1 443'],
  ['[::]:443', ':: 443'],
  ['', undefined],
  ['host', undefined],
  ['unix:/run/berth/berth.sock', '/run/berth/berth.sock'],
  ['unix:berth.sock', undefined],
  [`unix:/${'a'.repeat(107)}`, undefined],
  ['host:', undefined],
  ['host:65536', undefined],
  ['::1:443', undefined],
  [5080, undefined],
]
for (const [given, want] of listens) {
  test(`listen ${JSON.stringify(given)} is ${want ?? 'refused'}`, () => {
    if (want === undefined) {
      assert.throws(() => makeConfig({ listen: given }), ConfigError)
      return
    }
    const listen = makeConfig({ listen: given, public_url: 'https://scs.example.org' }).listen
    assert.equal('path' in listen ? listen.path : `${listen.host} ${listen.port}`, want)
  })
}

test('addresses lose their trailing slashes, and a service falls back to the public one', () => {
  const config = makeConfig({
    public_url: 'https://berth.example.org/',
    services: { keystore: 'https://keys.example.org//', builder: 'https://build.example.org' },
  })
  assert.equal(config.publicUrl, 'https://berth.example.org')
  assert.equal(config.services.library, 'https://berth.example.org')
  assert.equal(config.services.keystore, 'https://keys.example.org')
  assert.equal(config.services.builderManager, 'https://build.example.org')
  for (const bad of ['berth.example.org', 'ftp://x', '', 'javascript:alert(1)', 5]) {
    assert.throws(() => makeConfig({ public_url: bad }), ConfigError, String(bad))
  }
})

test('all mistakes are reported at once, with their places', () => {
  const settings = {
    listne: 'x',
    listen: 'nowhere',
    tokens: { valid_days: 0, per_account: 'many', valid_dyas: 1 },
    quota: { default: '100 GB' },
    storage: 5,
    log: { level: 'loud' },
    database: { url: 'mysql://x' },
  }
  assert.throws(
    () => makeConfig(settings, '/etc/berth/berth.toml'),
    (error: unknown) => {
      assert.ok(error instanceof ConfigError)
      const places = [
        'listne: unknown key',
        'listen: ',
        'tokens.valid_days: ',
        'tokens.per_account: ',
        'tokens.valid_dyas: unknown key',
        'quota.default: expected a size',
        'storage: ',
        'log.level: ',
        'database.url: ',
      ]
      for (const place of places) {
        assert.ok(
          error.message.includes(`/etc/berth/berth.toml: ${place}`),
          `${place}\n${error.message}`,
        )
      }
      assert.equal(error.mistakes.length, places.length)
      return true
    },
  )
})

test('the file is TOML, and a mistake in it is reported with line and column', (t) => {
  const file = tomlFile(t, '[quota]\ndefault = "1 GiB"\n')
  assert.equal(readConfig({ BERTH_CONFIG: file }).quotaBytes, 2 ** 30)
  const broken = tomlFile(t, '[quota]\ndefault = = 1\n')
  assert.throws(
    () => readConfig({ BERTH_CONFIG: broken }),
    new RegExp(`^ConfigError: ${broken}:2:\\d+: `),
  )
  const unknown = tomlFile(t, 'colour = "red"\n')
  assert.throws(() => readConfig({ BERTH_CONFIG: unknown }), /colour: unknown key/)
  assert.throws(() => readConfig({ BERTH_CONFIG: `${file}.absent` }), /cannot be read/)
})

test('three variables override the file', (t) => {
  const file = tomlFile(t, 'data_dir = "/a"\nlisten = "1.2.3.4:5"\npublic_url = "http://a"\n')
  const config = readConfig({
    BERTH_CONFIG: file,
    BERTH_DATA_DIR: '/b',
    BERTH_LISTEN: '127.0.0.1:6',
    BERTH_PUBLIC_URL: 'https://b',
  })
  assert.equal(config.dataDir, '/b')
  assert.deepEqual(config.listen, { host: '127.0.0.1', port: 6 })
  assert.equal(config.publicUrl, 'https://b')
  assert.equal(readConfig({ BERTH_CONFIG: file }).dataDir, '/a')
})

test('a mistake in a variable is reported like one in the file', (t) => {
  const file = tomlFile(t, '')
  const env = { BERTH_CONFIG: file, BERTH_LISTEN: 'nowhere' }
  assert.throws(() => readConfig(env), /BERTH_LISTEN: expected host:port/)
})

test('a secret comes from a file and prints as [redacted]', (t) => {
  const password_file = tomlFile(t, 'hunter2-secret\n')
  const config = makeConfig({ database: { url: 'postgres://x', password_file } })
  assert.equal(config.database?.password?.reveal(), 'hunter2-secret')
  const printed = [
    JSON.stringify(config),
    inspect(config, { depth: 9, showHidden: true }),
    String(config.database?.password),
  ]
  for (const text of printed) assert.ok(!text.includes('hunter2'), text)
  assert.ok(printed[0]?.includes('[redacted]'))
  const absent = { database: { url: 'postgres://x', password_file: `${password_file}.absent` } }
  assert.throws(() => makeConfig(absent), ConfigError)
})

function tomlFile(t: TestContext, text: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'berth-config-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const file = join(directory, 'berth.toml')
  writeFileSync(file, text)
  return file
}
