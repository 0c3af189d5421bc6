/** Builder hosts: real daemons that pull builds from a real server, and what both survive. */
import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { createServer } from 'node:tls'

import { hostOperator } from '../../server/accounts/accounts.ts'
import { listAlarms } from '../../server/alarms.ts'
import { sql } from '../../server/database.ts'
import { makeBuilderHost, processesIn } from '../support/builder-host.ts'
import {
  builderSettings,
  definitionOf,
  ended,
  outputOf,
  stateIs,
  submit,
  trySubmit,
} from '../support/builds.ts'
import type { SubmitOptions } from '../support/builds.ts'
import { CertificateAuthority, hasOpenssl } from '../support/certificate-authority.ts'
import { assertProblem, Client } from '../support/client.ts'
import type { Reply } from '../support/client.ts'
import { freePort } from '../support/free-port.ts'
import { noted } from '../support/processes.ts'
import { assertLedger, eventually, startServer } from '../support/server.ts'
import type { TestServer, TestServerOptions } from '../support/server.ts'

/** Several programs start in each test, on machines that may have other things to do. */
async function soon(isSo: () => Promise<boolean>, what: string): Promise<void> {
  await eventually(isSo, what, 60_000)
}

/** A site whose only builder is the host `east`. */
async function siteOf(t: TestContext, options: TestServerOptions = {}): Promise<TestServer> {
  const builders = [{ name: 'east', executor: 'host', archs: ['amd64'] }]
  return await startServer(t, {
    queueTimes: { round: 0.1, ask: 0.2 },
    ...options,
    settings: { builder: { enabled: true, builders }, ...options.settings },
  })
}

function directoryFor(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'berth-builder-host-test-'))
  // The runners of the daemons are somebody else, and write here.
  chmodSync(directory, 0o777)
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

async function waitsFor(user: Client, id: string, reason: RegExp): Promise<void> {
  let seen = ''
  await soon(async () => {
    seen = String((await user.get(`/v1/build/${id}`)).json.data.queue?.reason)
    return reason.test(seen)
  }, `build ${id} waits for ${reason.source}`).catch((error: Error) => {
    throw new Error(`${error.message}; it says: ${seen}`)
  })
}

const madeFor = (arch: string): SubmitOptions => ({ builderRequirements: { arch } })

const report = (more: object = {}): object => ({
  name: 'east',
  instance: '0123456789abcdef',
  archs: ['amd64'],
  slots: 1,
  version: 'test',
  runs: [],
  selfTest: null,
  leaving: true,
  ...more,
})

function asBuilder(server: TestServer, token: string | undefined): Client {
  const credentials =
    token === undefined ? undefined : { name: '', accountId: '', token, tokenId: '' }
  return new Client(server.url, credentials)
}

async function ask(server: TestServer, token: string | undefined, body: unknown): Promise<Reply> {
  return await asBuilder(server, token).post('/v1/runner/host', body)
}

test('the token of a builder: good for asking for builds, until it is removed', async (t) => {
  const server = await siteOf(t)
  const { hosts } = server.appliance.builder
  const token = await hosts.add(hostOperator, 'east')
  assert.match(token, /^berth_builder_[\w-]{43}$/)
  const asked = await ask(server, token, report())
  assert.equal(asked.status, 200, asked.body.toString())
  assert.deepEqual(asked.json.data, { start: [], cancel: [], forget: [] })
  const [row] = await hosts.list()
  assert.deepEqual(row?.archs, ['amd64'])
  assert.equal(row?.version, 'test')

  for (const bad of [
    { archs: [] },
    { slots: 0 },
    { instance: 'x' },
    { runs: [{ run: '../../etc', id: 'x' }] },
    { selfTest: { at: 'yesterday', failure: null } },
  ]) {
    assertProblem(await ask(server, token, report(bad)), 400)
  }
  assertProblem(await ask(server, undefined, report()), 401, /sends its token/)
  assertProblem(await ask(server, `${token}x`, report()), 401, /no token of a builder/)
  const user = await server.user('alice', { isAdmin: true })
  assertProblem(await user.post('/v1/runner/host', report()), 401)
  const other = await hosts.add(hostOperator, 'west')
  assertProblem(await ask(server, other, report()), 403, /of the builder west, not of east/)

  // For nothing else: it is nobody anywhere else.
  const builder = asBuilder(server, token)
  for (const path of ['/v1/runner/job', '/v1/token-status', '/v1/build', '/v1/admin/users']) {
    const status = (await builder.get(path)).status
    assert.ok(status === 401 || status === 404, `${path}: ${status}`)
  }

  assert.equal(await hosts.remove(hostOperator, 'east'), 0)
  assertProblem(await ask(server, token, report()), 401)
  const audited = await server.db.query<{ action: string; details: object }>(
    sql`select action, details from audit where action like 'builder.%' order by id`,
  )
  assert.deepEqual(
    audited.map(({ action }) => action),
    ['builder.add', 'builder.add', 'builder.remove'],
  )
  assert.ok(!JSON.stringify(audited).includes(token) && !server.log().includes(token))
})

