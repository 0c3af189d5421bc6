/** What nginx must do, and must not do, before Berth (reliability 5.3). */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

import { builderSettings, definitionOf, ended, follow, submit } from '../support/builds.ts'
import { Client, sha256 } from '../support/client.ts'
import { freePort } from '../support/free-port.ts'
import { eventually } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { finish } from './apptainer-root.ts'
import { goProgram, withoutGo } from './go-program.ts'
import { startFront, withoutNginx } from './nginx-front.ts'
import type { Front } from './nginx-front.ts'

const skip = withoutNginx
const redirectAll = { library: { redirect_from: 1000 } }

test('the configuration has neither a mistake nor a warning', { skip }, async (t) => {
  const front = await startFront(t)
  assert.doesNotMatch(front.check(), /\[(?:warn|emerg|error|alert|crit)\]/)
})

test(
  'a large image goes up and comes down, and nginx itself sends its ranges',
  { skip: skip || withoutGo },
  async (t) => {
    const front = await startFront(t, { settings: { library: { part_size: '16 MiB' } } })
    const alice = await front.server.user('alice')
    const directory = mkdtempSync(join(tmpdir(), 'berth-go-'))
    t.after(() => rmSync(directory, { recursive: true, force: true }))
    const sif = makeSif({ seed: 'nginx', payload: 70 * 2 ** 20 })
    const [file, copy] = [join(directory, 'image.sif'), join(directory, 'copy.sif')]
    writeFileSync(file, sif)
    const drive = async (command: string, ...args: string[]): Promise<void> => {
      const account = ['--url', front.server.url, '--token', alice.credentials?.token ?? '']
      const env = { ...process.env, SSL_CERT_FILE: front.caFile }
      const done = await finish(goProgram('go-driver'), [command, ...account, ...args], 120, env)
      assert.equal(done.status, 0, done.stderr)
    }
    await drive('push', file, 'alice/demo/big:latest')
    for (const how of [[], ['--stream']]) {
      await drive('pull', ...how, 'alice/demo/big', copy)
      assert.ok(readFileSync(copy).equals(sif))
    }
    // 206 is nginx' answer; Berth's own, upstream, was the path and no byte.
    await eventually(
      async () =>
        (front.log().match(/"GET \/dl\/- HTTP\/\S+" 206 \d+ \S+ upstream=200 /g) ?? []).length >=
        14,
      'ranges in the log',
    )
    assertNoCapability(front)
  },
)

const payload = makeSif({ seed: 'ranges', payload: 300_000 })
const last = payload.length - 1
const ranges: readonly (readonly [string, number, number, number])[] = [
  ['bytes=0-0', 206, 0, 0],
  ['bytes=5-1024', 206, 5, 1024],
  [`bytes=${last}-`, 206, last, last],
  ['bytes=-1000', 206, last - 999, last],
  [`bytes=100-${last + 5000}`, 206, 100, last],
  // Here nginx would answer 416 by itself; Berth sends these.
  ['bytes=100-99999999999999999999', 206, 100, last],
  ['bytes=7-3', 200, 0, last],
  ['bytes=x', 200, 0, last],
]

test('every range is answered as without nginx, with the same headers', { skip }, async (t) => {
  const front = await startFront(t, { settings: redirectAll })
  const address = await addressOf(front)
  for (const [range, status, from, to] of ranges) {
    const reply = await front.server.anonymous.get(address, { range })
    assert.equal(reply.status, status, range)
    assert.ok(reply.body.equals(payload.subarray(from, to + 1)), range)
    assert.equal(reply.headers['etag'], `"sha256:${sha256(payload)}"`)
    assert.equal(reply.headers['content-type'], 'application/octet-stream')
    assert.equal(reply.headers['cache-control'], 'private, no-transform')
    assert.equal(reply.headers['accept-ranges'], 'bytes')
    assert.equal(reply.headers['x-content-type-options'], 'nosniff')
    assert.match(String(reply.headers['x-request-id']), /^[0-9a-f]{16}$/)
    assert.equal(reply.headers['x-accel-redirect'], undefined)
    const wanted = status === 206 ? `bytes ${from}-${to}/${payload.length}` : undefined
    assert.equal(reply.headers['content-range'], wanted)
  }
  const conditional = await front.server.anonymous.get(address, {
    range: 'bytes=0-9',
    'if-range': `"sha256:${sha256(payload)}"`,
  })
  assert.equal(conditional.status, 206)
  const head = await front.server.anonymous.send('HEAD', address)
  assert.equal(head.headers['content-length'], String(payload.length))
})

