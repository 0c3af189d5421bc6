/** From submit to a pulled image that runs: the server, its queue, the real runner and Apptainer. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

import { withoutBubblewrap } from '../support/bubblewrap.ts'
import { ended, follow, outputOf, stateIs, submit } from '../support/builds.ts'
import { eventually, startServer } from '../support/server.ts'
import { findApptainerRoot, openApptainer } from './apptainer-root.ts'

const root = findApptainerRoot() ?? ''
const skip = withoutBubblewrap()

const busybox = [
  'Bootstrap: scratch',
  '%setup',
  '  mkdir -p "$APPTAINER_ROOTFS/bin" "$APPTAINER_ROOTFS/etc"',
  '  cp /usr/bin/busybox "$APPTAINER_ROOTFS/bin/busybox"',
  '  for name in sh cat echo sleep; do ln -s busybox "$APPTAINER_ROOTFS/bin/$name"; done',
]

test('a definition file becomes an image in the library that runs', { skip }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'berth-built-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const settings = join(directory, 'builder.toml')
  writeFileSync(settings, `root = '${root}'\nlimiter = 'prlimit'\n`)
  const server = await startServer(t, {
    settings: {
      builder: {
        enabled: true,
        memory: '1 GiB',
        scratch: '512 MiB',
        builders: [{ name: 'here', archs: ['amd64'], runner_config: settings }],
      },
    },
  })
  const alice = await server.account('alice')
  const definition = [...busybox, '%post', '  echo in post', '%runscript', '  echo it runs'].join(
    '\n',
  )
  const id = await submit(alice, definition, { libraryRef: 'library://alice/built/tool:v1' })
  const followed = await follow(alice, id)
  assert.equal(followed.code, 1000)
  const build = (await alice.get(`/v1/build/${id}`)).json.data
  assert.equal(build.state, 'succeeded', followed.text)
  assert.match(followed.text, /in post/)
  const node = openApptainer(t, { root })
  node.useRemote(server.url, alice.credentials?.token ?? '')
  const ran = await node.type(
    'apptainer pull -U tool.sif library://alice/built/tool:v1 && apptainer run tool.sif',
  )
  assert.equal(ran.status, 0, ran.stderr)
  assert.match(ran.stdout, /it runs/)

  // A second one begins from the first, is cancelled in its middle, and leaves nothing.
  const slow = [
    'Bootstrap: library',
    'From: alice/built/tool:v1',
    '%post',
    '  echo waits; sleep 600',
  ].join('\n')
  const second = await submit(alice, slow)
  await stateIs(alice, second, 'running')
  await eventually(
    async () => (await outputOf(alice, second)).includes('waits'),
    'it is in %post',
    60_000,
  )
  const askedAt = performance.now()
  await alice.send('PUT', `/v1/build/${second}/_cancel`)
  assert.equal((await ended(alice, second)).status, 'Cancelled')
  assert.ok(performance.now() - askedAt < 10_000)
})
