/** get_singularity_token before servers whose TLS is good, bad or missing. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'

import { startServer } from '../support/server.ts'
import { assertRefused, run } from './command.ts'

const skip = spawnSync('openssl', ['version']).status === 0 ? false : 'openssl is not installed'

const directory = mkdtempSync(join(tmpdir(), 'berth-tls-'))
after(() => rmSync(directory, { recursive: true, force: true }))

test('a certificate that this host does not trust is refused', { skip }, async (t) => {
  const { url } = await serveTls(t, 'untrusted', 1)
  const outcome = await run('get_singularity_token', ['--url', url], { input: 'x\n' })
  assertRefused(outcome, 1, /The certificate of localhost:\d+ is not trusted here \(\w+\)/)
})

test('one that it trusts is accepted', { skip }, async (t) => {
  const { url, certificate } = await serveTls(t, 'trusted', 1)
  const env = { NODE_EXTRA_CA_CERTS: certificate }
  const args = ['--url', url, '--user', 'alice']
  const outcome = await run('get_singularity_token', args, { input: 'x\n', env })
  assert.match(outcome.stderr, /^TLS portal password :\njust a moment, please\.\.\.\n/)
  assert.match(outcome.stderr, /The password of alice is wrong/)
})

test('one that has expired is refused, trusted or not', { skip }, async (t) => {
  const { url, certificate } = await serveTls(t, 'expired', -1)
  const env = { NODE_EXTRA_CA_CERTS: certificate }
  const outcome = await run('get_singularity_token', ['--url', url], { input: 'x\n', env })
  assertRefused(outcome, 1, /The certificate of localhost:\d+ has expired: tell the administrators/)
})

test('one for another name is refused', { skip }, async (t) => {
  const { url, certificate } = await serveTls(t, 'name', 1)
  const other = url.replace('localhost', '127.0.0.1')
  const env = { NODE_EXTRA_CA_CERTS: certificate }
  const outcome = await run('get_singularity_token', ['--url', other], { input: 'x\n', env })
  assertRefused(outcome, 1, /not trusted here \(ERR_TLS_CERT_ALTNAME_INVALID\)/)
})

test('https to a plain http server is not tried again without TLS', async (t) => {
  const server = await startServer(t)
  const url = server.url.replace('http:', 'https:')
  const outcome = await run('get_singularity_token', ['--url', url], { input: 'x\n' })
  assertRefused(outcome, 1, /does not speak TLS \(\w+\): check the address and its port/)
  assert.doesNotMatch(server.log(), /config\.prod\.json/)
})

/** Names itself as Berth does, and refuses every password. */
const refuser: RequestListener = (req, res) => {
  if (req.method === 'GET') res.end('{"site":{"name":"TLS"}}')
  else res.writeHead(401).end('{}')
}

async function serveTls(
  t: { after(work: () => void): void },
  name: string,
  days: number,
): Promise<{ url: string; certificate: string }> {
  const key = join(directory, `${name}.key`)
  const certificate = join(directory, `${name}.crt`)
  const request = join(directory, `${name}.csr`)
  // In two steps, because `req -x509` makes no certificate that is over already.
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
  openssl('req', '-new', ...curve, ...subject, '-keyout', key, '-out', request)
  const copied = ['-in', request, '-signkey', key, '-copy_extensions', 'copy']
  openssl('x509', '-req', ...copied, '-days', String(days), '-out', certificate)
  const server = createServer({ key: readFileSync(key), cert: readFileSync(certificate) }, refuser)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  return { url: `https://localhost:${(server.address() as AddressInfo).port}`, certificate }
}

function openssl(...args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: 'ignore' })
}
