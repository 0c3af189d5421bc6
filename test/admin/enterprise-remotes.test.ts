/** Whom `singularity enterprise` asks, and as whom: the clients' remote.yaml, the user's and the host's. */
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test, { after } from 'node:test'

import { stringify } from 'yaml'

import { startServer } from '../support/server.ts'
import { assertDone, assertRefused, run } from './command.ts'
import type { Outcome } from './command.ts'

const server = await startServer({ after })
const alice = await server.user('alice')
const token = alice.credentials?.token ?? ''
const directory = mkdtempSync(join(tmpdir(), 'berth-remotes-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const here = { URI: server.url, Token: token }
const nowhere = { URI: 'http://127.0.0.1:1', Token: 'x.y.z' }

let homes = 0

interface Files {
  readonly singularity?: object
  readonly apptainer?: object
  /** What the administrators of the host provide. */
  readonly host?: object
}

/** `enterprise status` of somebody with these files. */
async function status(
  files: Files,
  env: Readonly<Record<string, string>> = {},
  ...args: string[]
): Promise<Outcome> {
  homes += 1
  const home = join(directory, String(homes))
  for (const [name, content] of Object.entries(files)) {
    const file = name === 'host' ? join(home, 'host.yaml') : join(home, `.${name}/remote.yaml`)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, stringify(content))
  }
  return await run('berth-singularity', ['enterprise', 'status', ...args], {
    env: { HOME: home, BERTH_REMOTES: join(home, 'host.yaml'), ...env },
  })
}

function assertSignedIn(outcome: Outcome): void {
  assertDone(outcome)
  assert.match(outcome.stdout, /\n\nAuth token is valid\n$/)
}

test("the host's choice holds for who has made none", async () => {
  const host = { Active: 'site', Remotes: { site: { URI: server.url, System: true } } }
  const outcome = await status({ host })
  assertDone(outcome)
  assert.match(outcome.stdout, /No authentication token provided/)
  // As `remote login` writes it for an endpoint of the host.
  assertSignedIn(await status({ host, singularity: { Active: '', Remotes: { site: here } } }))
})

test("one's own choice goes before the host's, unless that is exclusive", async () => {
  const singularity = { Active: 'mine', Remotes: { mine: here, site: nowhere } }
  const host = (exclusive: boolean): object => ({
    Active: 'site',
    Remotes: { site: { ...nowhere, System: true, Exclusive: exclusive } },
  })
  assertSignedIn(await status({ singularity, host: host(false) }))
  assertRefused(await status({ singularity, host: host(true) }), 1, /127\.0\.0\.1:1 cannot be/)
})

test("the host's address of an endpoint goes before a former one of the user's file", async () => {
  const singularity = { Active: 'site', Remotes: { site: { ...nowhere, Token: token } } }
  const host = { Active: 'site', Remotes: { site: { URI: server.url, System: true } } }
  assertSignedIn(await status({ singularity, host }))
})

test('addresses have the forms that the clients take', async () => {
  const { host } = new URL(server.url)
  for (const URI of [host, `//${host}`, `http://${host}`, `http://${host}/`]) {
    const remote = { ...here, URI, Insecure: true }
    assertSignedIn(await status({ singularity: { Active: 'a', Remotes: { a: remote } } }))
  }
  const remote = { ...here, URI: 'http://not an address' }
  const odd = await status({ singularity: { Active: 'a', Remotes: { a: remote } } })
  assertRefused(odd, 2, /"http:\/\/not an address" is not an address/)
})

test('an empty token is none', async () => {
  for (const Token of [null, '']) {
    const remote = { URI: server.url, Token }
    const outcome = await status({ singularity: { Active: 'a', Remotes: { a: remote } } })
    assertDone(outcome)
    assert.match(outcome.stdout, /No authentication token provided/)
  }
})

test('who signed in with the other client only is signed in', async () => {
  const loggedOut = { Active: 'a', Remotes: { a: { URI: server.url } } }
  const loggedIn = { Active: 'b', Remotes: { b: here } }
  assertSignedIn(await status({ singularity: loggedOut, apptainer: loggedIn }))
  assertSignedIn(
    await status({ singularity: loggedIn, apptainer: loggedOut }, { BERTH_CLIENT: 'apptainer' }),
  )
})

test('a singularity that is a link to apptainer reads the file of apptainer', async () => {
  // What apptainer left behind when it took over somebody's settings, and what it uses since.
  const files = {
    singularity: { Active: 'old', Remotes: { old: nowhere } },
    apptainer: { Active: 'new', Remotes: { new: here } },
  }
  const wrapper = program(
    'wrapper',
    'singularity',
    "# Berth's wrapper of singularity and apptainer",
  )
  const real = program('real', 'apptainer', 'exit 0')
  symlinkSync('apptainer', join(real, 'singularity'))
  const PATH = (...directories: string[]): string =>
    [...directories, process.env['PATH'] ?? ''].join(':')
  assertSignedIn(await status(files, { PATH: PATH(real) }))
  assertSignedIn(await status(files, { PATH: PATH(wrapper, real) }))
  const other = program('other', 'singularity', 'exit 0')
  const outcome = await status(files, { PATH: PATH(wrapper, other, real) })
  assertRefused(outcome, 1, /127\.0\.0\.1:1 cannot be reached/)
})

test('--url asks another endpoint, with the token for that one and no other', async () => {
  const singularity = { Active: 'a', Remotes: { a: nowhere, b: here } }
  assertSignedIn(await status({ singularity }, {}, '--url', server.url))
  const without = await status(
    { singularity: { Active: 'a', Remotes: { a: nowhere } } },
    {},
    '--url',
    server.url,
  )
  assert.match(without.stdout, /No authentication token provided/)
  assertRefused(await status({ singularity }, {}, '--url', 'site'), 2, /is not an address/)
})

/** A directory with one program in it. */
function program(name: string, called: string, secondLine: string): string {
  const place = join(directory, name)
  mkdirSync(place)
  writeFileSync(join(place, called), `#!/bin/sh\n${secondLine}\n`)
  chmodSync(join(place, called), 0o755)
  return place
}
