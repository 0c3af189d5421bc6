/** TLS without a proxy, and the unix socket, by the real process. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import type { ClientRequest } from 'node:http'
import { request as requestPlain } from 'node:http'
import { Agent, request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { connect } from 'node:tls'
import type { ConnectionOptions, TLSSocket } from 'node:tls'

import { packageRoot } from '../../server/package-root.ts'
import { CertificateAuthority, hasOpenssl } from '../support/certificate-authority.ts'
import { freePort } from '../support/free-port.ts'
import { createTestDatabase } from '../support/postgres.ts'
import { eventually } from '../support/server.ts'

const skip = hasOpenssl || process.env['CI'] === 'true' ? false : 'openssl is not installed'

test(
  'https with a certificate of its own: TLS 1.2 and 1.3, HTTP/1.1, no plain text',
  { skip },
  async (t) => {
    const site = await startTls(t)
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const options = {
        minVersion: version,
        maxVersion: version,
        ALPNProtocols: ['h2', 'http/1.1'],
      }
      const socket = await site.connect(options)
      assert.equal(socket.getProtocol(), version)
      assert.equal(socket.alpnProtocol, 'http/1.1')
      socket.destroy()
    }
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL@SECLEVEL=0' } as const
    await assert.rejects(site.connect(old))
    const agent = new Agent({ ca: site.ca })
    assert.equal(await statusOf(request({ port: site.port, path: '/version', agent })), 200)
    await assert.rejects(statusOf(requestPlain({ port: site.port, path: '/version' })))
  },
)

test('a renewed certificate is taken up, connections that stand go on', { skip }, async (t) => {
  const site = await startTls(t)
  const first = await site.serial()
  const agent = new Agent({ ca: site.ca, keepAlive: true, maxSockets: 1 })
  t.after(() => agent.destroy())
  const sockets = new Set<unknown>()
  const ask = async (): Promise<void> => {
    const sent = request({ port: site.port, path: '/version', agent })
    sent.on('socket', (socket) => sockets.add(socket))
    assert.equal(await statusOf(sent), 200)
  }
  await ask()

  site.install('second')
  site.child.kill('SIGHUP')
  await eventually(async () => (await site.serial()) !== first, 'the second certificate')
  const second = await site.serial()
  await ask()
  assert.equal(sockets.size, 1, 'the connection of before is still the one')

  // Nobody says a word this time.
  site.install('third')
  await eventually(async () => (await site.serial()) !== second, 'the third certificate', 60_000)
})

test("a key that is another certificate's changes nothing", { skip }, async (t) => {
  const site = await startTls(t)
  const first = await site.serial()
  const other = site.authority.issue('other', 'DNS:localhost')
  copyFileSync(other.keyFile, site.keyFile)
  site.child.kill('SIGHUP')
  await eventually(async () => site.printed().includes('the old one stays'), 'the refusal')
  assert.equal(await site.serial(), first)
})

test('without a certificate that can be used there is no start', { skip }, async (t) => {
  const directory = makeDirectory(t)
  const authority = new CertificateAuthority(directory)
  const [one, two] = [authority.issue('one', 'DNS:a'), authority.issue('two', 'DNS:b')]
  for (const files of [
    { cert: one.certificateFile, key: two.keyFile },
    { cert: join(directory, 'missing.pem'), key: one.keyFile },
  ]) {
    const { child, ...running } = await run(t, directory, [
      `listen = "127.0.0.1:${await freePort()}"`,
      `tls = { cert_file = "${files.cert}", key_file = "${files.key}" }`,
    ])
    const [code] = child.exitCode === null ? await once(child, 'exit') : [child.exitCode]
    assert.equal(code, 2, running.printed())
    assert.match(running.printed(), /^berth: tls: /m)
  }
})

test('a unix socket is for its group, outlives a kill, and is not taken from somebody', async (t) => {
  const directory = makeDirectory(t)
  const socketPath = join(directory, 'berth.sock')
  const settings = [`listen = "unix:${socketPath}"`, 'public_url = "https://scs.example.org"']
  const ask = async (): Promise<number> =>
    await statusOf(requestPlain({ socketPath, path: '/version' }))

  const killed = await run(t, directory, settings)
  await killed.serves()
  assert.equal(await ask(), 200)
  assert.equal(statSync(socketPath).mode & 0o777, 0o660)
  killed.child.kill('SIGKILL')
  await once(killed.child, 'exit')
  assert.ok(existsSync(socketPath))

  const next = await run(t, directory, settings)
  await next.serves()
  assert.equal(await ask(), 200)
  const rival = await run(t, directory, settings)
  const [code] = await once(rival.child, 'exit')
  assert.equal(code, 1)
  assert.match(rival.printed(), /EADDRINUSE/)
  assert.equal(await ask(), 200)
})

async function startTls(t: test.TestContext) {
  const directory = makeDirectory(t)
  const authority = new CertificateAuthority(directory)
  const ca = readFileSync(authority.caFile)
  const [certificateFile, keyFile] = [join(directory, 'cert.pem'), join(directory, 'key.pem')]
  const install = (name: string): void => {
    const issued = authority.issue(name, 'DNS:localhost,IP:127.0.0.1')
    copyFileSync(issued.keyFile, keyFile)
    copyFileSync(issued.certificateFile, certificateFile)
  }
  install('first')
  const port = await freePort()
  const running = await run(t, directory, [
    `listen = "127.0.0.1:${port}"`,
    `tls = { cert_file = "${certificateFile}", key_file = "${keyFile}" }`,
  ])
  await running.serves()
  const open = async (options: ConnectionOptions): Promise<TLSSocket> =>
    await new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca, ...options })
      socket.on('secureConnect', () => resolve(socket))
      socket.on('error', reject)
    })
  return {
    ...running,
    port,
    ca,
    authority,
    keyFile,
    install,
    connect: open,
    serial: async (): Promise<string> => {
      const socket = await open({})
      const { serialNumber } = socket.getPeerCertificate()
      socket.destroy()
      return serialNumber
    },
  }
}

interface RunningServer {
  readonly child: ChildProcess
  printed(): string
  serves(): Promise<void>
}

async function run(
  t: test.TestContext,
  directory: string,
  settings: readonly string[],
): Promise<RunningServer> {
  const database = await createTestDatabase()
  const config = join(directory, `berth-${database.url.replaceAll(/\W+/g, '-').slice(-20)}.toml`)
  const data = `data_dir = ${JSON.stringify(mkdtempSync(join(directory, 'data-')))}`
  const url = `database = { url = ${JSON.stringify(database.url)} }`
  writeFileSync(config, [...settings, data, url].join('\n'))
  const main = ['--enable-source-maps', join(packageRoot, 'dist/server/main.js')]
  const child = spawn(process.execPath, main, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], BERTH_CONFIG: config },
  })
  let printed = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (piece: Buffer) => (printed += piece.toString()))
  }
  t.after(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      await ended
    }
    await database.drop()
  })
  return {
    child,
    printed: () => printed,
    serves: async () =>
      await eventually(
        async () => {
          assert.equal(child.exitCode, null, printed)
          return printed.includes('Stop with Ctrl-C')
        },
        'the server serves',
        60_000,
      ),
  }
}

async function statusOf(sent: ClientRequest): Promise<number> {
  return await new Promise((resolve, reject) => {
    sent.on('response', (res) => {
      res.resume()
      res.on('end', () => resolve(res.statusCode ?? 0))
    })
    sent.on('error', reject)
    sent.end()
  })
}

function makeDirectory(t: test.TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'berth-tls-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}
