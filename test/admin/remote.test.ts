import assert from 'node:assert/strict'
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test from 'node:test'
import type { TestContext } from 'node:test'

import { assertDone, assertRefused, pathOf, run } from './command.ts'
import type { CommandOptions, Outcome } from './command.ts'

const url = 'http://127.0.0.1:5080'

interface Home {
  readonly directory: string
  /** remote.yaml of Apptainer. */
  readonly file: string
  read(): string
  remote(args?: readonly string[], env?: CommandOptions['env']): Promise<Outcome>
}

function makeHome(t: TestContext, content?: string): Home {
  const directory = mkdtempSync(join(tmpdir(), 'berth-home-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const file = join(directory, '.apptainer/remote.yaml')
  if (content !== undefined) {
    mkdirSync(dirname(file))
    writeFileSync(file, content, { mode: 0o644 })
  }
  return {
    directory,
    file,
    read: () => readFileSync(file, 'utf8'),
    remote: async (args = ['--client', 'apptainer', '--url', url], env = {}) =>
      await run('berthctl', ['remote', ...args], {
        env: { HOME: directory, BERTH_CONFIG: '/dev/null', ...env },
      }),
  }
}

/** As the clients write it, and as people edit it. */
const lived = `# my endpoints
Active: SylabsCloud
Remotes:
  # the public one
  SylabsCloud:
    URI: cloud.sylabs.io
    Token: public-token # until May
    System: true
    Exclusive: false
    Keyservers:
      - URI: https://keys.openpgp.org
        Skip: false
        External: true
        Insecure: false
  berth:
    URI: http://127.0.0.1:5080
    Token: own-token
    System: false
    Exclusive: false
    Insecure: true
    Later: kept # a key of a later version
Credentials:
  - URI: docker://registry.example.org
    Auth: Basic Zm9vOmJhcg==
    Insecure: false
`

test('a fresh file holds one entry with the address in full, for its owner alone', async (t) => {
  const home = makeHome(t)
  const outcome = await home.remote()
  assertDone(outcome)
  assert.equal(
    home.read(),
    'Active: berth\nRemotes:\n  berth:\n    URI: http://127.0.0.1:5080\n    System: false\n    Exclusive: false\n    Insecure: true\n',
  )
  assert.equal(statSync(home.file).mode & 0o777, 0o600)
  assert.equal(statSync(dirname(home.file)).mode & 0o777, 0o700)
  assert.deepEqual(readdirSync(dirname(home.file)), ['remote.yaml'])
  assert.equal(
    outcome.stdout,
    `Wrote ${home.file}: "berth" is ${url}, the active endpoint of apptainer.\n` +
      'Next, with the name of your account:\n' +
      `  ${pathOf('get_singularity_token')} --url ${url} --user NAME > token\n` +
      '  apptainer remote login --tokenfile token berth\n',
  )
})

test('entries, tokens, comments and keys that nobody knows stay as they are', async (t) => {
  const home = makeHome(t, lived)
  const outcome = await home.remote()
  assertDone(outcome)
  assert.equal(home.read(), lived.replace('Active: SylabsCloud', 'Active: berth'))
  assert.match(outcome.stdout, /; its token stays\.\n/)
  assert.match(outcome.stdout, /^Back to the former one: apptainer remote use SylabsCloud$/m)
  assert.equal(statSync(home.file).mode & 0o777, 0o600)
  assertDone(await home.remote())
  assert.equal(home.read(), lived.replace('Active: SylabsCloud', 'Active: berth'))
})

test('a token does not follow the entry to another address', async (t) => {
  const home = makeHome(t, lived)
  assertDone(await home.remote(['--client', 'apptainer', '--url', 'http://127.0.0.1:5081']))
  const text = home.read()
  assert.doesNotMatch(text, /own-token/)
  assert.match(text, /public-token # until May/)
  assert.match(text, /URI: http:\/\/127\.0\.0\.1:5081\n/)
})

const forms: readonly (readonly [string, string])[] = [
  ['https://berth.example.org', 'URI: berth.example.org\n'],
  ['https://berth.example.org:8443', 'URI: //berth.example.org:8443\n'],
  ['http://berth.example.org', 'URI: http://berth.example.org\n'],
]
for (const [address, line] of forms) {
  test(`${address} becomes ${line.trim()}`, async (t) => {
    const home = makeHome(t)
    assertDone(await home.remote(['site', '--client', 'apptainer', '--url', `${address}/`]))
    assert.ok(home.read().includes(line), home.read())
    assert.equal(home.read().includes('Insecure: true'), address.startsWith('http:'))
    assert.match(home.read(), /^Active: site$/m)
  })
}

const broken: readonly (readonly [string, string])[] = [
  ['not YAML', 'Remotes: [\n'],
  ['a duplicate key', 'Active: a\nActive: b\n'],
  ['a list', '- a\n'],
  ['a text', 'hello\n'],
  ['two documents', 'Active: a\n---\nActive: b\n'],
  ['Remotes that are a list', 'Active: a\nRemotes: []\n'],
  ['an entry that is a text', 'Active: a\nRemotes:\n  berth: hello\n'],
]
for (const [what, content] of broken) {
  test(`a file with ${what} is refused and left alone`, async (t) => {
    const home = makeHome(t, content)
    assertRefused(await home.remote(), 1, /remote\.yaml is not valid \(.+\): mend it or move it/)
    assert.equal(home.read(), content)
    assert.deepEqual(readdirSync(dirname(home.file)), ['remote.yaml'])
  })
}

const empty: readonly string[] = ['', '# nothing yet\n', 'Active: ""\nRemotes: {}\n', 'Remotes:\n']
for (const content of empty) {
  test(`a file with ${JSON.stringify(content)} takes the entry`, async (t) => {
    const home = makeHome(t, content)
    assertDone(await home.remote())
    assert.match(home.read(), /^Active: "?berth"?$/m)
    assert.match(home.read(), /^ {2}berth:\n {4}URI: http:\/\/127\.0\.0\.1:5080$/m)
    if (content.startsWith('#')) assert.match(home.read(), /^# nothing yet\n/)
  })
}

test("the administrators' entries are not written over", async (t) => {
  const home = makeHome(t, 'Active: site\nRemotes:\n  site:\n    URI: x\n    System: true\n')
  const args = ['site', '--client', 'apptainer', '--url', url]
  assertRefused(
    await home.remote(args),
    1,
    /provide "site" already: choose it with "remote use site"/,
  )
})

test('an exclusive entry of the administrators stays the only one', async (t) => {
  const content =
    'Active: site\nRemotes:\n  site:\n    URI: x\n    System: true\n    Exclusive: true\n'
  const home = makeHome(t, content)
  assertRefused(await home.remote(), 1, /allow "site" only \(Exclusive\)/)
  assert.equal(home.read(), content)
})

test('a link to a file elsewhere stays a link', async (t) => {
  const home = makeHome(t, lived)
  const elsewhere = join(home.directory, 'settings.yaml')
  writeFileSync(elsewhere, lived)
  rmSync(home.file)
  symlinkSync(elsewhere, home.file)
  assertDone(await home.remote())
  assert.ok(lstatSync(home.file).isSymbolicLink())
  assert.match(readFileSync(elsewhere, 'utf8'), /^Active: berth$/m)
})

test('it writes for the clients on the PATH; a link of Apptainer is not Singularity', async (t) => {
  const home = makeHome(t)
  const bin = join(home.directory, 'bin')
  mkdirSync(bin)
  const PATH = `${bin}:${process.env['PATH'] ?? ''}`
  const program = (name: string): void => {
    writeFileSync(join(bin, name), '#!/bin/sh\n')
    chmodSync(join(bin, name), 0o755)
  }
  const written = async (): Promise<string[]> => {
    assertDone(await home.remote(['--url', url], { PATH }))
    const found = readdirSync(home.directory).filter((name) => name.startsWith('.'))
    for (const name of found) rmSync(join(home.directory, name), { recursive: true })
    return found
  }
  program('singularity')
  assert.ok((await written()).includes('.singularity'))
  program('apptainer')
  assert.deepEqual(await written(), ['.apptainer', '.singularity'])
  rmSync(join(bin, 'singularity'))
  symlinkSync('apptainer', join(bin, 'singularity'))
  assert.deepEqual(await written(), ['.apptainer'])
})

test('--home and the variables of the clients say where', async (t) => {
  const home = makeHome(t)
  const other = join(home.directory, 'other')
  const moved = { APPTAINER_CONFIGDIR: join(home.directory, 'moved') }
  const args = ['--client', 'apptainer', '--url', url]
  assertDone(await home.remote(args, moved))
  assertDone(await home.remote([...args, '--home', other], moved))
  assert.match(readFileSync(join(home.directory, 'moved/remote.yaml'), 'utf8'), /berth/)
  assert.match(readFileSync(join(other, '.apptainer/remote.yaml'), 'utf8'), /berth/)
})

test('the address is the one that the server gives itself', async (t) => {
  const home = makeHome(t)
  const address = async (env: Readonly<Record<string, string>>): Promise<string> => {
    assertDone(await home.remote(['--client', 'apptainer'], env))
    return /URI: (.*)/.exec(home.read())?.[1] ?? ''
  }
  const config = join(home.directory, 'berth.toml')
  writeFileSync(config, 'public_url = "https://berth.example.org"\n')
  assert.equal(await address({}), 'http://localhost:5080')
  assert.equal(await address({ BERTH_LISTEN: '127.0.0.1:5081' }), 'http://localhost:5081')
  assert.equal(await address({ BERTH_CONFIG: config }), 'berth.example.org')
  const BERTH_URL = 'https://client.example.org'
  assert.equal(await address({ BERTH_CONFIG: config, BERTH_URL }), 'client.example.org')
  const BERTH_PUBLIC_URL = 'https://public.example.org'
  assert.equal(await address({ BERTH_URL, BERTH_PUBLIC_URL }), 'public.example.org')
})

const misuses: readonly (readonly [readonly string[], RegExp])[] = [
  [['one', 'two'], /Say "berthctl remote \[NAME\]/],
  [['../x'], /Give one name/],
  [['123'], /Give one name/],
  [['--client', 'docker'], /--client is apptainer or singularity/],
  [['--url', 'localhost:5080'], /is not an address: expected https:/],
  [['--token', 'x'], /Unknown option '--token': see berthctl --help/],
]
for (const [args, why] of misuses) {
  test(`remote ${args.join(' ')} is refused`, async (t) => {
    const home = makeHome(t)
    assertRefused(await home.remote(args), 2, why)
    assert.deepEqual(readdirSync(home.directory), [])
  })
}