test('names: none that is none, none twice, none of a builder of another kind', async (t) => {
  const server = await startServer(t, { settings: { builder: builderSettings() } })
  const { hosts } = server.appliance.builder
  await assert.rejects(hosts.add(hostOperator, 'East Wing'), /no name of a builder/)
  await assert.rejects(hosts.add(hostOperator, 'here'), /whose executor is "local"/)
  await hosts.add(hostOperator, 'east')
  await assert.rejects(hosts.add(hostOperator, 'east'), /There is a builder east/)
  await assert.rejects(hosts.remove(hostOperator, 'west'), /no builder host west/)
  const nobody = { kind: 'anonymous' as const, rejected: false, address: 'test' }
  await assert.rejects(hosts.add(nobody, 'north'))
  await assert.rejects(hosts.remove(nobody, 'east'))
})

test('a host that comes takes what waits, and what it builds is in the library', async (t) => {
  const server = await siteOf(t)
  const user = await server.user('alice')
  const id = await submit(user, definitionOf('print hello', 'image x'), {
    libraryRef: 'alice/tools/first:v1',
  })
  await waitsFor(user, id, /east has no token yet: .*berthctl builder add east/)
  const host = await makeBuilderHost(t, server)
  await waitsFor(user, id, /east has never been heard of/)
  host.start()
  const build = await ended(user, id)
  assert.equal(build.state, 'succeeded', build.reason)
  assert.match(await outputOf(user, id), /^hello\nImage stored: /)
  assert.equal((await user.get('/v1/images/alice/tools/first:v1?arch=amd64')).status, 200)
  // Nothing of it is kept there, and no token is anywhere.
  await soon(
    async () => readdirSync(join(host.directory, 'state/runs')).length === 0,
    'the run is forgotten',
  )
  assert.deepEqual(readdirSync(join(host.directory, 'state/jobs')), [])
  assert.deepEqual(readdirSync(join(server.dataDir, 'builds/jobs')), [])
  await assertLedger(server.db)
})

test('each architecture goes to the host that has said it', async (t) => {
  const directory = directoryFor(t)
  const server = await siteOf(t)
  const user = await server.user('alice')
  assertProblem(
    await trySubmit(user, definitionOf('image x'), madeFor('arm64')),
    400,
    /it has amd64/,
  )
  const east = await makeBuilderHost(t, server)
  const west = await makeBuilderHost(t, server, { name: 'west', archs: ['arm64', 'riscv64'] })
  east.start()
  const program = west.start()
  await soon(async () => {
    const reply = await trySubmit(user, definitionOf('image one'), madeFor('riscv64'))
    return reply.status === 201
  }, 'west has said what it makes')
  const pids = join(directory, 'pids')
  const gate = join(directory, 'gate')
  const ids = await Promise.all(
    ['amd64', 'arm64'].map(
      async (arch) =>
        await submit(
          user,
          definitionOf(`note-start ${pids}`, `wait-for ${gate}`, `image ${arch}`),
          { ...madeFor(arch), libraryRef: `alice/tools/${arch}:v1` },
        ),
    ),
  )
  for (const id of ids) await stateIs(user, id, 'running')
  const rows = await server.db.query<{ arch: string; builder: string }>(
    sql`select distinct arch, builder from builds where state = 'running' order by arch`,
  )
  assert.deepEqual(rows, [
    { arch: 'amd64', builder: 'east' },
    { arch: 'arm64', builder: 'west' },
  ])
  writeFileSync(gate, '')
  for (const id of ids) assert.equal((await ended(user, id)).state, 'succeeded')
  assert.equal((await user.get('/v1/images/alice/tools/arm64:v1?arch=arm64')).status, 200)
  const admin = await server.user('root', { isAdmin: true })
  const agents = (await admin.get('/v1/admin/agent-pool/default')).json.data
  assert.deepEqual(
    agents.map(({ queue }: { queue: string }) => queue),
    ['amd64', 'amd64', 'arm64,riscv64', 'arm64,riscv64'],
  )
  // A silent one is waited for; what nobody has announced is refused.
  assert.equal(await program.end('SIGTERM'), 0)
  const waiting = await submit(user, definitionOf('image y'), madeFor('arm64'))
  await waitsFor(user, waiting, /the builder west has not been heard of since \d{4}-/)
  assertProblem(await trySubmit(user, definitionOf('image z'), madeFor('s390x')), 400, /s390x/)
  west.start()
  assert.equal((await ended(user, waiting)).state, 'succeeded')
})

