/**
 * The server and berthctl as processes on the embedded PostgreSQL: whoever comes first starts it,
 * whoever leaves last stops it, and a kill leaves nothing that the next start does not clear up.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import test from 'node:test'

import { Client, libraryHash } from '../support/client.ts'
import { signInAs } from '../support/process.ts'
import type { ServerProcess } from '../support/process.ts'
import { eventually } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { assertDone, pathOf, run } from './command.ts'
import type { Outcome } from './command.ts'
import { isRunning, makeHost } from './host.ts'
import type { Host } from './host.ts'

test('accounts are added beside a running server, which stays well', async (t) => {
  const host = await makeHost(t)
  const server = await host.start()
  const [postmaster] = host.postmasters()
  assertDone(await addBob(host))
  assert.match((await berthctl(host, ['account', 'list'])).stdout, / admin +admin /)
  assertDone(await berthctl(host, ['sweep']))
  assert.ok(isRunning(server))
  assert.deepEqual(host.postmasters(), [postmaster])
  assert.equal((await new Client(server.url, undefined).get('/readyz')).status, 200)
  const token = await run('get_singularity_token', ['--user', 'bob'], {
    env: { BERTH_URL: server.url },
    input: 'bob-password\n',
  })
  assertDone(token)
  assert.equal(await tokenStatus(server, token.stdout.trim()), 200)
  assert.equal(await server.end('SIGTERM'), 0)
  assert.deepEqual(host.postmasters(), [])
})

test('accounts are added without a server, and PostgreSQL is not left behind', async (t) => {
  const host = await makeHost(t)
  mkdirSync(host.dataDir, { mode: 0o711 })
  assertDone(await addBob(host))
  assert.deepEqual(host.postmasters(), [])
  const again = await addBob(host)
  assert.equal(again.code, 1)
  assert.match(again.stderr, /There is an account "bob" already/)
  assert.deepEqual(host.postmasters(), [])
  const server = await host.start()
  assert.equal(server.password, undefined, 'there was somebody already')
  assert.ok((await signInAs(server.url, 'bob', 'bob-password')).credentials?.token)
  assert.equal(await server.end('SIGTERM'), 0)
})

test('after kill -9 the next start finds everything, on one PostgreSQL', async (t) => {
  const host = await makeHost(t)
  const first = await host.start()
  const admin = await signInAs(first.url, 'admin', first.password ?? '')
  const sif = makeSif({ seed: 'kill' })
  assert.equal((await admin.push('admin/demo/tool', 'latest', sif)).status, 200)
  const orphan = host.postmasters()
  assert.equal(await first.end('SIGKILL'), null)
  assert.deepEqual(host.postmasters(), orphan, 'PostgreSQL does not die with the server')

  const second = await host.start()
  assert.deepEqual(host.postmasters(), orphan, 'the next start joins it')
  const pulled = await admin.get('/v1/imagefile/admin/demo/tool:latest?arch=amd64')
  assert.deepEqual(pulled.body, sif)
  assert.equal(await second.end('SIGTERM'), 0)
  assert.deepEqual(host.postmasters(), [])
})

test('after kill -9 berthctl clears PostgreSQL away', async (t) => {
  const host = await makeHost(t)
  const server = await host.start()
  await server.end('SIGKILL')
  assert.equal(host.postmasters().length, 1)
  assertDone(await addBob(host))
  assert.deepEqual(host.postmasters(), [])
})

test('both killed, server and PostgreSQL: the next start recovers', async (t) => {
  const host = await makeHost(t)
  const first = await host.start()
  assertDone(await addBob(host))
  await first.end('SIGKILL')
  for (const pid of host.postmasters()) process.kill(pid, 'SIGKILL')
  await eventually(async () => host.postmasters().length === 0, 'PostgreSQL is gone')
  const second = await host.start()
  assert.equal(second.password, undefined)
  assert.equal(host.postmasters().length, 1)
  assert.equal(await second.end('SIGTERM'), 0)
  assert.deepEqual(host.postmasters(), [])
})

test('SIGTERM lets a running upload end, takes nothing new, and stops PostgreSQL', async (t) => {
  const host = await makeHost(t)
  const server = await host.start()
  const admin = await signInAs(server.url, 'admin', server.password ?? '')
  const sif = makeSif({ seed: 'drain', payload: 200_000 })
  const upload = await beginUpload(await admin.openWhole('admin/demo/tool', sif), sif)
  const ended = server.end('SIGTERM')
  await eventually(async () => await refusesConnections(host.port), 'the listener is closed')
  assert.ok(isRunning(server))
  assert.match(await upload.finish(), /^HTTP\/1\.1 200 /)
  assert.equal(await ended, 0)
  assert.deepEqual(host.postmasters(), [])

  const next = await host.start()
  const completed = await admin.put(
    `/v2/imagefile/admin/demo/tool:${libraryHash(sif)}/_complete`,
    {},
  )
  assert.equal(completed.status, 200, completed.body.toString())
  assert.equal(await next.end('SIGINT'), 0)
})

test('Ctrl-C is as good as SIGTERM, and the next start shows no password', async (t) => {
  const host = await makeHost(t)
  const first = await host.start()
  assert.ok(first.password)
  assert.equal(await first.end('SIGINT'), 0)
  assert.deepEqual(host.postmasters(), [])
  const second = await host.start()
  assert.equal(second.password, undefined)
  assert.equal(await second.end('SIGINT'), 0)
})

test('a second server on the same port says so and disturbs nobody', async (t) => {
  const host = await makeHost(t)
  const server = await host.start()
  const [postmaster] = host.postmasters()
  await assert.rejects(host.start(), /EADDRINUSE.*choose another address/)
  assert.deepEqual(host.postmasters(), [postmaster])
  assert.equal((await new Client(server.url, undefined).get('/readyz')).status, 200)
  assert.equal(await server.end('SIGTERM'), 0)
})

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  test(`berthctl interrupted by ${signal} leaves no PostgreSQL`, async (t) => {
    const host = await makeHost(t)
    mkdirSync(host.dataDir, { mode: 0o711 })
    const child = spawn(pathOf('berthctl'), ['sweep'], {
      stdio: 'ignore',
      env: { PATH: process.env['PATH'], ...host.env },
    })
    const ended = new Promise((resolve) => child.on('exit', resolve))
    await eventually(async () => host.postmasters().length === 1, 'PostgreSQL runs')
    child.kill(signal)
    // It may have been done just before.
    assert.ok([0, 1].includes(Number(await ended)))
    assert.deepEqual(host.postmasters(), [])
  })
}

async function berthctl(host: Host, words: readonly string[], input?: string): Promise<Outcome> {
  return await run('berthctl', words, { env: host.env, ...(input === undefined ? {} : { input }) })
}

async function addBob(host: Host): Promise<Outcome> {
  return await berthctl(host, ['account', 'add', 'bob'], 'bob-password\n')
}

async function tokenStatus(server: ServerProcess, token: string): Promise<number> {
  const credentials = { name: 'bob', accountId: '', token, tokenId: '' }
  return (await new Client(server.url, credentials).get('/v1/token-status')).status
}

/** Sends the first half of a PUT; `finish` sends the rest and returns the reply. */
async function beginUpload(url: string, sif: Buffer): Promise<{ finish(): Promise<string> }> {
  const { port, pathname } = new URL(url)
  const half = sif.length >> 1
  const socket = await connected(Number(port))
  let reply = ''
  socket.on('data', (piece: Buffer) => (reply += piece.toString('latin1')))
  const closed = new Promise((resolve) => socket.on('close', resolve))
  const head = `PUT ${pathname} HTTP/1.1\r\nhost: x\r\ncontent-length: ${sif.length}\r\n`
  // The interim reply shows that the request has arrived.
  socket.write(`${head}expect: 100-continue\r\nconnection: close\r\n\r\n`)
  await eventually(async () => reply.includes('100 Continue'), 'the upload may begin')
  reply = ''
  socket.write(sif.subarray(0, half))
  return {
    finish: async () => {
      socket.write(sif.subarray(half))
      await closed
      return reply
    },
  }
}

async function connected(port: number): Promise<Socket> {
  return await new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket))
    socket.on('error', reject)
  })
}

async function refusesConnections(port: number): Promise<boolean> {
  try {
    const socket = await connected(port)
    socket.destroy()
    return false
  } catch {
    return true
  }
}
