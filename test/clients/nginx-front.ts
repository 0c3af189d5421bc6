/** Debian's nginx before a real server, by the site's own template, started unprivileged. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { globalAgent } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'

import { packageRoot } from '../../server/package-root.ts'
import { CertificateAuthority } from '../support/certificate-authority.ts'
import { freePort } from '../support/free-port.ts'
import { eventually, startServer } from '../support/server.ts'
import type { Lifetime, TestServer } from '../support/server.ts'

const template = readFileSync(join(packageRoot, 'systemd/nginx/berth.conf'), 'utf8')
const nginx = '/usr/sbin/nginx'
const isRoot = process.getuid?.() === 0
/** The account of the workers, which reaches the store and the socket by its group alone. */
const nobody = 65_534

export const withoutNginx: false | string =
  spawnSync(nginx, ['-v']).status === 0 || process.env['CI'] === 'true'
    ? false
    : 'nginx is not installed'

export interface Front {
  /** Its clients come through nginx. */
  readonly server: TestServer
  readonly port: number
  readonly ca: Buffer
  readonly caFile: string
  /** The access log and, behind it, all error logs. */
  log(): string
  errors(): string
  /** What nginx says about its configuration. */
  check(): string
}

export interface FrontOptions {
  readonly settings?: Readonly<Record<string, unknown>>
  /** Where nginx finds Berth, when that is not its unix socket; `listen` in settings goes with it. */
  readonly upstream?: string
}

export async function startFront(t: Lifetime, options: FrontOptions = {}): Promise<Front> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-nginx-'))
  t.after(async () => rmSync(directory, { recursive: true, force: true }))
  const authority = new CertificateAuthority(directory)
  const { certificateFile, keyFile } = authority.issue('front', 'DNS:localhost,IP:127.0.0.1')
  const port = await freePort()
  const socket = join(directory, 'berth.sock')
  const server = await startServer(t, {
    settings: {
      listen: `unix:${socket}`,
      public_url: `https://localhost:${port}`,
      downloads: { accel: '/blobs/' },
      ...options.settings,
    },
  })
  const store = join(server.dataDir, 'store')
  const configFile = join(directory, 'nginx.conf')
  const logs = join(directory, 'logs')
  mkdirSync(logs)
  writeFileSync(
    join(directory, 'berth.conf'),
    render({
      berth_server_name: 'localhost',
      berth_https_listen: `127.0.0.1:${port}`,
      berth_certificate: certificateFile,
      berth_certificate_key: keyFile,
      berth_upstream: options.upstream ?? `unix:${socket}`,
      berth_store: store,
      berth_log_dir: logs,
    }),
  )
  writeFileSync(configFile, around(directory))
  if (isRoot) {
    // What the data directory of a unit is: passed by its group.
    for (const passage of [directory, logs]) chownSync(passage, nobody, 0)
    for (const file of [certificateFile, keyFile]) chownSync(file, nobody, 0)
    chmodSync(directory, 0o750)
    for (const passage of [join(server.dataDir, '..'), server.dataDir]) chmodSync(passage, 0o710)
  }
  const account = isRoot ? { uid: nobody, gid: 0 } : {}
  const args = ['-p', directory, '-c', configFile, '-e', join(logs, 'error.log')]
  const child = spawn(nginx, args, { ...account, stdio: ['ignore', 'ignore', 'pipe'] })
  let printed = ''
  child.stderr.on('data', (text: Buffer) => (printed += text.toString()))
  const ended = once(child, 'exit')
  t.after(async () => {
    child.kill('SIGTERM')
    await ended
  })
  const ca = readFileSync(authority.caFile)
  globalAgent.options.ca = ca
  await eventually(
    async () => {
      assert.equal(child.exitCode, null, printed)
      return await answers(port, ca)
    },
    'nginx listens',
    30_000,
  )
  const read = (name: string): string => readFileSync(join(logs, name), 'utf8')
  return {
    server,
    port,
    ca,
    caFile: authority.caFile,
    log: () => read('berth.log'),
    errors: () => read('error.log'),
    check: () => {
      const { status, stderr } = spawnSync(nginx, [...args, '-t'], account)
      assert.equal(status, 0, stderr.toString())
      return stderr.toString()
    },
  }
}

/** As a person or a playbook does it; every name has to be known, and used. */
function render(values: Readonly<Record<string, string>>): string {
  const used = new Set<string>()
  const text = template.replaceAll(/\{\{ (\w+) \}\}/g, (_, name: string) => {
    used.add(name)
    const value = values[name]
    assert.ok(value !== undefined, `the template has a name that is not documented: ${name}`)
    return value
  })
  assert.deepEqual([...used].sort(), Object.keys(values).sort())
  for (const name of used) assert.match(template, new RegExp(`^#   ${name} `, 'm'))
  return text
}

function around(directory: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return `
worker_processes 2;
daemon off;
pid ${directory}/nginx.pid;
error_log ${directory}/logs/error.log info;
events { worker_connections 1024; }
http {
${temporary.map((name) => `  ${name}_temp_path ${directory}/${name};`).join('\n')}
  include ${directory}/berth.conf;
}
`
}

async function answers(port: number, ca: Buffer): Promise<boolean> {
  return await new Promise((resolve) => {
    const probe = connect({ port, host: '127.0.0.1', ca, servername: 'localhost' })
    probe.on('secureConnect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.on('error', () => resolve(false))
  })
}
