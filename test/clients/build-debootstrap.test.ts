/** A first layer of a distribution's packages, from a mirror that the lists let through. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import { packageRoot } from '../../server/package-root.ts'
import { withoutBubblewrap } from '../support/bubblewrap.ts'
import { runJob } from '../support/runner-peer.ts'
import type { JobOptions } from '../support/runner-peer.ts'
import { findApptainerRoot, openApptainer } from './apptainer-root.ts'

const root = findApptainerRoot() ?? ''
const skip = withoutBubblewrap()

/** Packages arrive at the mirror's speed, and are unpacked and set up in there. */
const seconds = 900

function optionsFrom(mirror: string): JobOptions {
  const { host } = new URL(mirror)
  return {
    root,
    allowedHosts: [host],
    // Which address this machine has for its mirror is its own affair.
    settings: [`private_hosts = [${JSON.stringify(host)}]`],
    limits: { seconds, memoryBytes: 2 * 2 ** 30, scratchBytes: 2 * 2 ** 30, processes: 1000 },
    definition: [
      'Bootstrap: debootstrap',
      'OSVersion: bookworm',
      `MirrorURL: ${mirror}`,
      'Include: hello',
      '%post',
      '  . /etc/os-release && echo "made of $VERSION_CODENAME"',
      '  stat -c "shadow belongs to %U:%G" /etc/shadow',
      '%runscript',
      '  exec hello',
    ].join('\n'),
  }
}

function mirrorOfHost(): string {
  const asked = spawnSync(join(packageRoot, '.ci/apptainer-root'), ['--mirror'])
  assert.equal(asked.status, 0, asked.stderr.toString())
  return asked.stdout.toString().trim()
}

test('debootstrap from a mirror that builds may reach', { skip }, async (t) => {
  const ended = await runJob(t, optionsFrom(mirrorOfHost()))
  assert.equal(ended.state, 'succeeded', `${ended.reason}\n${ended.output.slice(-8000)}`)
  assert.match(ended.output, /^made of bookworm$/m)
  assert.match(ended.output, /^shadow belongs to root:shadow$/m)
  const node = openApptainer(t, { root })
  writeFileSync(join(node.work, 'image.sif'), ended.image ?? '')
  const ran = await node.run('run', 'image.sif')
  assert.equal(ran.stdout, 'Hello, world!\n', ran.stderr)
})

test('debootstrap from a mirror that is on no list', { skip }, async (t) => {
  const mirror = mirrorOfHost()
  const ended = await runJob(t, { ...optionsFrom(mirror), allowedHosts: [] })
  assert.equal(ended.state, 'failed')
  assert.match(ended.output, /is not on the list of hosts that builds may reach/)
})
