/**
 * The build client of SingularityCE itself, compiled into the small program build-driver/main.go, and
 * the command scs-build of the same module, against a site that builds for real.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { withoutBubblewrap } from '../support/bubblewrap.ts'
import { ended, outputOf, stateIs } from '../support/builds.ts'
import { libraryHash } from '../support/client.ts'
import { eventually } from '../support/server.ts'
import { findApptainerRoot, finish, openApptainer } from './apptainer-root.ts'
import type { Outcome } from './apptainer-root.ts'
import { goProgram, withoutGoProgram } from './go-program.ts'
import { busyboxDefinition, startSecureBuildSite } from './secure-build-site.ts'
import type { Person, SecureBuildSite } from './secure-build-site.ts'

const scsBuild = 'github.com/sylabs/scs-build-client/cmd/scs-build'
const root = findApptainerRoot()
const skip =
  withoutBubblewrap() ||
  withoutGoProgram('build-driver') ||
  withoutGoProgram('build-driver', scsBuild)

const site = skip === false ? await startSecureBuildSite({ after }) : undefined

const says = (text: string): string[] => [
  '%post',
  `  echo ${text} > /made`,
  '%runscript',
  '  cat /made',
]
const waits = busyboxDefinition('%post', '  echo ready', '  sleep 600')

test('a context, a build with a name, its output, status and image', { skip }, async (t) => {
  const alice = await open(t, 'alice')
  mkdirSync(join(alice.directory, 'data'))
  writeFileSync(join(alice.directory, 'data/one.txt'), 'from a context\n')
  const pattern = join(alice.directory, 'data/*.txt').slice(1)
  const digest = await alice.json('context', pattern)
  assert.match(digest, /^sha256\.[0-9a-f]{64}$/)
  // The time of every directory above is in it: those of /usr stay.
  const twice = [
    await alice.json('context', 'usr/bin/env'),
    await alice.json('context', 'usr/bin/env'),
  ]
  assert.equal(twice[0], twice[1])

  const definition = busyboxDefinition(
    '%files',
    '  data/one.txt /made',
    '%post',
    '  echo ünder way',
    ...says('x').slice(2),
  )
  const more = [
    '--context',
    digest,
    '--dir',
    alice.directory,
    '--library',
    'library://alice/demo/tool:v1',
  ]
  const submitted = await alice.submit(definition, ...more)
  assert.equal(submitted.libraryRef, 'library://alice/demo/tool:v1')
  assert.equal(submitted.libraryURL, alice.site.url)
  assert.equal(submitted.isComplete, false)
  const output = await alice.run('output', submitted.id)
  assert.equal(output.status, 0, output.stderr)
  assert.match(output.stdout, /^ünder way$/m)
  assert.equal((await alice.run('output', submitted.id)).stdout.includes('ünder way\n'), true)

  const status = await alice.json('status', submitted.id)
  const image = await alice.client.get('/v1/imagefile/alice/demo/tool:v1?arch=amd64')
  assert.equal(status.isComplete, true)
  assert.equal(status.imageSize, image.body.length)
  assert.equal(status.imageChecksum, libraryHash(image.body))
  assert.equal(await runs(t, image.body), 'from a context\n')
  const from = 'Bootstrap: library\nFrom: alice/demo/tool:v1\n%post\n  cat /made\n'
  const next = await alice.run('output', (await alice.submit(from)).id)
  assert.match(next.stdout, /^from a context$/m, 'it is built from, in spite of the certificate')
  assert.equal((await alice.run('drop', digest)).status, 0)
  const late = await alice.attempt(definition, ...more)
  assert.match(late.stderr, /^FATAL: 400 Bad Request: (?:line \d+: )?You have not sent the files/)
})

test('without a name the image has one that clients understand', { skip }, async (t) => {
  const nora = await open(t, 'nora')
  const { id, libraryRef } = await nora.submit(busyboxDefinition(...says('unnamed')))
  assert.match(libraryRef, new RegExp(`^library://[^/]+/[^/]+/rb-${id}:latest$`))
  const build = await ended(nora.client, id, 120_000)
  assert.equal(build.state, 'succeeded')
  assert.equal((await nora.json('status', id)).libraryRef, libraryRef)
})

test('a build that fails has the size 0, and its reason in the output', { skip }, async (t) => {
  const frank = await open(t, 'frank')
  const { id } = await frank.submit(busyboxDefinition('%post', '  echo so far', '  exit 7'))
  const output = await frank.run('output', id)
  assert.equal(output.status, 0, 'the output itself ends well')
  assert.match(output.stdout, /^so far$[^]*^Build failed: /m)
  const status = await frank.json('status', id)
  assert.deepEqual([status.isComplete, status.imageSize], [true, 0])
})

test('cancelled by the verb, or by Ctrl-C while following', { skip }, async (t) => {
  const carl = await open(t, 'carl')
  const first = await carl.submit(waits)
  await stateIs(carl.client, first.id, 'running')
  assert.equal((await carl.run('cancel', first.id)).status, 0)
  assert.equal((await ended(carl.client, first.id)).state, 'cancelled')
  assert.equal((await carl.run('cancel', first.id)).status, 0, 'again is harmless')

  const second = await carl.submit(waits)
  await eventually(
    async () => (await outputOf(carl.client, second.id)).includes('ready'),
    'it is in %post',
    60_000,
  )
  const following = spawn(goProgram('build-driver'), carl.words('output', second.id), {
    env: carl.env,
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 60_000,
    killSignal: 'SIGKILL',
  })
  const closed = new Promise((resolve) => following.on('close', resolve))
  await new Promise((resolve) => following.stdout.once('data', resolve))
  following.kill('SIGINT')
  assert.equal((await ended(carl.client, second.id)).state, 'cancelled')
  assert.equal(await closed, 0)
})

test('what is refused is said with its status and its reason', { skip }, async (t) => {
  const rita = await open(t, 'rita')
  const other = await open(t, 'otto')
  const broken = await rita.attempt('Bootstrap: localimage\nFrom: /etc/shadow\n')
  assert.match(broken.stderr, /^FATAL: 400 Bad Request: .*line 2/)
  const theirs = await rita.attempt(waits, '--library', 'library://otto/a/b:c')
  assert.match(theirs.stderr, /^FATAL: 403 Forbidden: .*"otto"/)
  const elsewhere = await rita.attempt(waits, '--arch', 's390x')
  assert.match(elsewhere.stderr, /^FATAL: 400 Bad Request: .*s390x/)
  const absent = await rita.attempt(waits, '--context', `sha256.${'0'.repeat(64)}`)
  assert.match(absent.stderr, /^FATAL: 400 Bad Request: (?:line \d+: )?You have not sent the files/)
  const { id } = await other.submit(waits)
  for (const verb of ['status', 'cancel']) {
    assert.match((await rita.run(verb, id)).stderr, /^FATAL: 404 Not Found: You have no build/)
  }
  assert.match(
    (await rita.run('output', id)).stderr,
    /^FATAL: failed to dial: websocket: bad handshake/,
  )
  assert.equal((await other.run('cancel', id)).status, 0)
  const nobody = await finish(
    goProgram('build-driver'),
    ['submit', '--url', rita.site.url, '--token', 'a.b.c', rita.file(waits)],
    60,
    rita.env,
  )
  assert.match(nobody.stderr, /^FATAL: 401 Unauthorized: /)
  assert.match((await rita.run('version')).stdout, /^"v\d/)
})

// Since 0.9.20 the command itself refuses a definition that needs no files (protocol.md 8.6).
const withFiles = (directory: string, ...lines: readonly string[]): string =>
  busyboxDefinition('%files', `  ${join(directory, 'note.txt')} /note.txt`, ...lines)

test('scs-build: into a file, into the library, and to a place for a day', { skip }, async (t) => {
  const sven = await open(t, 'sven')
  writeFileSync(join(sven.directory, 'note.txt'), 'a note\n')
  const definition = sven.file(withFiles(sven.directory, '%runscript', '  cat /note.txt'))
  const file = join(sven.directory, 'out.sif')
  const built = await sven.scs(definition, file)
  assert.equal(built.status, 0, built.stderr)
  assert.match(built.stderr, /^Image checksum verified successfully\.$/m)
  assert.match(built.stderr, /^Wrote .*out\.sif \(\d+ bytes\)$/m)
  assert.equal(await runs(t, readFileSync(file)), 'a note\n')
  assert.match((await sven.scs(definition, file)).stderr, /already exists/)

  const named = await sven.scs(definition, 'library:sven/demo/by-scs:v1')
  assert.equal(named.status, 0, named.stderr)
  const found = await sven.client.get('/v1/images/sven/demo/by-scs:v1?arch=amd64')
  assert.equal(found.status, 200)
  const kept = await sven.scs(definition)
  assert.equal(kept.status, 0, kept.stderr)
  const [, reference = ''] =
    /^Build artifact library:\/\/(\S+) is available for 24 hours or less$/m.exec(kept.stdout) ?? []
  assert.equal((await sven.client.get(`/v1/images/${reference}?arch=amd64`)).status, 200)
})

test('scs-build: what fails, what is refused, and Ctrl-C', { skip }, async (t) => {
  const sara = await open(t, 'sara')
  writeFileSync(join(sara.directory, 'note.txt'), 'a note\n')
  const failed = await sara.scs(
    sara.file(withFiles(sara.directory, '%post', '  echo so far', '  exit 7')),
  )
  assert.notEqual(failed.status, 0)
  assert.match(failed.stdout, /^so far$/m)
  assert.match(failed.stderr, /failed to build image/)
  const own = await sara.scs(sara.file(busyboxDefinition(...says('no files'))))
  assert.match(own.stderr, /no paths specified for build context/, 'README.md says so')
  const refused = await sara.scs(sara.file(withFiles(sara.directory)), 'library:otto/a/b:c')
  assert.match(refused.stderr, /403 Forbidden: .*"otto"/)
  const elsewhere = await sara.scs('--arch', 's390x', sara.file(withFiles(sara.directory)))
  assert.match(elsewhere.stderr, /400 Bad Request: .*s390x/)

  const slow = sara.file(withFiles(sara.directory, '%post', '  echo ready', '  sleep 600'))
  const child = spawn(
    goProgram('build-driver', scsBuild),
    ['build', '--url', sara.site.url, slow],
    {
      env: sara.env,
      timeout: 120_000,
      killSignal: 'SIGKILL',
    },
  )
  let shown = ''
  child.stdout.on('data', (piece: Buffer) => (shown += piece.toString()))
  const closed = new Promise((resolve) => child.on('close', resolve))
  await eventually(async () => shown.includes('\nready\n'), 'the output is followed', 60_000)
  child.kill('SIGINT')
  assert.notEqual(await closed, 0)
  const [last] = (await sara.client.get('/v1/build')).json.data
  assert.equal((await ended(sara.client, last.id)).state, 'cancelled')
})

interface Submitted {
  readonly id: string
  readonly isComplete: boolean
  readonly libraryRef: string
  readonly libraryURL: string
}

interface Driver extends Person {
  readonly site: SecureBuildSite
  readonly directory: string
  readonly env: Readonly<Record<string, string>>
  /** Writes a definition file; returns its path. */
  file(definition: string): string
  /** The arguments of `build-driver <verb> --url … --token … <args>`. */
  words(verb: string, ...args: string[]): string[]
  run(verb: string, ...args: string[]): Promise<Outcome>
  // oxlint-disable-next-line typescript/no-explicit-any
  json(verb: string, ...args: string[]): Promise<any>
  attempt(definition: string, ...flags: string[]): Promise<Outcome>
  submit(definition: string, ...flags: string[]): Promise<Submitted>
  /** `scs-build build --url … <args>`, signed in by the environment. */
  scs(...args: string[]): Promise<Outcome>
}