test('a build goes on through a restart of its host, killed or stopped, and of the server', async (t) => {
  const directory = directoryFor(t)
  const server = await siteOf(t, { port: await freePort() })
  const user = await server.user('alice')
  const host = await makeBuilderHost(t, server)
  const first = host.start()
  const [gate, pids] = [join(directory, 'gate'), join(directory, 'pids')]
  const id = await submit(
    user,
    definitionOf(`note-start ${pids}`, 'print before', `wait-for ${gate}`, 'image x'),
  )
  await stateIs(user, id, 'running')
  assert.equal(await first.end('SIGTERM'), 0)
  const second = host.start()
  await soon(async () => second.log().includes('"connected"'), 'the second is connected')
  await second.end('SIGKILL')
  host.start()
  const after = await server.restart()
  await soon(
    async () => (await after.appliance.builder.builders.list())[0]?.unavailable === undefined,
    'it is back at the next server',
  )
  assert.equal(noted(pids).alive.length, 1)
  writeFileSync(gate, '')
  const build = await ended(user, id)
  assert.equal(build.state, 'succeeded', build.reason)
  assert.equal(build.attempts, 1)
  assert.equal(noted(pids).all.length, 1)
  await soon(
    async () => readdirSync(join(host.directory, 'state/runs')).length === 0,
    'the run is forgotten',
  )
})

test('cancelled: no process is left within ten seconds, whatever it ignores', async (t) => {
  const directory = directoryFor(t)
  const server = await siteOf(t)
  const user = await server.user('alice')
  const host = await makeBuilderHost(t, server)
  host.start()
  const pids = join(directory, 'pids')
  const id = await submit(
    user,
    definitionOf(`note-start ${pids}`, 'ignore-term', `wait-for ${directory}/never`),
  )
  await soon(async () => noted(pids).alive.length === 1, 'the runner is there')
  await stateIs(user, id, 'running')
  const askedAt = performance.now()
  await user.send('PUT', `/v1/build/${id}/_cancel`)
  assert.equal((await ended(user, id)).status, 'Cancelled')
  assert.deepEqual(noted(pids).alive, [])
  assert.ok(performance.now() - askedAt < 10_000)
})

