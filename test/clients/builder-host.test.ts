/** A builder host with the real runner and the real Apptainer, beside one of another architecture. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import test from 'node:test'

import { listAlarms } from '../../server/alarms.ts'
import { withoutBubblewrap } from '../support/bubblewrap.ts'
import { makeBuilderHost, processesIn } from '../support/builder-host.ts'
import { definitionOf, ended, outputOf, stateIs, submit } from '../support/builds.ts'
import { eventually, startServer } from '../support/server.ts'
import { findApptainerRoot, openApptainer } from './apptainer-root.ts'

const root = findApptainerRoot() ?? ''
const skip = withoutBubblewrap()

const busybox = [
  'Bootstrap: scratch',
  '%setup',
  '  mkdir -p "$APPTAINER_ROOTFS/bin"',
  '  cp /usr/bin/busybox "$APPTAINER_ROOTFS/bin/busybox"',
  '  for name in sh echo sleep; do ln -s busybox "$APPTAINER_ROOTFS/bin/$name"; done',
]

test('a builder host builds for real, once its walls hold', { skip }, async (t) => {
  const server = await startServer(t, {
    settings: {
      builder: {
        enabled: true,
        memory: '1 GiB',
        scratch: '512 MiB',
        builders: [{ name: 'east', executor: 'host', archs: ['amd64'] }],
      },
    },
  })
  const alice = await server.account('alice')
  const east = await makeBuilderHost(t, server, {
    runner: ['root = "/nonexistent"', 'limiter = "prlimit"'],
    server: ['rest_minutes = 0.05'],
  })
  const program = east.start()
  const west = await makeBuilderHost(t, server, { name: 'west', archs: ['arm64'] })
  west.start()

  const definition = [...busybox, '%post', '  echo in post', '%runscript', '  echo it runs']
  const libraryRef = 'library://alice/built/tool:v1'
  const id = await submit(alice, definition.join('\n'), { libraryRef })
  let waits = ''
  await eventually(
    async () => {
      waits = String((await alice.get(`/v1/build/${id}`)).json.data.queue?.reason)
      return waits.includes('its self-test failed')
    },
    'the host knows that it cannot build',
    60_000,
  )
  assert.match(
    waits,
    /the builder east is not available: its self-test failed: the walls do not hold/,
  )
  assert.equal((await listAlarms(server.db))[0]?.name, 'builder east')

  writeFileSync(
    east.config,
    readFileSync(east.config, 'utf8').replace('root = "/nonexistent"', `root = "${root}"`),
  )
  const build = await ended(alice, id, 120_000)
  assert.equal(build.state, 'succeeded', `${build.reason}\n${program.log()}`)
  assert.equal(build.attempts, 1)
  const text = await outputOf(alice, id)
  assert.match(text, /^Berth: account: [^]*in post\n/)
  assert.deepEqual(await listAlarms(server.db), [])

  const other = await submit(alice, definitionOf('image for arm'), {
    libraryRef: 'library://alice/built/tool:v1',
    builderRequirements: { arch: 'arm64' },
  })
  assert.equal((await ended(alice, other)).state, 'succeeded')
  for (const arch of ['amd64', 'arm64']) {
    assert.equal((await alice.get(`/v1/images/alice/built/tool:v1?arch=${arch}`)).status, 200)
  }

  const node = openApptainer(t, { root })
  node.useRemote(server.url, alice.credentials?.token ?? '')
  const ran = await node.type(
    'apptainer pull -U --arch amd64 tool.sif library://alice/built/tool:v1 && apptainer run tool.sif',
  )
  assert.equal(ran.status, 0, ran.stderr)
  assert.match(ran.stdout, /it runs/)

  // One that reads from the library is cancelled in its middle, and leaves nothing on the host.
  const slow = [
    'Bootstrap: library',
    'From: alice/built/tool:v1',
    '%post',
    '  echo waits; sleep 600',
  ]
  const second = await submit(alice, slow.join('\n'))
  await stateIs(alice, second, 'running')
  await eventually(
    async () => (await outputOf(alice, second)).includes('waits'),
    'it is in %post',
    60_000,
  )
  const askedAt = performance.now()
  await alice.send('PUT', `/v1/build/${second}/_cancel`)
  assert.equal((await ended(alice, second)).status, 'Cancelled')
  await eventually(
    async () => processesIn(east.directory).length === 1,
    'nothing is left but the program itself',
    10_000,
  )
  assert.ok(performance.now() - askedAt < 10_000)
})
