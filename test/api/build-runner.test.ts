/** The runner protocol, with the runner in the test's own hands. */
import assert from 'node:assert/strict'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'

import { sql } from '../../server/database.ts'
import { builderSettings, definitionOf, outputOf, stateIs, submit } from '../support/builds.ts'
import { assertProblem, Client, libraryHash } from '../support/client.ts'
import { RunnerClient } from '../support/runner-client.ts'
import { eventually, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

// A process that holds the place of the runner, whose requests the tests make.
const idle = ['/bin/sh', '-c', 'exec sleep 600', 'runner']
const server = await startServer(
  { after },
  {
    settings: {
      builder: builderSettings(
        { max_output: '1000 B', running_per_user: 50, allowed_hosts: ['deb.example.org'] },
        { runner: idle, slots: 50 },
      ),
    },
  },
)
const processes: number[] = []
after(() => {
  for (const pid of processes) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {} // ended with its build
  }
})

async function given(
  user: Client,
  options: Parameters<typeof submit>[2] = {},
  definition = definitionOf('nothing'),
): Promise<{ id: string; runner: RunnerClient; file: string }> {
  const id = await submit(user, definition, options)
  const file = join(server.dataDir, 'builds/jobs', `${id}.json`)
  await stateIs(user, id, 'starting')
  await eventually(async () => {
    const [row] = await server.db.query<{ handle: string | null }>(
      sql`select handle from builds where id = ${id}`,
    )
    if (typeof row?.handle !== 'string') return false
    processes.push(Number.parseInt(row.handle, 10))
    return true
  }, 'the job is started')
  const { url, token } = JSON.parse(readFileSync(file, 'utf8')) as { url: string; token: string }
  return { id, runner: new RunnerClient(url, token), file }
}

test('the job: what to build, within which limits, with a credential for pulling', async () => {
  const user = await server.user('jobs')
  const definition = `${definitionOf('nothing')}echo {{ VERSION }}\n`
  const options = { workingDir: '/home/jobs/x', buildArgs: { VERSION: '1.2' } }
  const { id, runner, file } = await given(user, options, definition)
  assert.equal(statSync(file).mode & 0o777, 0o600)
  const job = (await runner.job()).json.data
  assert.equal(job.id, id)
  assert.equal(job.arch, 'amd64')
  assert.equal(job.definition, definition.replace('{{ VERSION }}', '1.2'))
  assert.equal(job.workingDir, '/home/jobs/x')
  assert.equal(job.contextUrl, null)
  assert.equal(job.libraryUrl, server.url)
  assert.equal(job.registryUrl, server.url)
  assert.deepEqual(job.allowedHosts, ['deb.example.org'])
  assert.equal(job.limits.seconds, 7200)
  assert.equal(job.limits.outputBytes, 1000)
  assert.equal(job.limits.imageBytes, 100 * 2 ** 30)
  for (const limit of ['cpus', 'memoryBytes', 'processes', 'scratchBytes']) {
    assert.ok(job.limits[limit] > 0, limit)
  }
  await stateIs(user, id, 'running')

  // The credential reads as the account does, is not listed, and changes nothing.
  const puller = new Client(server.url, { ...user.credentials, token: job.pullToken } as never)
  const status = await puller.get('/v1/token-status')
  assert.equal(status.status, 200)
  assertProblem(await puller.post('/v1/collections', { entity: 'jobs', name: 'new' }), 403)
  const listed = (await user.get('/api/v1/tokens')).json.data as { label: string }[]
  assert.deepEqual(
    listed.filter(({ label }) => label.startsWith('Remote Build')),
    [],
  )

  assert.equal((await runner.end('failed', 'enough')).status, 200)
  assert.equal((await puller.get('/v1/token-status')).status, 404)
  for (const reply of [await runner.job(), await runner.print('x'), await runner.end('failed')]) {
    assertProblem(reply, 401, /job is over/)
  }
})