test('a host that is lost: its build begins anew elsewhere, once, and it comes back to nothing', async (t) => {
  const directory = directoryFor(t)
  const server = await siteOf(t, { queueTimes: { round: 0.1, ask: 0.2, lost: 2 } })
  const user = await server.user('alice')
  const east = await makeBuilderHost(t, server)
  const program = east.start()
  const [gate, pids] = [join(directory, 'gate'), join(directory, 'pids')]
  const id = await submit(user, definitionOf(`note-start ${pids}`, `wait-for ${gate}`, 'image x'))
  await soon(async () => noted(pids).alive.length === 1, 'the runner is there')
  await stateIs(user, id, 'running')
  // As if somebody had pulled the plug: nobody there says anything any more.
  const [runner = 0] = noted(pids).alive
  process.kill(runner, 'SIGSTOP')
  program.child.kill('SIGSTOP')
  const west = await makeBuilderHost(t, server, { name: 'west' })
  west.start()
  await soon(async () => /The builder was lost \(/.test(await outputOf(user, id)), 'it is lost')
  await soon(async () => noted(pids).all.length === 2, 'it has begun anew')
  await stateIs(user, id, 'running')
  assert.equal((await user.get(`/v1/build/${id}`)).json.data.attempts, 2)
  const [row] = await server.db.query<{ builder: string }>(sql`select builder from builds`)
  assert.equal(row?.builder, 'west')
  // It comes back, and ends what is not its own any more.
  process.kill(runner, 'SIGCONT')
  program.child.kill('SIGCONT')
  await soon(async () => !noted(pids).alive.includes(runner), 'the old runner ends')
  assert.equal(noted(pids).alive.length, 1)
  writeFileSync(gate, '')
  assert.equal((await ended(user, id)).state, 'succeeded')
})

test('a host that dies between a start and the first word of the runner', async (t) => {
  const server = await siteOf(t, { queueTimes: { round: 0.1, ask: 0.2, lost: 2 } })
  const user = await server.user('alice')
  const token = await server.appliance.builder.hosts.add(hostOperator, 'east')
  const said = { leaving: false, selfTest: { at: new Date().toISOString(), failure: null } }
  const id = await submit(user, definitionOf('image x'))
  assert.deepEqual((await ask(server, token, report(said))).json.data.start, [])
  const { start } = (await ask(server, token, report(said))).json.data
  assert.equal(start.length, 1)
  const { run } = start[0]
  assert.equal(start[0].id, id)
  assert.equal(start[0].arch, 'amd64')
  const runs = [{ run, id, state: 'running', started: true, said: '' }]
  const gone = new AbortController()
  const held = fetch(`${server.url}/v1/runner/host`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
    body: JSON.stringify(report({ ...said, runs })),
    signal: gone.signal,
  }).catch(() => undefined)
  await soon(async () => {
    const [row] = await server.db.query<{ handle: string }>(sql`select handle from builds`)
    return row?.handle === run
  }, 'the server knows that it was started')
  gone.abort()
  await held
  await waitsFor(user, id, /the builder east has not been heard of since \d{4}-/)
  assert.match(
    await outputOf(user, id),
    /The builder was lost \(the builder east has not been heard/,
  )
})

test('two hosts with one token: the second is told, and the first goes on', async (t) => {
  const server = await siteOf(t)
  const east = await makeBuilderHost(t, server)
  east.start()
  const { builders } = server.appliance.builder
  await soon(
    async () => (await builders.list())[0]?.unavailable === undefined,
    'the first is there',
  )
  const copy = await makeBuilderHost(t, server, { token: east.token }).then((one) => one.start())
  await soon(
    async () => copy.log().includes('Another host is connected as the builder east'),
    'the second is told',
  )
  assert.equal((await builders.list())[0]?.unavailable, undefined)
})

test('walls that do not hold before a build: it waits uncharged, the builder rests, an alarm says so', async (t) => {
  const directory = directoryFor(t)
  const walls = join(directory, 'walls')
  const server = await startServer(t, {
    queueTimes: { round: 0.1, wallRest: 1 },
    settings: { builder: withWalls(walls) },
  })
  const user = await server.user('alice')
  writeFileSync(walls, 'no bubblewrap here')
  const id = await submit(user, definitionOf('walls-hold', 'print begins', 'image x'))
  await waitsFor(user, id, /the builder here is not available: its self-test failed: no bubblewrap/)
  const [alarm] = await listAlarms(server.db)
  assert.equal(alarm?.name, 'builder here')
  assert.match(alarm?.message ?? '', /here takes no builds: its self-test failed: no bubblewrap/)
  // Tried again after each rest, and never charged.
  const tries = async (): Promise<number> =>
    (await outputOf(user, id)).match(/cannot build now, its self-test failed/g)?.length ?? 0
  await soon(async () => (await tries()) >= 3, 'it is tried again')
  assert.equal((await listAlarms(server.db)).length, 1)
  rmSync(walls)
  const build = await ended(user, id)
  assert.equal(build.state, 'succeeded', build.reason)
  assert.equal(build.attempts, 1)
  assert.deepEqual(await listAlarms(server.db), [])
  assert.match(await outputOf(user, id), /the build waits again\.\nbegins\nImage stored/)
})

test('a build of a builder whose walls do not hold goes to another one at once', async (t) => {
  const directory = directoryFor(t)
  const walls = join(directory, 'walls')
  writeFileSync(walls, 'no bubblewrap here')
  const server = await startServer(t, {
    queueTimes: { round: 0.1 },
    settings: { builder: withWalls(walls, { name: 'there' }) },
  })
  const user = await server.user('alice')
  const build = await ended(user, await submit(user, definitionOf('image x')))
  assert.equal(build.state, 'succeeded', build.reason)
  assert.equal(build.attempts, 1)
  assert.equal((await listAlarms(server.db)).length, 1)
  // A restart of the server forgets neither; one without that builder does.
  const after = await server.restart()
  const [first] = await after.appliance.builder.builders.list()
  assert.match(first?.unavailable ?? '', /here is not available: its self-test failed/)
  await after.appliance.database.transaction(async (tx) => {
    await tx.query(sql`update builder_rests set builder = 'gone'`)
    await tx.query(sql`update alarms set name = 'builder gone'`)
  })
  const last = await after.restart()
  await soon(async () => (await listAlarms(last.db)).length === 0, 'nobody is in alarm')
})

test('a cancelled build whose walls do not hold ends as cancelled', async (t) => {
  const directory = directoryFor(t)
  const gate = join(directory, 'gate')
  const server = await startServer(t, { settings: { builder: builderSettings() } })
  const user = await server.user('alice')
  const id = await submit(user, definitionOf('ignore-term', `wait-for ${gate}`, 'unable oh dear'))
  await stateIs(user, id, 'running')
  await user.send('PUT', `/v1/build/${id}/_cancel`)
  writeFileSync(gate, '')
  assert.equal((await ended(user, id)).status, 'Cancelled')
})

test('the self-test of a host: no builds while it fails, an alarm, and all is well after it', async (t) => {
  const server = await siteOf(t)
  const user = await server.user('alice')
  const host = await makeBuilderHost(t, server, { server: ['rest_minutes = 0.01'] })
  writeFileSync(host.walls, 'no user namespace can be made on this host')
  const program = host.start()
  const id = await submit(user, definitionOf('image x'))
  await waitsFor(user, id, /east is not available: its self-test failed: no user namespace/)
  const [row] = await server.appliance.builder.hosts.list()
  assert.match(row?.selfTestFailure ?? '', /no user namespace/)
  assert.equal((await listAlarms(server.db))[0]?.name, 'builder east')
  assert.equal((await user.get(`/v1/build/${id}`)).json.data.attempts, 0)
  rmSync(host.walls)
  assert.equal((await ended(user, id)).state, 'succeeded', program.log())
  assert.deepEqual(await listAlarms(server.db), [])
})

test('a host that is removed with a build: the build fails over, and nothing of it runs on', async (t) => {
  const directory = directoryFor(t)
  const server = await siteOf(t)
  const user = await server.user('alice')
  const host = await makeBuilderHost(t, server)
  const program = host.start()
  const pids = join(directory, 'pids')
  const id = await submit(user, definitionOf(`note-start ${pids}`, `wait-for ${directory}/never`))
  await soon(async () => noted(pids).alive.length === 1, 'the runner is there')
  await stateIs(user, id, 'running')
  assert.equal(await server.appliance.builder.hosts.remove(hostOperator, 'east'), 1)
  await soon(async () => program.log().includes('no token of a builder'), 'the host is told')
  await user.send('PUT', `/v1/build/${id}/_cancel`)
  assert.equal((await ended(user, id)).status, 'Cancelled')
  await soon(async () => noted(pids).alive.length === 0, 'the runner ends')
})

test('what cannot be started on a host is not started there again at once, and says why', async (t) => {
  const server = await siteOf(t)
  const user = await server.user('alice')
  const host = await makeBuilderHost(t, server, {
    runner: [],
    server: ['runner = ["/no/such/runner"]'],
  })
  host.start()
  const id = await submit(user, definitionOf('image x'))
  await waitsFor(user, id, /self-test failed: the runner cannot be started: .*ENOENT/)
  assert.deepEqual(
    processesIn(host.directory).length,
    1,
    'nothing runs there but the program itself',
  )
})

const isRoot = process.getuid?.() === 0
const brokenWalls: readonly (readonly [
  name: string,
  lines: readonly string[],
  fault: RegExp,
  skip: false | string,
])[] = [
  [
    'a root without a /usr',
    ['root = "/nonexistent"'],
    /self-test failed: the walls do not hold: ./,
    false,
  ],
  [
    'no control group',
    ['limiter = "cgroup"'],
    /the walls do not hold: This host gives the runner no control group/,
    isRoot ? false : 'only root can become somebody who has none for certain',
  ],
]

for (const [name, runner, fault, skip] of brokenWalls) {
  test(`the real runner on a host with ${name}: no builds`, { skip }, async (t) => {
    const server = await siteOf(t)
    const user = await server.user('alice')
    const host = await makeBuilderHost(t, server, { runner, unprivileged: true })
    host.start()
    const id = await submit(user, definitionOf('image x'))
    await waitsFor(user, id, fault)
    assert.equal((await listAlarms(server.db))[0]?.name, 'builder east')
  })
}

const mistakes: readonly (readonly [name: string, config: string, fault: RegExp])[] = [
  ['nothing', '', /there is no \[server\]/],
  ['no name', '[server]\nurl = "http://x"', /name/],
  ['an unknown key', '[server]\nurl = "http://x"\nname = "a"\ntoken = "x"', /token/],
  ['no token', '[server]\nurl = "http://x"\nname = "a"', /There is no token/],
  ['a wrong line for runners', 'limiter = "none"\n[server]\nurl = "http://x"', /limiter/],
]

for (const [name, config, fault] of mistakes) {
  test(`a configuration with ${name} is refused at the start`, async (t) => {
    const server = await siteOf(t)
    const host = await makeBuilderHost(t, server)
    writeFileSync(host.config, config)
    const program = host.start()
    await soon(async () => program.child.exitCode !== null, 'it ends')
    assert.equal(program.child.exitCode, 2)
    assert.match(program.log(), fault)
  })
}

test('a token that others can read is refused; one that systemd hands over is taken', async (t) => {
  const directory = directoryFor(t)
  const server = await siteOf(t)
  const host = await makeBuilderHost(t, server)
  chmodSync(join(host.directory, 'token'), 0o644)
  const refused = host.start()
  await soon(async () => refused.child.exitCode !== null, 'it ends')
  assert.match(refused.log(), /can be read by others: chmod 600/)
  writeFileSync(join(directory, 'builder-token'), host.token)
  const second = await makeBuilderHost(t, server, {
    token: 'not this one, which is too short for anybody',
    environment: { CREDENTIALS_DIRECTORY: directory },
  })
  const program = second.start()
  await soon(async () => program.log().includes('"connected"'), 'it is connected').catch(
    (error: Error) => assert.fail(`${error.message}: ${program.log()}`),
  )
  assert.ok(!program.log().includes(host.token))
})

const noOpenssl = hasOpenssl || process.env['CI'] === 'true' ? false : 'openssl is not installed'

test(
  'over TLS: the authority of the site is believed, and no other',
  { skip: noOpenssl },
  async (t) => {
    const directory = directoryFor(t)
    const server = await siteOf(t)
    const authority = new CertificateAuthority(directory)
    const { keyFile, certificateFile } = authority.issue('server', 'DNS:localhost')
    const options = { key: readFileSync(keyFile), cert: readFileSync(certificateFile) }
    const to = Number(new URL(server.url).port)
    const front = createServer(options, (socket) => {
      const inner = connect(to, '127.0.0.1')
      for (const one of [socket, inner]) one.on('error', () => one.destroy())
      socket.pipe(inner).pipe(socket)
    })
    await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve))
    t.after(() => void front.close())
    const url = `https://localhost:${(front.address() as AddressInfo).port}`
    const stranger = await makeBuilderHost(t, server, { url })
    const refused = stranger.start()
    await soon(
      async () => /self-signed certificate|unable to verify/.test(refused.log()),
      'it does not believe',
    )
    await refused.end('SIGTERM')
    assert.equal((await server.appliance.builder.hosts.list())[0]?.heardAt, null)
    chmodSync(authority.caFile, 0o644)
    const host = await makeBuilderHost(t, server, {
      token: stranger.token,
      url,
      server: [`ca = "${authority.caFile}"`],
    })
    const program = host.start()
    await soon(async () => program.log().includes('"connected"'), 'it is connected')
  },
)

function withWalls(
  walls: string,
  ...more: readonly Readonly<Record<string, unknown>>[]
): Readonly<Record<string, unknown>> {
  const { builders } = builderSettings() as { builders: Record<string, unknown>[] }
  const [here = {}] = builders
  const runner = [...(here['runner'] as string[]), '--walls', walls]
  return {
    enabled: true,
    builders: [
      { ...here, runner, slots: 1 },
      ...more.map((one) => ({ ...here, slots: 1, ...one })),
    ],
  }
}
