/** A site that builds: the real server, its local executor, the real runner and the real Apptainer. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { withoutBubblewrap } from '../support/bubblewrap.ts'
import { ended, follow, submit, trySubmit } from '../support/builds.ts'
import { assertProblem } from '../support/client.ts'
import { assertLedger, startServer } from '../support/server.ts'
import { findApptainerRoot, openApptainer } from './apptainer-root.ts'

const root = findApptainerRoot() ?? ''
const skip = withoutBubblewrap()

const directory = mkdtempSync(join(tmpdir(), 'berth-build-site-'))
after(() => rmSync(directory, { recursive: true, force: true }))
const runnerConfig = join(directory, 'runner.toml')
writeFileSync(
  runnerConfig,
  `root = ${JSON.stringify(root)}\nscratch_dir = ${JSON.stringify(directory)}\nlimiter = "prlimit"\n`,
)
const builder = {
  enabled: true,
  scratch: '1 GiB',
  memory: '1 GiB',
  builders: [{ name: 'here', archs: ['amd64'], runner_config: runnerConfig }],
}

const scratch = [
  'Bootstrap: scratch',
  '%setup',
  '  mkdir -p "$APPTAINER_ROOTFS/bin"',
  '  cp /usr/bin/busybox "$APPTAINER_ROOTFS/bin/busybox"',
  '  for name in sh cat echo; do ln -s busybox "$APPTAINER_ROOTFS/bin/$name"; done',
  '%post',
  '  echo said in post',
  '  echo built on the site > /made',
  '%runscript',
  '  cat /made',
].join('\n')

test(
  'a definition goes in, an image comes out, and the next build starts from it',
  { skip },
  async (t) => {
    const server = await startServer(t, { settings: { builder } })
    const alice = await server.account('alice')
    const node = openApptainer(t, { root })
    node.useRemote(server.url, alice.credentials?.token)

    const first = await submit(alice, scratch, { libraryRef: 'library://alice/demo/base:v1' })
    const followed = await follow(alice, first)
    assert.match(followed.text, /said in post/)
    assert.equal(followed.code, 1000)
    const base = await ended(alice, first)
    assert.equal(base.state, 'succeeded', followed.text)
    const pulled = await node.run('pull', 'base.sif', 'library://alice/demo/base:v1')
    assert.equal(pulled.status, 0, pulled.stderr)
    assert.equal((await node.run('run', 'base.sif')).stdout, 'built on the site\n')

    // The endpoint's own host by an argument: what is in its place counts for the door too.
    const definition = [
      'Bootstrap: library',
      'From: library://{{ HOST }}/alice/demo/base:{{ VERSION }}',
      '%arguments',
      '  VERSION=v1',
      '%post',
      '  echo "{{ WORDS }}" >> /made',
    ].join('\n')
    const buildArgs = { HOST: new URL(server.url).host, WORDS: "it's once more" }
    const second = await submit(alice, definition, { buildArgs })
    const next = await ended(alice, second, 120_000)
    const output = await follow(alice, second)
    assert.equal(next.state, 'succeeded', output.text)
    const again = await node.run('pull', 'next.sif', next.libraryRef)
    assert.equal(again.status, 0, again.stderr)
    assert.equal((await node.run('run', 'next.sif')).stdout, "built on the site\nit's once more\n")
    await assertLedger(server.db)
  },
)

test(
  'what cannot be built is refused with its line, or fails with its reason',
  { skip },
  async (t) => {
    const server = await startServer(t, { settings: { builder } })
    const bob = await server.account('bob')
    const host = await trySubmit(bob, 'Bootstrap: localimage\nFrom: /etc/shadow\n')
    assertProblem(host, 400)
    const id = await submit(bob, scratch.replace('echo said in post', 'exit 7'))
    const build = await ended(bob, id, 120_000)
    assert.equal(build.state, 'failed')
    assert.equal(build.imageSize, 0)
  },
)
