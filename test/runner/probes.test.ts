/**
 * Hostile definitions, run for real: all attacks in one build's `%setup`, which is where a definition
 * has the most, and those that can work anywhere also outside, so that each of them is known to bite.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import test from 'node:test'

import { findApptainerRoot } from '../clients/apptainer-root.ts'
import { withoutBubblewrap } from '../support/bubblewrap.ts'
import { postgresVariable } from '../support/postgres.ts'
import { runJob } from '../support/runner-peer.ts'
import type { EndedJob } from '../support/runner-peer.ts'
import { probes, probeScript, readResults } from './probe-table.ts'
import type { ProbeTargets } from './probe-table.ts'

const skip = withoutBubblewrap()
const root = findApptainerRoot() ?? ''

test('hostile definitions', { skip }, async (t) => {
  const site = await openSite(t)
  const ended = await attackFromInside(t, site.targets)
  assert.equal(ended.state, 'succeeded', `${ended.reason}\n${ended.output}`)
  const results = readResults(ended.output)
  const visits = site.visits()
  const outside = readResults(await attackFromOutside(probeScript(site.targets)))
  const isRoot = process.getuid?.() === 0

  await t.test('there are at least 60', () => {
    assert.ok(probes.length >= 60)
    assert.equal(results.size, probes.length)
  })
  for (const [index, { name, worksOutside }] of probes.entries()) {
    await t.test(name, () => {
      assert.equal(results.get(index), 'closed', 'it came through')
      if (worksOutside && isRoot)
        assert.equal(outside.get(index), 'open', 'it cannot succeed at all')
    })
  }
  await t.test('nobody came by to the canaries', () => {
    assert.deepEqual(visits, { http: 0, socket: 0 })
  })
  await t.test('what is allowed comes through', () => {
    assert.match(ended.output, /^MIRROR well$/m)
  })
  await t.test('the person is told what was refused', () => {
    for (const host of privateHosts(site.targets)) {
      const name = host.replace(/[[\]]/g, '')
      const line = `Berth: the network of the build: ${name} has no public address\n`
      assert.ok(ended.output.includes(line), `${host}: refused for another reason`)
    }
    assert.match(ended.output, /^Berth: the network of the build: .*not on the list/m)
  })
})

interface Site {
  readonly targets: ProbeTargets
  /** How often somebody came, before the attacks from outside. */
  visits(): { http: number; socket: number }
}

/** A host with everything on it that must not be found. */
async function openSite(t: test.TestContext): Promise<Site> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-site-'))
  const canary = `canary-${process.pid}-${Date.now()}`
  const file = join(directory, 'canary')
  writeFileSync(file, canary, { mode: 0o644 })
  const seen = { http: 0, socket: 0 }
  let isInside = true

  const http = createHttpServer((_req, res) => {
    if (isInside) seen.http += 1
    res.end(canary)
  })
  const port = await listening(http, { port: 0, host: '0.0.0.0' })
  // The mirror is the one address that the builder's configuration lets private names have.
  const mirror = createHttpServer((req, res) => {
    if (req.url === '/redirect') res.writeHead(302, { location: `http://127.0.0.1:${port}/` }).end()
    else res.end('well')
  })
  const mirrorPort = await listening(mirror, { port: 0, host: '127.0.0.2' })
  const sockets = [join(directory, 'socket'), `\0${canary}`].map((path) => ({
    path,
    server: createServer((socket) => {
      if (isInside) seen.socket += 1
      socket.destroy()
    }),
  }))
  for (const { path, server } of sockets) await listening(server, { path })
  const udp = createSocket('udp4', (_message, from) => udp.send('pong\n', from.port, from.address))
  await new Promise<void>((resolve) => udp.bind(0, '0.0.0.0', resolve))
  t.after(() => {
    for (const server of [http, mirror]) server.closeAllConnections()
    for (const server of [http, mirror, ...sockets.map((one) => one.server)]) server.close()
    udp.close()
    rmSync(directory, { recursive: true, force: true })
  })
  return {
    targets: {
      CANARY_FILE: file,
      CANARY_TEXT: canary,
      RUNNER_SCRATCH: tmpdir(),
      HOST_ADDRESS: ownAddress(),
      HOST_PORT: String(port),
      UDP_PORT: String(udp.address().port),
      HOST_SOCKET: sockets[0]?.path ?? '',
      ABSTRACT_SOCKET: canary,
      DATABASE_SOCKET: `${process.env[postgresVariable]}/.s.PGSQL.5432`,
      MIRROR: `127.0.0.2:${mirrorPort}`,
      DOOR: '127.0.0.1:3128',
    },
    visits: () => {
      isInside = false
      return { ...seen }
    },
  }
}

async function attackFromInside(t: test.TestContext, targets: ProbeTargets): Promise<EndedJob> {
  const script = Buffer.from(probeScript(targets)).toString('base64')
  const { MIRROR: mirror } = targets
  return await runJob(t, {
    root,
    environment: { PROBE_CANARY: targets.CANARY_TEXT },
    settings: ['private_networks = ["127.0.0.2/32"]'],
    // Only the check of the address is left to refuse these.
    allowedHosts: [mirror, '169.254.169.254', ...privateHosts(targets)],
    definition: [
      'Bootstrap: scratch',
      '%setup',
      '  mkdir -p "$APPTAINER_ROOTFS/bin"',
      '  cp /usr/bin/busybox "$APPTAINER_ROOTFS/bin/sh"',
      `  cat > /build/tmp/probes <<'END'`,
      ...(script.match(/.{1,1000}/g) ?? []),
      'END',
      '  set +x',
      '  base64 -d < /build/tmp/probes | bash',
      `  bash -c 'exec 9<>/dev/tcp/127.0.0.1/3128; printf "GET http://${mirror}/ HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n" >&9; cat <&9 | grep -a -q well && echo MIRROR well'`,
    ].join('\n'),
  })
}

/** Private, all of them, and on the list of the job. */
function privateHosts({ HOST_PORT: port, HOST_ADDRESS: address }: ProbeTargets): string[] {
  const hosts = ['127.0.0.1', 'localhost', address, '0.0.0.0', '[::1]', '[::]']
  const carriers = ['[::ffff:7f00:1]', '[64:ff9b::7f00:1]']
  const others = ['[fd00:ec2::254]:80', '10.0.0.5:2375']
  return [...[...hosts, ...carriers].map((host) => `${host}:${port}`), ...others]
}

/** The same on the host. Attacks that can do harm there are none that have to succeed there. */
async function attackFromOutside(script: string): Promise<string> {
  const chosen = script.split('\n').filter((line) => {
    const index = Number(/PROBE (\d+)/.exec(line)?.[1] ?? -1)
    return index < 0 || probes[index]?.worksOutside === true
  })
  const child = spawn('bash', { stdio: ['pipe', 'pipe', 'ignore'] })
  child.stdin.end(chosen.join('\n'))
  return await text(child.stdout)
}

function ownAddress(): string {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  const found = all.find(({ family, internal }) => family === 'IPv4' && !internal)
  return found?.address ?? '127.0.0.3'
}

async function listening(
  server: ReturnType<typeof createServer>,
  where: { readonly port: number; readonly host: string } | { readonly path: string },
): Promise<number> {
  await new Promise<void>((resolve) => server.listen(where, resolve))
  const address = server.address() as AddressInfo | string
  return typeof address === 'string' ? 0 : address.port
}
