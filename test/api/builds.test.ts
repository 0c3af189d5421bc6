/** Builds from submit to image: the build API with the stand-in runner. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'

import { findAccount, hostOperator } from '../../server/accounts/accounts.ts'
import { sql } from '../../server/database.ts'
import {
  builderSettings,
  definitionOf,
  ended,
  follow,
  outputOf,
  submit,
  trySubmit,
} from '../support/builds.ts'
import { assertProblem, Client, libraryHash } from '../support/client.ts'
import { assertLedger, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const server = await startServer({ after }, { settings: { builder: builderSettings() } })

test('a build without a target: the image is in the space of its owner, with size and checksum', async () => {
  const user = await server.user('plain')
  const reply = await trySubmit(user, definitionOf('print hello', 'image plain', 'print bye'))
  assert.equal(reply.status, 201)
  const { id, libraryRef, libraryURL, isComplete } = reply.json.data
  assert.match(id, /^[0-9a-f]{24}$/)
  assert.equal(libraryRef, `library://plain/remote-builds/rb-${id}:latest`)
  assert.equal(libraryURL, server.url)
  assert.equal(isComplete, false)

  const sif = makeSif({ seed: 'plain' })
  const followed = await follow(user, id)
  assert.equal(followed.code, 1000)
  assert.match(followed.text, /hello\nbye\nImage stored: library:\/\/plain\/remote-builds\/rb-/)
  const build = (await user.get(`/v1/build/${id}`)).json.data
  assert.equal(build.isComplete, true, 'the state is there when the socket closes')
  assert.equal(build.imageSize, sif.length)
  assert.equal(build.imageChecksum, libraryHash(sif))
  assert.equal(build.status, 'Complete')
  const pulled = await server.anonymous.get(
    `/v1/imagefile/plain/remote-builds/rb-${id}:latest?arch=amd64`,
  )
  assert.deepEqual(pulled.body, sif)
})

test('a named target, in both spellings', async () => {
  const user = await server.user('named')
  for (const ref of ['library://named/tools/one:v1', 'library:named/tools/two']) {
    const id = await submit(user, definitionOf(`image ${ref}`), { libraryRef: ref })
    const build = await ended(user, id)
    assert.equal(build.state, 'succeeded', build.reason)
  }
  const tags = (await user.get('/v1/tags/named/tools/one')).json.data
  assert.deepEqual(Object.keys(tags), ['v1'])
  assert.equal((await user.get('/v1/images/named/tools/two:latest?arch=amd64')).status, 200)
})

test('a build that fails says so in its output, and has size 0', async () => {
  const user = await server.user('fails')
  const id = await submit(user, definitionOf('print before', 'fail %post ended with status 7'))
  const build = await ended(user, id)
  assert.equal(build.state, 'failed')
  assert.equal(build.imageSize, 0)
  assert.equal(build.reason, '%post ended with status 7')
  assert.equal(await outputOf(user, id), 'before\nBuild failed: %post ended with status 7\n')
  assertProblem(await user.get(`/v1/images/fails/remote-builds/rb-${id}:latest`), 404)
})

test('an image over the quota is refused with the numbers, and nothing is left of it', async () => {
  const user = await server.user('poor')
  const first = makeSif({ seed: 'first' })
  await user.push('poor/demo/first', 'v1', first)
  await server.db.query(
    sql`update entities set quota_bytes = ${first.length + 100} where name = 'poor'`,
  )
  const id = await submit(user, definitionOf('image second'))
  const build = await ended(user, id)
  assert.equal(build.state, 'failed')
  assert.match(build.reason, /quota exceeded: .* used .* this image needs/)
  assertProblem(await user.get(`/v1/containers/poor/remote-builds/rb-${id}`), 404)
  await assertLedger(server.db)
})

test('what stands at submit is answered at once', async (t) => {
  const user = await server.user('asks')
  await server.user('other')
  const good = definitionOf('image x')
  const cases: readonly [string, Parameters<typeof trySubmit>, number, RegExp][] = [
    ['no credential', [server.anonymous, good], 401, /Sign in/],
    ['an empty file', [user, ' \n'], 400, /empty/],
    ['not a text', [user, Buffer.from([0xff, 0xfe, 0x00])], 400, /UTF-8/],
    [
      'another architecture',
      [user, good, { builderRequirements: { arch: 'riscv64' } }],
      400,
      /"riscv64".*amd64/,
    ],
    [
      "somebody else's space",
      [user, good, { libraryRef: 'library://other/tools/x:v1' }],
      403,
      /may not push to "other"/,
    ],
    [
      'another library',
      [user, good, { libraryURL: 'https://library.example.org' }],
      400,
      /not in https/,
    ],
    [
      'a host in the target',
      [user, good, { libraryRef: 'library://elsewhere.example/asks/tools/x' }],
      400,
      /only/,
    ],
    [
      'a hash for a tag',
      [user, good, { libraryRef: `library://asks/t/x:sha256.${'0'.repeat(64)}` }],
      400,
      /needs a tag/,
    ],
    [
      'a context that is not there',
      [user, good, { contextDigest: `sha256.${'0'.repeat(64)}` }],
      400,
      /not sent the files/,
    ],
    ['a context digest that is none', [user, good, { contextDigest: 'abc' }], 400, /hash/],
    ['a relative working directory', [user, good, { workingDir: 'x' }], 400, /absolute/],
  ]
  for (const [name, args, status, message] of cases) {
    await t.test(name, async () => assertProblem(await trySubmit(...args), status, message))
  }
  assertProblem(await user.post('/v1/build', { definition: { header: {} } }), 400, /3\.3/)
  assertProblem(await user.send('POST', '/v1/build', { body: 'no JSON' }), 400)
  const left = await server.db.query(
    sql`select 1 from builds b join accounts a on a.id = b.account_id where a.name = 'asks'`,
  )
  assert.deepEqual(left, [])
})

test('a token for building takes the default target only, one for pulling none', async () => {
  await server.user('robot')
  const account = await findAccount(server.db, 'robot')
  assert.ok(account)
  const who = { ...hostOperator, accountId: account.id, name: 'robot', isAdmin: false }
  const withScope = async (scope: 'pull' | 'build'): Promise<Client> => {
    const { token, id } = await server.appliance.tokens.issue(who, 'test', scope)
    return new Client(server.url, { name: 'robot', accountId: account.id, token, tokenId: id })
  }
  const pull = await withScope('pull')
  assertProblem(await trySubmit(pull, definitionOf('image r')), 403, /only for pulling/)
  const build = await withScope('build')
  const named = await trySubmit(build, definitionOf('image r'), { libraryRef: 'robot/tools/x:v1' })
  assertProblem(named, 403, /pulling and building/)
  const done = await ended(build, await submit(build, definitionOf('image r')))
  assert.equal(done.state, 'succeeded', done.reason)
})

test("a build is its owner's and the administrators'", async () => {
  const user = await server.user('mine')
  const stranger = await server.user('stranger')
  const admin = await server.user('boss', { isAdmin: true })
  const id = await submit(user, definitionOf('print secret', 'fail at last'))
  await ended(user, id)
  const paths = [`/v1/build/${id}`, `/v1/build-output/${id}`]
  for (const path of paths) {
    assertProblem(await server.anonymous.get(path), 401)
    assertProblem(await stranger.get(path), 404)
    assert.equal((await admin.get(path)).status, 200)
  }
  for (const [method, path] of [
    ['PUT', `/v1/build/${id}/_cancel`],
    ['DELETE', `/v1/build/${id}`],
  ] as const) {
    assertProblem(await server.anonymous.send(method, path), 401)
    assertProblem(await stranger.send(method, path), 404)
  }
  await assert.rejects(follow(stranger, id), /refused with 404/)
  await assert.rejects(follow(server.anonymous, id), /refused with 401/)
  assertProblem(await user.get('/v1/build/ffffffffffffffffffffffff'), 404)
})

test('lists: by user and time; deleted ones only when asked for, and without output', async () => {
  const user = await server.user('lists')
  const admin = await server.user('lister', { isAdmin: true })
  const first = await submit(user, definitionOf('fail 1'))
  const second = await submit(user, definitionOf('fail 2'))
  await ended(user, first)
  await ended(user, second)
  const ids = async (client: Client, query: string): Promise<string[]> =>
    (await client.get(`/v1/build?${query}`)).json.data.map(({ id }: { id: string }) => id)
  assertProblem(await server.anonymous.get('/v1/build'), 401)
  assert.deepEqual(await ids(user, ''), [second, first])
  const mine = user.credentials?.accountId ?? ''
  assert.deepEqual(await ids(admin, `user=${mine}`), [second, first])
  assert.deepEqual(await ids(user, `user=${admin.credentials?.accountId}`), [])
  assert.deepEqual(await ids(user, `from=${encodeURIComponent('2030-01-01T00:00:00+09:00')}`), [])
  assert.deepEqual(await ids(user, 'to=2020-01-01T00:00:00Z'), [])
  assertProblem(await user.get('/v1/build?from=yesterday'), 400)
  assert.equal((await user.delete(`/v1/build/${first}`)).status, 200)
  assert.deepEqual(await ids(user, ''), [second])
  assert.deepEqual(await ids(user, 'includeDeleted=true'), [second, first])
  assert.equal((await user.get(`/v1/build/${first}`)).json.data.status, 'Deleted')
  assert.equal(await outputOf(user, first), '')
})

test('figures and agents are for administrators', async () => {
  const user = await server.user('nobody')
  const admin = await server.user('figures', { isAdmin: true })
  for (const path of ['/v1/stats/builds', '/v1/admin/agent-pool/default']) {
    assertProblem(await server.anonymous.get(path), 401)
    assertProblem(await user.get(path), 403)
  }
  const stats = (await admin.get('/v1/stats/builds')).json.data
  assert.ok(stats.buildCount > 0 && stats.usersWithBuilds > 0)
  const agents = (await admin.get('/v1/admin/agent-pool/default')).json.data
  assert.deepEqual(
    agents.map(({ queue }: { queue: string }) => queue),
    ['amd64', 'amd64'],
  )
  assertProblem(await admin.get('/v1/admin/agent-pool/other'), 404)
  assertProblem(
    await admin.delete(`/v1/admin/agent-pool/default/${agents[0].id}`),
    400,
    /configuration/,
  )
})

test('build-def-file takes the text itself', async () => {
  const user = await server.user('texts')
  const reply = await user.send('POST', '/v1/build-def-file', { body: definitionOf('image text') })
  assert.equal(reply.status, 200)
  assert.equal((await ended(user, reply.json.data.id)).state, 'succeeded')
})

test('what a definition says is read at submit: the line that is wrong is named', async () => {
  const user = await server.user('lines')
  const cases: readonly [string, RegExp][] = [
    ['This is no definition\n', /line 1/],
    ['Bootstrap: nonsense\nFrom: x\n', /line 1: There is no bootstrap agent "nonsense"/],
    ['Bootstrap: docker-daemon\nFrom: x\n', /line 1: .*docker-daemon/],
    ['Bootstrap: localimage\nFrom: /etc/base.sif\n', /line 2: .*none was/],
    ['Bootstrap: scratch\n%files\n/etc/passwd /x\n', /line 3: "\/etc\/passwd" was not sent along/],
  ]
  for (const [definition, message] of cases) {
    assertProblem(await trySubmit(user, definition), 400, message)
  }
})

test('the definition is shown as an object too, in a build and in the list', async () => {
  const user = await server.user('shows')
  const definition = [
    'Bootstrap: scratch',
    'Stage: first',
    '%post',
    '  echo of the first stage',
    'Bootstrap: docker',
    `From: ${new URL(server.url).host}/shows/demo/{{ WHAT }}`,
    '%help',
    '  how to use it',
    '%files from first',
    '  /a /b',
    '%environment',
    '  export A=1',
    '%setup',
    '  true',
    '%post',
    '  #do image shown',
    '%runscript',
    '  exec a "$@"',
    '%test',
    '  a --version',
    '',
  ].join('\n')
  await user.push('shows/demo/base', 'latest', makeSif({ seed: 'shown' }))
  const id = await submit(user, definition, { buildArgs: { WHAT: 'base' } })
  const expected = {
    header: { bootstrap: 'docker', from: `${new URL(server.url).host}/shows/demo/base` },
    imageData: {
      imageScripts: {
        help: '  how to use it\n',
        environment: '  export A=1\n',
        runScript: '  exec a "$@"\n',
        test: '  a --version\n',
      },
    },
    buildData: { files: {}, buildScripts: { setup: '  true\n', post: '  #do image shown\n' } },
  }
  const build = await ended(user, id)
  assert.deepEqual(build.definition, expected)
  assert.equal(build.buildRecipe, definition)
  const [listed] = (await user.get('/v1/build')).json.data
  assert.deepEqual(listed.definition, expected)
  // Reading one takes time, and a list has many.
  await ended(user, await submit(user, definitionOf('image x', `print ${'x'.repeat(9000)}`)))
  const [long] = (await user.get('/v1/build')).json.data
  assert.equal(long.definition, undefined)
  assert.equal((await user.get(`/v1/build/${long.id}`)).json.data.definition.header.from, '')
})

test('convert-def-file names the files to pack, and the rest of a definition', async () => {
  const user = await server.user('packs')
  const definition = 'Bootstrap: scratch\n%files\n/a /b\nc\n%files from one\nx y\n'
  const path = '/v1/convert-def-file'
  const reply = await user.send('POST', path, { body: definition })
  assert.equal(reply.status, 200)
  assert.deepEqual(reply.json.data.buildData.files, [
    {
      args: '',
      files: [
        { source: '/a', destination: '/b' },
        { source: 'c', destination: '' },
      ],
    },
    { args: 'from one', files: [{ source: 'x', destination: 'y' }] },
  ])
  assert.deepEqual(reply.json.data.header, { bootstrap: 'scratch', from: '' })
  assert.deepEqual(reply.json.data.buildData.buildScripts, { setup: '', post: '' })
  assertProblem(await server.anonymous.send('POST', path, { body: definition }), 401)
  assertProblem(await user.send('POST', path, { body: Buffer.from([0xff]) }), 400)
})
