/** What is refused when a build is handed in: with the line that is wrong, and what to do about it. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'

import { sql } from '../../server/database.ts'
import { archive, offerContext, sendContext } from '../support/build-context.ts'
import { builderSettings, definitionOf, ended, submit, trySubmit } from '../support/builds.ts'
import type { SubmitOptions } from '../support/builds.ts'
import { assertProblem, libraryHash } from '../support/client.ts'
import { startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'

const allowedHosts = ['*.debian.example', 'reg.example:5000', '[2001:db8::1]:5000']
const server = await startServer(
  { after },
  { settings: { builder: builderSettings({ allowed_hosts: allowedHosts }) } },
)
const host = new URL(server.url).host
const alice = await server.user('alice')
const bob = await server.user('bob')

/** What both would build, if it were taken: the stand-in reads nothing but its own steps. */
const steps = '%post\n#do image x\n'

test('a definition: the line and what to do', async (t) => {
  const cases: readonly [name: string, definition: string | Buffer, message: RegExp][] = [
    ['a picture', Buffer.from([0x89, 0x50, 0x4e, 0x47, 0]), /not a text in UTF-8/],
    ['a Dockerfile', 'FROM alpine\nRUN true\n', /line 1: This is a Dockerfile/],
    ['prose', '# me\nPlease build this.\n', /line 2: .* is no header: write "Name: value"/],
    [
      'an unknown agent',
      'Bootstrap: pip\n',
      /line 1: There is no bootstrap agent "pip": use one of/,
    ],
    [
      'an agent that the site does not allow',
      '\nBootstrap: yum\nMirrorURL: http://a.debian.example\n',
      /line 2: Builds here cannot begin with "yum": use one of library, docker/,
    ],
    [
      "Docker Hub's registry by no host",
      'Bootstrap: docker\nFrom: alpine:3.20\n',
      /line 2: Builds here cannot reach registry-1\.docker\.io, .*push the image to this endpoint/,
    ],
    [
      'a registry on no list',
      'Bootstrap: docker\nFrom: other.example/a/b\n',
      /line 2: Builds here cannot reach other\.example: /,
    ],
    [
      'a registry on another port than the list has',
      'Bootstrap: oras\nFrom: reg.example/a/b:1\n',
      /line 2: Builds here cannot reach reg\.example: /,
    ],
    [
      'an address for a host',
      'Bootstrap: docker\nFrom: 10.0.0.5:2375/x\n',
      /line 2: Builds here cannot reach 10\.0\.0\.5:2375: /,
    ],
    [
      'another library',
      'Bootstrap: library\nFrom: library://cloud.example/a/b/c:1\n',
      /line 2: Builds here cannot reach cloud\.example: /,
    ],
    [
      'another library by its header',
      'Bootstrap: library\nLibrary: https://cloud.example\nFrom: a/b/c:1\n',
      /line 2: Builds here cannot reach cloud\.example: /,
    ],
    [
      'a mirror on no list',
      'Bootstrap: debootstrap\nOSVersion: sid\nMirrorURL: http://mirror.example/debian\n',
      /line 3: Builds here cannot reach mirror\.example: name a mirror that they reach/,
    ],
    [
      'a mirror in the second stage',
      `Bootstrap: scratch\n${steps}Bootstrap: debootstrap\nOSVersion: sid\nMirrorURL: http://127.1/\n`,
      /line 6: Builds here cannot reach 127\.0\.0\.1: /,
    ],
    [
      'an image that is not there',
      'Bootstrap: library\nFrom: alice/demo/nothing:1\n',
      /line 2: There is no image "alice\/demo\/nothing:1" for amd64 in this library that you may pull: push it first/,
    ],
    [
      'a file without a context',
      'Bootstrap: scratch\n%files\n /etc/passwd\n',
      /line 3: "\/etc\/passwd" was not sent along with the build/,
    ],
    [
      'an image of the builder',
      'Bootstrap: localimage\nFrom: /srv/base.sif\n',
      /line 2: "localimage" takes an image that is sent along/,
    ],
  ]
  for (const [name, definition, message] of cases) {
    await t.test(name, async () => assertProblem(await trySubmit(alice, definition), 400, message))
  }
})