async function open(t: test.TestContext, name: string): Promise<Driver> {
  assert.ok(site)
  const person = await site.account(name)
  const directory = mkdtempSync(join(tmpdir(), 'berth-go-build-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const env = {
    HOME: directory,
    TMPDIR: directory,
    // What Go programs have in the place of an option for it.
    SSL_CERT_FILE: site.caFile,
    SYLABS_AUTH_TOKEN: person.token,
  }
  let files = 0
  const driver: Driver = {
    ...person,
    site,
    directory,
    env,
    file: (definition) => {
      files += 1
      const path = join(directory, `${files}.def`)
      writeFileSync(path, definition)
      return path
    },
    words: (verb, ...args) => [verb, '--url', site.url, '--token', person.token, ...args],
    run: async (verb, ...args) =>
      await finish(goProgram('build-driver'), driver.words(verb, ...args), 180, env),
    json: async (verb, ...args) => {
      const outcome = await driver.run(verb, ...args)
      assert.equal(outcome.status, 0, outcome.stderr)
      return JSON.parse(outcome.stdout)
    },
    attempt: async (definition, ...flags) =>
      await driver.run('submit', ...flags, driver.file(definition)),
    submit: async (definition, ...flags) =>
      await driver.json('submit', ...flags, driver.file(definition)),
    scs: async (...args) =>
      await finish(
        goProgram('build-driver', scsBuild),
        ['build', '--url', site.url, ...args],
        180,
        env,
      ),
  }
  return driver
}

/** What a container of this image says. */
async function runs(t: test.TestContext, image: Buffer): Promise<string> {
  const node = openApptainer(t, { root })
  writeFileSync(join(node.work, 'image.sif'), image)
  const outcome = await node.run('run', 'image.sif')
  assert.equal(outcome.status, 0, outcome.stderr)
  return outcome.stdout
}
