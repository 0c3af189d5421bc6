/** berthctl doctor through Debian's nginx: by the site's own template, and as nginx is without one. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

import { stringify } from 'smol-toml'

import { examine } from '../../admin-cli/doctor/examine.ts'
import { CertificateAuthority } from '../support/certificate-authority.ts'
import { freePort } from '../support/free-port.ts'
import { eventually, startServer } from '../support/server.ts'
import type { Lifetime } from '../support/server.ts'
import { startFront, withoutNginx } from './nginx-front.ts'

const skip = withoutNginx

/** Names of the proxy checks, and of those of the certificate, that have found something. */
async function look(
  settings: Readonly<Record<string, unknown>>,
  caFile: string,
  options: { readonly holdSeconds: number; readonly patienceMs: number },
): Promise<string[]> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-doctor-nginx-'))
  try {
    const file = join(directory, 'berth.toml')
    writeFileSync(file, stringify(settings), { mode: 0o600 })
    const findings = await examine({
      ...options,
      ca: readFileSync(caFile, 'utf8'),
      env: { BERTH_CONFIG: file },
    })
    const ofProxy = findings.filter(({ check }) => /^(proxy|public-(?!port))/.test(check))
    for (const { check, state, what } of ofProxy)
      assert.notEqual(state, 'skipped', `${check} ${what}`)
    return ofProxy.filter(({ state }) => state !== 'ok').map(({ check }) => check)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

test('through the template of the site nothing is wrong', { skip }, async (t) => {
  const front = await startFront(t)
  const settings = {
    data_dir: front.server.dataDir,
    listen: '127.0.0.1:5080',
    public_url: `https://localhost:${front.port}`,
  }
  const found = await look(settings, front.caFile, { holdSeconds: 2, patienceMs: 30_000 })
  // The throw-away certificate is for two days.
  assert.deepEqual(found, ['public-certificate-end'])
})

test('through nginx as it comes, everything is wrong that breaks pushes', { skip }, async (t) => {
  const serverPort = await freePort()
  const { port, caFile } = await startPlainNginx(t, serverPort)
  const public_url = `https://localhost:${port}`
  const server = await startServer(t, { port: serverPort, settings: { public_url } })
  const settings = { data_dir: server.dataDir, public_url }
  const limited = await look(settings, caFile, { holdSeconds: 5, patienceMs: 15_000 })
  // The path behind its proxy_pass is what decodes %2F; that a body is collected is not seen before
  // the limit of bodies is gone.
  assert.deepEqual(limited.sort(), [
    'proxy-body-limit',
    'proxy-cuts',
    'proxy-slashes',
    'proxy-websocket',
  ])
})

test('through nginx without a limit, that it collects bodies is seen', { skip }, async (t) => {
  const serverPort = await freePort()
  const { port, caFile } = await startPlainNginx(t, serverPort, 'client_max_body_size 0;')
  const public_url = `https://localhost:${port}`
  const server = await startServer(t, { port: serverPort, settings: { public_url } })
  const settings = { data_dir: server.dataDir, public_url }
  const all = await look(settings, caFile, { holdSeconds: 5, patienceMs: 8_000 })
  assert.ok(all.includes('proxy-buffering'), all.join(' '))
  assert.ok(!all.includes('proxy-body-limit'), all.join(' '))
})

/** What people write who have made a web page reachable; a minute is cut to two seconds. */
async function startPlainNginx(
  t: Lifetime,
  serverPort: number,
  more = '',
): Promise<{ port: number; caFile: string }> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-plain-nginx-'))
  t.after(async () => rmSync(directory, { recursive: true, force: true }))
  const authority = new CertificateAuthority(directory)
  const { certificateFile, keyFile } = authority.issue('front', 'DNS:localhost', 90)
  const port = await freePort()
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  mkdirSync(join(directory, 'logs'))
  const config = join(directory, 'nginx.conf')
  writeFileSync(
    config,
    `daemon off;
pid ${directory}/nginx.pid;
error_log ${directory}/logs/error.log;
events { worker_connections 256; }
http {
${temporary.map((name) => `  ${name}_temp_path ${directory}/${name};`).join('\n')}
  access_log off;
  server {
    listen 127.0.0.1:${port} ssl;
    ssl_certificate ${certificateFile};
    ssl_certificate_key ${keyFile};
    ${more}
    location / {
      proxy_pass http://127.0.0.1:${serverPort}/;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_read_timeout 2s;
    }
  }
}
`,
  )
  const isRoot = process.getuid?.() === 0
  if (isRoot) {
    for (const path of [directory, join(directory, 'logs'), certificateFile, keyFile]) {
      chownSync(path, 65_534, 65_534)
    }
  }
  const account = isRoot ? { uid: 65_534, gid: 65_534 } : {}
  const args = ['-p', directory, '-c', config, '-e', join(directory, 'logs/error.log')]
  const child = spawn('/usr/sbin/nginx', args, { ...account, stdio: 'ignore' })
  const ended = once(child, 'exit')
  t.after(async () => {
    child.kill('SIGTERM')
    await ended
  })
  await eventually(
    async () =>
      await new Promise<boolean>((resolve) => {
        const probe = connect(port, '127.0.0.1', () => {
          probe.destroy()
          resolve(true)
        })
        probe.on('error', () => resolve(false))
      }),
    'nginx listens',
    30_000,
  )
  return { port, caFile: authority.caFile }
}
