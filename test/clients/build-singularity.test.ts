/**
 * `singularity build --remote` of a real SingularityCE, at a site that builds for real, over TLS on port
 * 443: clients cannot add an endpoint with another port. BERTH_SINGULARITY is the path of the program.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { withoutBubblewrap } from '../support/bubblewrap.ts'
import { ended } from '../support/builds.ts'
import type { Client } from '../support/client.ts'
import { eventually } from '../support/server.ts'
import { findApptainerRoot, finish, openApptainer } from './apptainer-root.ts'
import type { Outcome } from './apptainer-root.ts'
import { busyboxDefinition, startSecureBuildSite } from './secure-build-site.ts'

const singularity = process.env['BERTH_SINGULARITY'] ?? ''
const skip =
  singularity === ''
    ? 'BERTH_SINGULARITY does not name the program singularity of SingularityCE'
    : withoutBubblewrap()

const root = findApptainerRoot()
const site = skip === false ? await startSecureBuildSite({ after }, { port: 443 }) : undefined

test('logged in as people do, the endpoint is whole', { skip }, async (t) => {
  const { well, url } = await login(t, 'lena')
  const status = await well('remote', 'status')
  assert.match(status.stdout, new RegExp(`^Builder +OK +\\S+ +${url}$`, 'm'))
  assert.match(status.stdout, /^Valid authentication token set \(logged in\)\.$/m)
})

test('a file with files of the person, and the output as it comes', { skip }, async (t) => {
  const { well, directory, write, client } = await login(t, 'anna')
  mkdirSync(join(directory, 'data'))
  writeFileSync(join(directory, 'data/one.txt'), 'a file of anna\n')
  write(
    'a.def',
    busyboxDefinition(
      '%files',
      '  data/*.txt /',
      '%post',
      '  echo ünder way',
      '%runscript',
      '  cat /one.txt',
    ),
  )
  const built = await well('build', '--remote', 'a.sif', 'a.def')
  assert.match(built.stdout, /^ünder way$/m)
  const node = openApptainer(t, { root })
  writeFileSync(join(node.work, 'a.sif'), readFileSync(join(directory, 'a.sif')))
  assert.equal((await node.run('run', 'a.sif')).stdout, 'a file of anna\n')
  const [build] = (await client.get('/v1/build')).json.data
  assert.match(build.libraryRef, /^library:\/\/anna\/remote-builds\/rb-/)
})

test('an image in the library, and one to begin from there', { skip }, async (t) => {
  const { well, write, directory } = await login(t, 'ben')
  write('a.def', busyboxDefinition('%post', '  echo one > /made'))
  await well('build', '--remote', 'library://ben/demo/base:v1', 'a.def')
  write(
    'b.def',
    'Bootstrap: library\nFrom: ben/demo/base:v1\n%post\n  echo two >> /made; cat /made\n',
  )
  const built = await well('build', '-r', 'b.sif', 'b.def')
  assert.match(built.stdout, /^one\ntwo$/m)
  await well('pull', 'base.sif', 'library://ben/demo/base:v1')
  for (const file of ['base.sif', 'b.sif']) assert.ok(existsSync(join(directory, file)), file)
})

test('detached: it says how to get the image, and that works', { skip }, async (t) => {
  const { well, write, client, url, directory } = await login(t, 'dora')
  write('a.def', busyboxDefinition('%runscript', '  echo later'))
  const submitted = await well('build', '--remote', '--detached', 'a.sif', 'a.def')
  const [, command = ''] = /^\tsingularity (pull .+)$/m.exec(submitted.stdout) ?? []
  const [build] = (await client.get('/v1/build')).json.data
  assert.equal(command, `pull --library ${url} library://dora/remote-builds/rb-${build.id}:latest`)
  assert.equal((await ended(client, build.id, 120_000)).state, 'succeeded')
  await well(...command.split(' '))
  assert.ok(existsSync(join(directory, `rb-${build.id}_latest.sif`)))
})

test('what fails and what is refused says why', { skip }, async (t) => {
  const { run, write } = await login(t, 'fred')
  write('a.def', busyboxDefinition('%post', '  echo so far', '  exit 7'))
  const failed = await run('build', '--remote', 'a.sif', 'a.def')
  assert.notEqual(failed.status, 0)
  assert.match(failed.stdout, /^so far$[^]*^Build failed: /m)
  assert.match(failed.stderr, /build image size <= 0/)
  const theirs = await run('build', '--remote', 'library://anna/demo/x:v1', 'a.def')
  assert.match(theirs.stderr, /403 Forbidden: You may not push to "anna"/)
  const elsewhere = await run('build', '--remote', '--arch', 's390x', 'b.sif', 'a.def')
  assert.match(elsewhere.stderr, /400 Bad Request: .*s390x/)
  write('c.def', 'Bootstrap: docker-daemon\nFrom: x:latest\n')
  const refused = await run('build', '--remote', 'c.sif', 'c.def')
  assert.match(refused.stderr, /400 Bad Request: .*line 1/)
})

test('Ctrl-C cancels the build', { skip }, async (t) => {
  const { write, client, directory, env } = await login(t, 'carla')
  write('a.def', busyboxDefinition('%post', '  echo ready', '  sleep 600'))
  const child = spawn(singularity, ['build', '--remote', 'a.sif', 'a.def'], {
    cwd: directory,
    env,
    timeout: 120_000,
    killSignal: 'SIGKILL',
  })
  let shown = ''
  child.stdout.on('data', (piece: Buffer) => (shown += piece.toString()))
  const closed = new Promise((resolve) => child.on('close', resolve))
  await eventually(async () => shown.includes('\nready\n'), 'the output is followed', 60_000)
  child.kill('SIGINT')
  assert.notEqual(await closed, 0)
  const [build] = (await client.get('/v1/build')).json.data
  assert.equal((await ended(client, build.id)).state, 'cancelled')
})

interface Person {
  readonly url: string
  readonly client: Client
  readonly directory: string
  readonly env: Readonly<Record<string, string>>
  readonly write: (name: string, content: string) => void
  /** `singularity <args>` in the person's directory. */
  readonly run: (...args: string[]) => Promise<Outcome>
  /** One that has to succeed. */
  readonly well: (...args: string[]) => Promise<Outcome>
}

/** Somebody with a home of his own, who has added the site and logged in with a token in a file. */
async function login(t: test.TestContext, name: string): Promise<Person> {
  assert.ok(site)
  const { client, token } = await site.account(name)
  const directory = mkdtempSync(join(tmpdir(), 'berth-singularity-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const env = {
    PATH: process.env['PATH'] ?? '',
    SSL_CERT_FILE: site.caFile,
    HOME: directory,
    // It takes the home from the account, not from HOME.
    SINGULARITY_CONFIGDIR: join(directory, '.singularity'),
    SINGULARITY_CACHEDIR: join(directory, 'cache'),
  }
  const run = async (...args: string[]): Promise<Outcome> =>
    await finish(singularity, args, 180, env, directory)
  const well = async (...args: string[]): Promise<Outcome> => {
    const outcome = await run(...args)
    assert.equal(outcome.status, 0, `${args.join(' ')}\n${outcome.stdout}\n${outcome.stderr}`)
    return outcome
  }
  const write = (file: string, content: string): void => {
    writeFileSync(join(directory, file), content)
  }
  write('token', `${token}\n`)
  await well('remote', 'add', '--no-login', 'site', site.url)
  await well('remote', 'use', 'site')
  await well('remote', 'login', '--tokenfile', 'token')
  return { url: site.url, client, directory, env, write, run, well }
}
