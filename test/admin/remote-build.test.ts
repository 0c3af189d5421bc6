/** `build --remote` of the login nodes against the real server, with the stand-in runner. */
import assert from 'node:assert/strict'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { checkContext, unpackContext } from '../../server/builds/context-archive.ts'
import { builderSettings, definitionOf, ended } from '../support/builds.ts'
import type { Client } from '../support/client.ts'
import { eventually, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { openTerminal, withoutTerminal } from '../support/terminal.ts'
import { frontOf, makeBuildHost } from './build-host.ts'
import type { BuildHost } from './build-host.ts'
import { assertDone, assertRefused, pathOf } from './command.ts'

const server = await startServer(
  { after },
  { settings: { builder: builderSettings({ allowed_hosts: ['registry-1.docker.io'] }) } },
)

interface Person {
  readonly client: Client
  readonly host: BuildHost
}

async function person(name: string, url: string = server.url): Promise<Person> {
  const client = await server.user(name)
  return { client, host: makeBuildHost({ after }, url, client.credentials?.token) }
}

interface Shown {
  readonly id: string
  readonly state: string
  readonly libraryRef: string
  readonly buildRecipe: string
}

async function lastBuild(client: Client): Promise<Shown> {
  return (await client.get('/v1/build')).json.data[0]
}

test('an image in a file: output, hash, mode, and nothing beside it', async () => {
  const { host, client } = await person('filer')
  host.write('a.def', definitionOf('print hello', 'print Grüße', 'image filer'))
  const outcome = await host.run('--remote', '--arch', 'amd64', 'a.sif', 'a.def')
  assertDone(outcome)
  assert.match(outcome.stdout, /^hello\nGrüße\n/)
  assert.match(outcome.stderr, /^INFO: {4}Build [0-9a-f]{24} is submitted\.$/m)
  assert.match(outcome.stderr, /^INFO: {4}Build complete: a\.sif$/m)
  assert.ok(!outcome.stderr.includes('\u001b'), 'no control characters without a terminal')
  assert.deepEqual(readFileSync(host.path('a.sif')), makeSif({ seed: 'filer' }))
  assert.equal(statSync(host.path('a.sif')).mode & 0o777, 0o777 & ~process.umask())
  assert.deepEqual(readdirSync(host.directory).sort(), ['a.def', 'a.sif'])
  assert.match((await lastBuild(client)).libraryRef, /^library:\/\/filer\/remote-builds\/rb-/)
})

test('an image in the library, with and without a file', async () => {
  const { host, client } = await person('shelf')
  host.write('a.def', definitionOf('image shelf'))
  const only = await host.run('--remote', '--arch=amd64', 'library://shelf/tools/one:v1', 'a.def')
  assertDone(only)
  assert.match(only.stderr, /Build complete: library:\/\/shelf\/tools\/one:v1/)
  assert.deepEqual(readdirSync(host.directory), ['a.def'])
  const both = await host.run(
    '-r',
    '--arch=amd64',
    '--library',
    'shelf/tools/two',
    'b.sif',
    'a.def',
  )
  assertDone(both)
  assert.deepEqual(readFileSync(host.path('b.sif')), makeSif({ seed: 'shelf' }))
  for (const image of ['one:v1', 'two:latest']) {
    const found = await client.get(`/v1/images/shelf/tools/${image}?arch=amd64`)
    assert.equal(found.status, 200, image)
  }
})

test('an image to begin from instead of a definition file', async () => {
  const { host, client } = await person('uri')
  const outcome = await host.run('--remote', '--arch=amd64', '-d', 'a.sif', 'docker://alpine:3.20')
  assertDone(outcome)
  assert.equal((await lastBuild(client)).buildRecipe, 'Bootstrap: docker\nFrom: alpine:3.20\n')
})

test('files are packed as the stock client packs them, sent once, and dropped afterwards', async () => {
  const { host, client } = await person('packer')
  const kept = host.path('kept.tar.gz')
  mkdirSync(host.path('data/sub'), { recursive: true })
  host.write('data/one.txt', 'one')
  host.write('data/.hidden.txt', 'hidden')
  host.write('data/sub/two', '')
  host.write('run.sh', '#!/bin/sh\n')
  chmodSync(host.path('run.sh'), 0o755)
  symlinkSync('data/one.txt', host.path('link.txt'))
  host.write('x'.repeat(200), 'long')
  const files = ['data/*.txt /a', `${host.path('data')}/sub /b`, 'run.sh', 'link.txt /c', 'xx*x /d']
  host.write(
    'a.def',
    `${definitionOf(`keep-context ${kept}`, 'image packer')}%files\n  ${files.join('\n  ')}\n  run.sh /again\n`,
  )
  assertDone(await host.run('--remote', '--arch=amd64', 'a.sif', 'a.def'))
  await checkContext(kept)
  const out = host.path('out')
  mkdirSync(out)
  await unpackContext(kept, out)
  const below = join(out, host.directory)
  const read = (name: string): string => readFileSync(join(below, name), 'utf8')
  assert.equal(read('data/one.txt'), 'one')
  assert.equal(read('data/.hidden.txt'), 'hidden')
  assert.equal(read('link.txt'), 'one')
  assert.equal(read('x'.repeat(200)), 'long')
  assert.equal(statSync(join(below, 'data/sub/two')).size, 0)
  assert.equal(statSync(join(below, 'run.sh')).mode & 0o777, 0o755)
  assert.deepEqual(readdirSync(below).sort(), ['data', 'link.txt', 'run.sh', 'x'.repeat(200)])
  assert.equal((await lastBuild(client)).state, 'succeeded')
})

const broken: readonly (readonly [
  name: string,
  args: readonly string[],
  status: 1 | 2,
  why: RegExp,
])[] = [
  ['no --remote', ['a.sif', 'a.def'], 2, /Say "build --remote"/],
  ['one word', ['--remote', 'a.sif'], 2, /Give the image and the definition file/],
  ['an unknown option', ['--remote', '--sandbox', 'a.sif', 'a.def'], 2, /--sandbox/],
  [
    'two references',
    ['--remote', '--library', 'a/b/c', 'library://a/b/c', 'a.def'],
    2,
    /one reference/,
  ],
  [
    'an argument without a name',
    ['--remote', '--build-arg', 'x', 'a.sif', 'a.def'],
    2,
    /NAME=VALUE/,
  ],
  ['a verb without an ID', ['--remote', 'status'], 2, /Give the ID/],
  ['no definition file', ['--remote', 'a.sif', 'none.def'], 1, /none\.def/],
  ['a broken definition', ['--remote', 'a.sif', 'broken.def'], 1, /broken\.def, line 3: .*"%pots"/],
  [
    'an argument that is not used',
    ['--remote', '--build-arg', 'X=1', 'a.sif', 'a.def'],
    1,
    /does not use.*"X"/,
  ],
  ['an image that is there', ['--remote', 'old.sif', 'a.def'], 1, /--force/],
  ['a directory that is not there', ['--remote', 'no/a.sif', 'a.def'], 1, /no directory/],
  [
    'a file that is not there',
    ['--remote', 'a.sif', 'files.def'],
    1,
    /Line 4: there is no file ".*\/nothing\*"/,
  ],
  [
    "somebody else's space",
    ['--remote', '--arch=amd64', 'library://other/x/y', 'a.def'],
    1,
    /other/,
  ],
  ['a processor without a builder', ['--remote', '--arch', 's390x', 'a.sif', 'a.def'], 1, /s390x/],
  ["somebody else's build", ['--remote', 'status', '0'.repeat(24)], 1, /./],
]

test('what cannot be built is refused in one line, and nothing is submitted', async (t) => {
  const { host, client } = await person('broken')
  await server.user('other')
  host.write('a.def', definitionOf('image x'))
  host.write('broken.def', 'Bootstrap: scratch\n\n%pots\n')
  host.write('files.def', 'Bootstrap: scratch\n\n%files\n nothing* /x\n')
  host.write('old.sif', 'old')
  for (const [name, args, status, why] of broken) {
    await t.test(name, async () => assertRefused(await host.run(...args), status, why))
  }
  assert.deepEqual((await client.get('/v1/build')).json.data, [])
  assert.equal(readFileSync(host.path('old.sif'), 'utf8'), 'old')
})

test('who is not signed in is told so', async () => {
  const host = makeBuildHost({ after }, server.url, undefined)
  host.write('a.def', definitionOf('image x'))
  assertRefused(await host.run('--remote', 'a.sif', 'a.def'), 1, /remote login/)
  const stranger = makeBuildHost({ after }, server.url, 'a.b.c')
  stranger.write('a.def', definitionOf('image x'))
  assertRefused(await stranger.run('--remote', 'a.sif', 'a.def'), 1, /token|[Ss]ign in/)
})

test('--force replaces an image, and a failed build does not', async () => {
  const { host } = await person('forcer')
  host.write('a.def', definitionOf('image new'))
  host.write('bad.def', definitionOf('print so far', 'fail no luck'))
  host.write('a.sif', 'old')
  const failed = await host.run('--remote', '--force', '--arch=amd64', 'a.sif', 'bad.def')
  assert.equal(failed.code, 1)
  assert.match(failed.stdout, /so far/)
  assert.match(failed.stderr, /The build failed: no luck\.\n$/)
  assert.equal(readFileSync(host.path('a.sif'), 'utf8'), 'old')
  assertDone(await host.run('--remote', '-F', '--arch=amd64', 'a.sif', 'a.def'))
  assert.deepEqual(readFileSync(host.path('a.sif')), makeSif({ seed: 'new' }))
})

test('detached: how to get the image, then status, list, output and cancel', async () => {
  const { host, client } = await person('leaver')
  const flag = host.path('flag')
  host.write('a.def', definitionOf('print first', `wait-for ${flag}`, 'print last', 'image leaver'))
  const outcome = await host.run('--remote', '--detached', '--arch=amd64', 'a.sif', 'a.def')
  assertDone(outcome)
  const { id } = await lastBuild(client)
  assert.equal(
    outcome.stdout,
    `Build submitted! Once it is complete, the image can be retrieved by running:
\tapptainer pull a.sif library://leaver/remote-builds/rb-${id}:latest

Follow it with:
\tapptainer build --remote output ${id}
`,
  )
  assert.equal(outcome.stderr, '')
  const following = host.start('--remote', 'output', id)
  await eventually(async () => following.stdout().includes('first\n'), 'the output is followed')
  const status = await host.run('--remote', 'status', id)
  assertDone(status)
  assert.match(status.stdout, new RegExp(`^Build: +${id}\nState: +running\nArchitecture: amd64\n`))
  const list = await host.run('--remote', 'list')
  assert.match(list.stdout, new RegExp(`^ID +STATE +ARCH +SUBMITTED +IMAGE\n${id} running amd64 `))
  assert.equal(JSON.parse((await host.run('--remote', 'list', '--json')).stdout)[0].id, id)
  writeFileSync(flag, '')
  const followed = await following.done
  assertDone(followed)
  assert.match(followed.stdout, /^first\nlast\n/)
  assert.match((await host.run('--remote', 'status', '--json', id)).stdout, /"state": "succeeded"/)

  host.write('b.def', definitionOf(`wait-for ${host.path('never')}`))
  await host.run('--remote', '-d', '--arch=amd64', 'b.sif', 'b.def')
  const second = await lastBuild(client)
  assertDone(await host.run('--remote', 'cancel', second.id))
  assert.equal((await ended(client, second.id)).state, 'cancelled')
})

test('a build that waits shows its place', async () => {
  const { host } = await person('waiter')
  const flag = host.path('flag')
  host.write('hold.def', definitionOf(`wait-for ${flag}`, 'image hold'))
  host.write('next.def', definitionOf('print at last', 'image next'))
  for (const _ of [1, 2]) await host.run('--remote', '-d', '--arch=amd64', 'x.sif', 'hold.def')
  const waiting = host.start('--remote', '--arch=amd64', 'next.sif', 'next.def')
  await eventually(
    async () => /INFO: {4}Waiting: place \d+ of \d+, /.test(waiting.stderr()),
    'the place is shown',
  )
  assert.equal(waiting.stdout(), '')
  writeFileSync(flag, '')
  const outcome = await waiting.done
  assertDone(outcome)
  assert.match(outcome.stdout, /^at last\n/)
})

// The last sign stands where something was no UTF-8, and is counted in another way.
for (const [name, sign] of [
  ['cut', 'ä€'],
  ['garbled', 'ä\ufffd'],
] as const)
  test(`a lost connection: each byte of the output comes once, ${name}`, async (t) => {
    const { url, proxy } = await frontOf(t, Number(new URL(server.url).port))
    const { host, client } = await person(name, url)
    const lines = Array.from({ length: 6 }, (_, at) => `line ${at} ${sign}`)
    const steps = lines.flatMap((line, at) => [
      `print ${line}`,
      `wait-for ${host.path(`go-${at}`)}`,
    ])
    host.write('a.def', definitionOf(...steps, `image ${name}`))
    // Every connection that carries the output is cut when it has carried some.
    proxy.setFault({
      fromServer: (bytes, wire) => {
        wire.toClient(bytes)
        if (/line [0-4] /.test(bytes.toString('latin1'))) setImmediate(() => wire.cut())
      },
    })
    const running = host.start('--remote', '--arch=amd64', 'a.sif', 'a.def')
    for (const [at, line] of lines.entries()) {
      await eventually(async () => running.stdout().includes(line), `${line} is there`)
      writeFileSync(host.path(`go-${at}`), '')
    }
    const outcome = await running.done
    assertDone(outcome)
    assert.ok(outcome.stdout.startsWith(lines.map((line) => `${line}\n`).join('')), outcome.stdout)
    assert.match(outcome.stderr, /The connection was lost: trying again\./)
    assert.deepEqual(readFileSync(host.path('a.sif')), makeSif({ seed: name }))
    assert.equal((await lastBuild(client)).state, 'succeeded')
  })

test('a download that breaks is resumed, and one that is not the image is refused', async (t) => {
  const { url, proxy } = await frontOf(t, Number(new URL(server.url).port))
  const { host } = await person('resumer', url)
  host.write('a.def', definitionOf('image resumer'))
  const sif = makeSif({ seed: 'resumer' })
  let cuts = 0
  // The end of the image is kept back, twice.
  proxy.setFault({
    fromServer: (bytes, wire) => {
      const at = bytes.indexOf(sif.subarray(sif.length - 64))
      if (at === -1 || cuts >= 2) return wire.toClient(bytes)
      cuts += 1
      wire.toClient(bytes.subarray(0, at))
      setImmediate(() => wire.cut())
      return undefined
    },
  })
  assertDone(await host.run('--remote', '--arch=amd64', 'a.sif', 'a.def'))
  assert.equal(cuts, 2)
  assert.deepEqual(readFileSync(host.path('a.sif')), sif)
  assert.match(proxy.fromClients().toString('latin1'), /\r\nrange: bytes=\d+-\r\n/i)

  const other = makeSif({ seed: 'changed' })
  host.write('b.def', definitionOf('image changed'))
  proxy.setFault({
    fromServer: (bytes, wire) => {
      const at = bytes.indexOf(other.subarray(other.length - 64))
      const changed = Buffer.from(bytes)
      if (at !== -1) changed[at] = (changed[at] ?? 0) ^ 1
      wire.toClient(changed)
    },
  })
  const outcome = await host.run('--remote', '--arch=amd64', 'b.sif', 'b.def')
  assert.equal(outcome.code, 1)
  assert.match(outcome.stderr, /another hash/)
  assert.match(outcome.stderr, /The image is in the library: apptainer pull library:\/\/resumer\//)
  assert.deepEqual(readdirSync(host.directory).sort(), ['a.def', 'a.sif', 'b.def'])
})

test('a signal cancels the build where nobody can be asked', async () => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const { host, client } = await person(signal.toLowerCase())
    host.write('a.def', definitionOf('print ready', `wait-for ${host.path('never')}`))
    const running = host.start('--remote', '--arch=amd64', 'a.sif', 'a.def')
    await eventually(async () => running.stdout().includes('ready'), 'the build runs')
    running.child.kill(signal)
    const outcome = await running.done
    assert.equal(outcome.code, 130, outcome.stderr)
    assert.match(outcome.stderr, /Cancelling the build\.\n(?:.*\n)*.*The build was cancelled\.\n$/)
    assert.equal((await lastBuild(client)).state, 'cancelled')
    assert.equal(existsSync(host.path('a.sif')), false)
  }
})

test(
  'Ctrl-C asks once; the answer or a second one cancels',
  { skip: withoutTerminal },
  async (t) => {
    const interrupt = '\u0003'
    for (const answer of ['y\r', interrupt]) {
      const { host, client } = await person(answer === interrupt ? 'twice' : 'asked')
      host.write('a.def', definitionOf('print ready', `wait-for ${host.path('never')}`))
      const line = `${pathOf('berth-singularity')} build --remote --arch=amd64 a.sif a.def`
      const screen = openTerminal(t, line, host.env, host.directory)
      await screen.see('ready')
      screen.type(interrupt)
      await screen.see('Cancel the build? [y/N] ')
      screen.type('n\r')
      await screen.see('The build goes on.')
      assert.equal((await lastBuild(client)).state, 'running')
      const before = screen.text().length
      screen.type(interrupt)
      await screen.see('Cancel the build? [y/N] ', before)
      screen.type(answer)
      await screen.see('The build was cancelled.', before)
      assert.equal(await screen.closed, 130)
      assert.equal((await lastBuild(client)).state, 'cancelled')
    }
  },
)
