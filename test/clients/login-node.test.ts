/** The real Apptainer on a login node that a site has set up as README.md says. */
import assert from 'node:assert/strict'
import { chmodSync, cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import type { TestContext } from 'node:test'

import { installLoginTools } from '../login-node/install.ts'
import { commands } from '../login-node/readme.ts'
import { startServer } from '../support/server.ts'
import { findApptainerRoot, openApptainer } from './apptainer-root.ts'
import type { Apptainer } from './apptainer-root.ts'

const root = findApptainerRoot()
// With CI=true a missing root fails in openApptainer: .ci/run has made it.
const skip =
  root === undefined && process.env['CI'] !== 'true'
    ? 'there is no Apptainer root; as root, .ci/apptainer-root makes it'
    : false

/** In the root, where the working directory is. */
const inside = '/mnt/berth'

test(
  'the endpoint is the default, and the wrapper stands before the client',
  { skip },
  async (t) => {
    const server = await startServer(t)
    const alice = await server.user('alice')
    const { node, wrapped } = await loginNode(t, { url: server.url })
    const listed = await node.run('remote', 'list')
    assert.equal(listed.status, 0, listed.stderr)
    assert.match(listed.stdout, new RegExp(`^example +${server.url} +✓ {9}✓ {20}✓$`, 'm'))
    const other = await node.run(
      'remote',
      'add',
      '--no-login',
      'other',
      'https://other.example.org',
    )
    assert.equal(other.status, 0, other.stderr)
    assert.equal((await node.run('remote', 'use', 'other')).status, 0)

    for (const words of [['--version'], ['no-such-command']]) {
      assert.deepEqual(await wrapped.run(...words), await node.run(...words))
    }
    wrapped.useRemote(server.url, alice.credentials?.token)
    const status = await wrapped.run('enterprise', 'status')
    assert.equal(status.status, 0, status.stderr)
    assert.match(status.stdout, /Auth token is valid/)
  },
)

test('exclusive, it is the only one that may be used', { skip }, async (t) => {
  const { node } = await loginNode(t, { url: 'https://scs.example.org', exclusive: true })
  const listed = await node.run('remote', 'list')
  assert.match(listed.stdout, /^example +scs\.example\.org +✓ {9}✓ {8}✓ /m)
  await node.run('remote', 'add', '--no-login', 'other', 'https://other.example.org')
  const refused = await node.run('remote', 'use', 'other')
  assert.notEqual(refused.status, 0)
  assert.match(refused.stderr, /exclusive/i)
})

interface LoginNode {
  readonly node: Apptainer
  /** Somebody else with the module loaded: the wrapper is first on PATH. */
  readonly wrapped: Apptainer
}

async function loginNode(
  t: TestContext,
  site: { readonly url: string; readonly exclusive?: boolean },
): Promise<LoginNode> {
  if (root === undefined) throw new Error('There is no Apptainer root: run .ci/apptainer-root')
  const prefix = await installLoginTools(t, { name: 'example', prefix: inside, ...site })
  const etc = mkdtempSync(join(tmpdir(), 'berth-etc-'))
  t.after(() => rmSync(etc, { recursive: true, force: true }))
  chmodSync(etc, 0o755)
  cpSync(join(root, 'etc/apptainer'), etc, { recursive: true })
  assert.match(commands.remotes[0] ?? '', / \S+\/etc\/remote\.yaml \/etc\/apptainer\/remote\.yaml$/)
  cpSync(join(prefix, 'etc/remote.yaml'), join(etc, 'remote.yaml'))
  const node = openApptainer(t, { root, etc })
  cpSync(prefix, join(node.work, 'berth'), { recursive: true, verbatimSymlinks: true })
  const environment = { PATH: `${inside}/wrapper:${inside}/bin:/usr/bin:/usr/sbin` }
  return { node, wrapped: openApptainer(t, { root, etc, work: node.work, environment }) }
}