test('a job token is good for its own build and for nothing else', async () => {
  const user = await server.user('bounds')
  const { id, runner } = await given(user)
  await runner.job()
  const asUser = new Client(server.url, { ...user.credentials, token: runner.token } as never)
  for (const path of [`/v1/build/${id}`, '/v1/build', '/v1/rbac/users/current']) {
    assertProblem(await asUser.get(path), 401)
  }
  const withAccess = new RunnerClient(server.url, user.credentials?.token ?? '')
  assertProblem(await withAccess.job(), 401)
  assertProblem(await new RunnerClient(server.url, 'x').job(), 401)
  assertProblem(await new Client(server.url, undefined).get('/v1/runner/job'), 401)
  const [row] = await server.db.query<{ text: string }>(
    sql`select b::text as "text" from builds b where id = ${id}`,
  )
  assert.ok(!row?.text.includes(runner.token), 'the token itself is nowhere in the database')
  assert.ok(!server.log().includes(runner.token))
  await runner.end('failed')
})

test('output by offset: a repeated piece is harmless, and the limit cuts', async () => {
  const user = await server.user('prints')
  const { id, runner } = await given(user)
  await runner.job()
  assert.deepEqual((await runner.print('één\n')).json.data, { size: 6, cancel: false })
  runner.sent = 0
  const again = await runner.print('één\n')
  assert.equal(again.status, 409)
  assert.deepEqual(again.json.data, { size: 6, cancel: false })
  runner.sent = 6
  assert.deepEqual((await runner.print()).json.data, { size: 6, cancel: false })
  assert.equal((await runner.print('x'.repeat(2000))).json.data.size, 2006)
  assert.equal((await runner.print('more')).json.data.size, 2010)
  assertProblem(await runner.send('PATCH', '/v1/runner/output?offset=-1', Buffer.from('')), 400)
  await runner.end('failed', 'too long')
  const text = await outputOf(user, id)
  assert.equal(text, `één\n${'x'.repeat(994)}\n[truncated]\nBuild failed: too long\n`)
})

test('success needs an image; an image may be sent again', async () => {
  const user = await server.user('sends')
  const { id, runner } = await given(user)
  await runner.job()
  assertProblem(await runner.end('succeeded'), 409, /has not arrived/)
  assertProblem(await runner.image(Buffer.from('a text')), 400, /not a SIF/)
  assertProblem(await runner.image(Buffer.alloc(0)), 400, /empty/)
  assertProblem(await runner.image(makeSif({ arch: 'arm64' })), 400, /for arm64, and amd64 was/)
  const sif = makeSif({ seed: 'twice' })
  assert.equal((await runner.image(sif)).status, 200)
  assert.equal((await runner.image(sif)).status, 200)
  assert.equal((await runner.end('succeeded')).status, 200)
  const build = (await user.get(`/v1/build/${id}`)).json.data
  assert.equal(build.imageChecksum, libraryHash(sif))
  const images = (await user.get(`/v1/containers/sends/remote-builds/rb-${id}/_images`)).json.data
  assert.equal(images.length, 1)
})

test('cancel: the runner hears it, and what it built afterwards is not taken', async () => {
  const user = await server.user('stops')
  const { id, runner } = await given(user)
  await runner.job()
  await runner.print('working\n')
  assert.equal((await user.send('PUT', `/v1/build/${id}/_cancel`)).status, 204)
  assert.equal((await runner.print()).json.data.cancel, true)
  assertProblem(await runner.image(makeSif()), 409, /not wanted/)
  assert.equal((await runner.end('failed', 'killed')).status, 200)
  const build = (await user.get(`/v1/build/${id}`)).json.data
  assert.equal(build.status, 'Cancelled')
  assert.equal(build.reason, 'cancelled by its owner')
  assert.equal((await user.send('PUT', `/v1/build/${id}/_cancel`)).status, 204, 'twice is harmless')
})

test('a build ends with the token that it was handed in with, and with its account', async () => {
  const user = await server.user('leaver')
  const { id, runner } = await given(user)
  await runner.job()
  const keeper = await server.signIn('leaver')
  assert.equal((await user.delete(`/api/v1/tokens/${user.credentials?.tokenId}`)).status, 200)
  await stateIs(keeper, id, 'cancelled')
  assertProblem(await runner.print('x'), 401)
  const build = (await keeper.get(`/v1/build/${id}`)).json.data
  assert.match(build.reason, /access token .* was revoked/)
})