test('a range that cannot be served is a connection that ends', { skip }, async (t) => {
  const front = await startFront(t, { settings: redirectAll })
  const { server } = front
  const address = await addressOf(front)
  const broken = { code: /^(?:ECONNRESET|EPIPE)$/ }
  await assert.rejects(server.anonymous.get(address, { range: 'bytes=99999999-' }), broken)
  await assert.rejects(server.anonymous.get(`${address}x`), broken)
  await assert.rejects(server.anonymous.get('/dl/forged'), broken)
  const blobs = join(server.dataDir, 'store/blobs/sha256', sha256(payload).slice(0, 2))
  rmSync(join(blobs, sha256(payload)))
  await assert.rejects(server.anonymous.get(address, { range: 'bytes=0-9' }), broken)
  assertNoCapability(front)
})

test(
  'an upstream that dies in the middle, or is not there, is a connection that ends',
  { skip },
  async (t) => {
    const berth = await freePort()
    const wire = await startProxy(t, berth)
    // Berth sends the bytes itself here, so that there is something to kill.
    const front = await startFront(t, {
      settings: { ...redirectAll, listen: `127.0.0.1:${berth}`, downloads: {} },
      upstream: `127.0.0.1:${wire.port}`,
    })
    const address = await addressOf(front)
    let passed = 0
    wire.setFault({
      fromServer: (bytes, connection) => {
        connection.toClient(bytes)
        passed += bytes.length
        if (passed > 100_000) connection.cut()
      },
    })
    await assert.rejects(front.server.anonymous.get(address), { code: 'ECONNRESET' })
    wire.setFault({ fromClient: (_, connection) => connection.cut() })
    await assert.rejects(front.server.anonymous.get(address), { code: 'ECONNRESET' })
    assert.equal((await front.server.anonymous.get('/version')).status, 502)
    assertNoCapability(front)
  },
)

