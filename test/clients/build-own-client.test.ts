/** Berth's own `build --remote` at a site that builds for real, over TLS with a certificate of its own. */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { makeBuildHost } from '../admin/build-host.ts'
import type { BuildHost } from '../admin/build-host.ts'
import { assertDone, assertRefused } from '../admin/command.ts'
import { withoutBubblewrap } from '../support/bubblewrap.ts'
import { ended } from '../support/builds.ts'
import type { Client } from '../support/client.ts'
import { eventually } from '../support/server.ts'
import { findApptainerRoot, openApptainer } from './apptainer-root.ts'
import { busyboxDefinition, startSecureBuildSite } from './secure-build-site.ts'

const skip = withoutBubblewrap()
const root = findApptainerRoot()
const site = skip === false ? await startSecureBuildSite({ after }) : undefined
const to = ['--remote', '--arch=amd64']

test('files of the person go in, an image comes out and runs', { skip }, async (t) => {
  const { host } = await person('hanna')
  mkdirSync(host.path('data'))
  host.write('data/one.txt', 'a file of hanna\n')
  host.write('a.def', busyboxDefinition('%files', '  data/*.txt /', '%runscript', '  cat /one.txt'))
  assertDone(await host.run(...to, 'a.sif', 'a.def'))
  const node = openApptainer(t, { root })
  writeFileSync(join(node.work, 'a.sif'), readFileSync(host.path('a.sif')))
  assert.equal((await node.run('run', 'a.sif')).stdout, 'a file of hanna\n')
})

test(
  'a certificate that nobody vouches for is refused before anything is sent',
  { skip },
  async () => {
    assert.ok(site)
    const { token, client } = await site.account('wanda')
    const host = makeBuildHost({ after }, site.url, token)
    host.write('a.def', busyboxDefinition())
    assertRefused(await host.run(...to, 'a.sif', 'a.def'), 1, /certificate/)
    assert.deepEqual((await client.get('/v1/build')).json.data, [])
  },
)

test('detached, followed later, and the status of a build that fails', { skip }, async () => {
  const { host, client } = await person('dirk')
  host.write('a.def', busyboxDefinition('%post', '  echo so far', '  exit 7'))
  assertDone(await host.run(...to, '--detached', 'a.sif', 'a.def'))
  const [{ id }] = (await client.get('/v1/build')).json.data
  const followed = await host.run('--remote', 'output', id)
  assert.equal(followed.code, 1)
  assert.match(followed.stdout, /^so far$[^]*^Build failed: /m)
  assert.match(followed.stderr, /The build failed: .*status/)
})

test(
  'the server is restarted in the middle: the same build, each line once',
  { skip },
  async (t) => {
    const own = await startSecureBuildSite(t)
    const { host, client } = await person('rolf', own)
    const lines = ['  echo first line', '  sleep 6', '  echo last line']
    host.write('a.def', busyboxDefinition('%post', ...lines))
    const running = host.start(...to, 'a.sif', 'a.def')
    await eventually(async () => /^first line$/m.test(running.stdout()), 'it is in %post', 60_000)
    await own.server.restart()
    const outcome = await running.done
    assertDone(outcome)
    for (const line of ['first line', 'last line']) {
      assert.equal(outcome.stdout.match(new RegExp(`^${line}$`, 'gm'))?.length, 1, line)
    }
    const builds = (await client.get('/v1/build')).json.data
    assert.deepEqual([builds.length, builds[0].attempts, builds[0].state], [1, 1, 'succeeded'])
  },
)

test('more output than 64 MiB, to somebody who is slow: cut off, and built', { skip }, async () => {
  const { host, client } = await person('gerd')
  host.write('a.def', busyboxDefinition('%post', '  yes a line of noise | head -c 73400320'))
  const running = host.start(...to, 'a.sif', 'a.def')
  running.child.stdout.pause()
  await eventually(
    async () => {
      const [build] = (await client.get('/v1/build')).json.data
      return build !== undefined && build.outputSize > 32 * 2 ** 20
    },
    'the output is far ahead of the reader',
    120_000,
  )
  running.child.stdout.resume()
  const { code, stdout, stderr } = await running.done
  assert.equal(code, 0, stderr)
  const at = stdout.indexOf('\n[truncated]\n')
  assert.ok(Math.abs(Buffer.byteLength(stdout.slice(0, at)) - 64 * 2 ** 20) < 1024, `${at}`)
  assert.match(stdout.slice(at), /^\n\[truncated\]\n[^]{0,2000}Image stored: library:\/\/gerd\//)
  const [{ id }] = (await client.get('/v1/build')).json.data
  assert.equal((await ended(client, id)).state, 'succeeded')
})

async function person(name: string, at = site): Promise<{ host: BuildHost; client: Client }> {
  assert.ok(at)
  const { client, token } = await at.account(name)
  const trust = { NODE_EXTRA_CA_CERTS: at.caFile }
  return { client, host: makeBuildHost({ after }, at.url, token, trust) }
}