test('hosts that are allowed, and those of the endpoint itself, are none of these', async () => {
  for (const headers of [
    'Bootstrap: docker\nFrom: reg.example:5000/a/b',
    'Bootstrap: oras\nFrom: [2001:db8::1]:5000/a/b',
    'Bootstrap: debootstrap\nOSVersion: sid\nMirrorURL: http://deb.debian.example/debian',
  ]) {
    await ended(alice, await submit(alice, `${headers}\n${steps}`))
  }
})

test('what one may pull is found in all spellings; what one may not is not there', async () => {
  await alice.post('/v1/collections', { entity: 'alice', name: 'hidden', private: true })
  await alice.push('alice/hidden/base', 'v1', makeSif({ seed: 'base' }))
  const froms = [
    ['library', 'alice/hidden/base:v1'],
    ['library', 'library://alice/hidden/base:v1'],
    ['library', `library://${host}/alice/hidden/base:v1`],
    ['oras', `${host}/alice/hidden/base:v1`],
    ['docker', `${host}/alice/hidden/base:v1`],
  ]
  for (const [bootstrap, from] of froms) {
    const definition = `Bootstrap: ${bootstrap}\nFrom: ${from}\n${steps}`
    await ended(alice, await submit(alice, definition))
    assertProblem(
      await trySubmit(bob, definition),
      400,
      /line 2: There is no image "alice\/hidden\/base:v1".* that you may pull/,
    )
  }
  const other = 'Bootstrap: library\nFrom: alice/hidden/base:v2\n'
  assertProblem(await trySubmit(alice, other), 400, /line 2: There is no image/)
  // The value of an argument is looked at, and the line is that of the header.
  const argument = 'Bootstrap: library\nFrom: alice/hidden/base:{{ V }}\n%arguments\nV=v1\n'
  await ended(alice, await submit(alice, argument + steps))
  const given = { buildArgs: { V: 'v3' } }
  assertProblem(await trySubmit(alice, argument, given), 400, /line 2: .*base:v3/)
})

test('files: nobody sent them, somebody else did, or they are no context', async (t) => {
  const definition = 'Bootstrap: scratch\n%files\n /home/file /x\n'
  const theirs = archive('of somebody else')
  assert.equal((await sendContext(bob, theirs)).status, 200)
  const nobodys = archive('of nobody')
  const bomb = archive(Buffer.alloc(80 * 2 ** 20))
  const climbs = archive('x', '../../etc/cron.d/x')
  for (const [name, bytes, message] of [
    ['a bomb', bomb, /times larger than their archive/],
    ['a name that climbs out', climbs, /no plain path/],
  ] as const) {
    await t.test(`${name} is not taken`, async () => {
      const location = String((await offerContext(alice, bytes)).headers['location'])
      assertProblem(await alice.upload(location, bytes), 400, message)
    })
  }
  for (const [name, bytes] of [
    ["nobody's", nobodys],
    ["somebody else's", theirs],
    ['a bomb', bomb],
    ['one that climbs out', climbs],
  ] as const) {
    await t.test(`${name} is not there for a build`, async () => {
      const options: SubmitOptions = { contextDigest: libraryHash(bytes) }
      const message = /line 3: You have not sent the files that this build names: send them first/
      assertProblem(await trySubmit(alice, definition, options), 400, message)
    })
  }
})

test('the target and the architecture', async (t) => {
  const good = definitionOf('image x')
  const cases: readonly [string, SubmitOptions, number, RegExp][] = [
    [
      "somebody else's space",
      { libraryRef: 'library://bob/demo/x:1' },
      403,
      /may not push to "bob": .*your own space is library:\/\/alice/,
    ],
    [
      'an architecture without a builder',
      { builderRequirements: { arch: 'riscv64' } },
      400,
      /No builder of this site makes images for "riscv64": it has amd64/,
    ],
  ]
  for (const [name, options, status, message] of cases) {
    await t.test(name, async () =>
      assertProblem(await trySubmit(alice, good, options), status, message),
    )
  }
})

test('nothing of it has become a build', async () => {
  const rows = await server.db.query(sql`
    select 1 from builds b join accounts a on a.id = b.account_id where a.name = 'bob'`)
  assert.deepEqual(rows, [])
})