test('a registry blob keeps its digest, and the store has no other door', { skip }, async (t) => {
  const front = await startFront(t)
  const alice = await front.server.user('alice')
  await alice.push('alice/demo/tool', 'latest', payload)
  const digest = `sha256:${sha256(payload)}`
  const reply = await front.server.anonymous.get(
    `/v2/alice/demo/tool/blobs/${digest}`,
    await pullToken(alice),
  )
  assert.equal(reply.status, 200)
  assert.equal(reply.headers['docker-content-digest'], digest)
  assert.ok(reply.body.equals(payload))
  assert.match(front.log(), /blobs\/sha256:\w+ HTTP\/1.1" 200 \d+ \S+ upstream=200/)
  const path = `sha256/${sha256(payload).slice(0, 2)}/${sha256(payload)}`
  for (const door of [
    `/blobs/${path}`,
    `/blobs/../blobs/${path}`,
    '/blobs/',
    '/blobs/../store.json',
  ]) {
    assert.notEqual((await attempt(front.server.anonymous, door)) ?? 404, 200, door)
  }
})

test('the body of an upload arrives while it is sent', { skip }, async (t) => {
  const front = await startFront(t)
  const alice = await front.server.user('alice')
  const sif = makeSif({ seed: 'slow', payload: 2_000_000 })
  const id = await alice.announce('alice/demo/slow', sif)
  const opened = await alice.post(`/v2/imagefile/${id}`, { filesize: sif.length })
  const url = new URL(opened.json.data.uploadURL as string)
  const status = new Promise<number | undefined>((resolve, reject) => {
    const sent = request(
      {
        host: 'localhost',
        port: url.port,
        path: url.pathname,
        method: 'PUT',
        ca: front.ca,
        headers: { 'content-length': sif.length },
      },
      (res) => {
        res.resume()
        resolve(res.statusCode)
      },
    )
    sent.on('error', reject)
    sent.write(sif.subarray(0, 1_500_000))
    const incoming = join(front.server.dataDir, 'store/incoming')
    const arrived = (): number =>
      readdirSync(incoming).reduce((sum, name) => sum + statSync(join(incoming, name)).size, 0)
    eventually(async () => arrived() >= 1_000_000, 'bytes are with Berth before the end').then(
      () => sent.end(sif.subarray(1_500_000)),
      reject,
    )
  })
  assert.equal(await status, 200)
  assert.equal((await alice.put(`/v2/imagefile/${id}/_complete`, {})).status, 200)
  assertNoCapability(front)
})

test('the output of a build comes through as a WebSocket', { skip }, async (t) => {
  // The runner of this host comes directly, by loopback.
  const berth = await freePort()
  const front = await startFront(t, {
    settings: { listen: `127.0.0.1:${berth}`, builder: builderSettings() },
    upstream: `127.0.0.1:${berth}`,
  })
  const user = await front.server.user('builder')
  const id = await submit(user, definitionOf('print hello', 'fail as planned'))
  const reader = await follow(user, id)
  assert.equal(reader.code, 1000)
  assert.match(reader.text, /hello\n/)
  await ended(user, id)
})

test('HTTP/2 is spoken, and TLS below 1.2 is not', { skip }, async (t) => {
  const front = await startFront(t)
  const session = connectHttp2(front.server.url, { ca: front.ca })
  t.after(() => session.destroy())
  const status = await new Promise((resolve, reject) => {
    session.on('error', reject)
    session.request({ ':path': '/version' }).on('response', (h) => resolve(h[':status']))
  })
  assert.equal(status, 200)
  assert.equal(session.alpnProtocol, 'h2')
  const old = await finish(
    'openssl',
    ['s_client', '-connect', `127.0.0.1:${front.port}`, '-tls1_1', '-cipher', 'ALL@SECLEVEL=0'],
    30,
  )
  assert.notEqual(old.status, 0)
})

test(
  'passwords are tried at a bounded rate, everything else as fast as it comes',
  { skip },
  async (t) => {
    const front = await startFront(t)
    const { anonymous } = front.server
    const password = { authorization: `Basic ${Buffer.from('a:b').toString('base64')}` }
    const statuses = async (headers: Readonly<Record<string, string>>): Promise<number[]> =>
      await Promise.all(
        Array.from(
          { length: 150 },
          async () => (await anonymous.get('/api/v1/nothing', headers)).status,
        ),
      )
    assert.deepEqual(new Set(await statuses(password)), new Set([404, 429]))
    assert.deepEqual(new Set(await statuses({})), new Set([404]))
  },
)

test('what a client says of its own address does not count', { skip }, async (t) => {
  const front = await startFront(t)
  await front.server.anonymous.get('/version', { 'x-forwarded-for': '192.0.2.66' })
  const line = front.server
    .log()
    .split('\n')
    .findLast((text) => text.includes('"/version"'))
  assert.match(line ?? '', /"request.address":"127\.0\.0\.1"/)
})

/** The path of a download address for an image that was just pushed. */
async function addressOf(front: Front): Promise<string> {
  const alice = await front.server.user('alice')
  assert.equal((await alice.push('alice/demo/tool', 'latest', payload)).status, 200)
  const reply = await front.server.anonymous.get('/v1/imagefile/alice/demo/tool:latest?arch=amd64')
  assert.equal(reply.status, 303)
  return new URL(String(reply.headers['location'])).pathname
}

async function pullToken(client: Client): Promise<Record<string, string>> {
  const basic = Buffer.from(`${client.name}:${client.credentials?.token}`).toString('base64')
  const scope = encodeURIComponent('repository:alice/demo/tool:pull')
  const reply = await new Client(client.url, undefined).get(`/registry/token?scope=${scope}`, {
    authorization: `Basic ${basic}`,
  })
  assert.equal(reply.status, 200, reply.body.toString())
  return { authorization: `Bearer ${reply.json.token}` }
}

/** The status; undefined when the connection ended instead. */
async function attempt(client: Client, path: string): Promise<number | undefined> {
  return await client.get(path).then(
    ({ status }) => status,
    () => undefined,
  )
}

function assertNoCapability(front: Front): void {
  for (const text of [front.log(), front.errors(), front.server.log()]) {
    // A sealed payload is JSON in base64url.
    assert.doesNotMatch(text, /\/(?:dl|ul)\/(?:context\/)?(?:eyJ|forged)/)
  }
  assert.match(front.log(), /\/(?:dl|ul)\/- /)
}
