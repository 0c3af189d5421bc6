/** The server's side of its unit: sockets from the manager, messages to it, and what a restart keeps. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { Agent, request } from 'node:http'
import type { IncomingMessage, RequestOptions } from 'node:http'
import { connect } from 'node:net'
import { buffer } from 'node:stream/consumers'
import test, { after } from 'node:test'

import { addAccount, hostOperator } from '../../server/accounts/accounts.ts'
import { sql } from '../../server/database.ts'
import { signInAs } from '../support/process.ts'
import { eventually } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { startManaged } from './managed-server.ts'

const server = await startManaged({ after })
const told = (): string[] =>
  server.lines().flatMap((line) => (line.startsWith('told ') ? [line.slice(5)] : []))

test('the manager hears that the server is ready, where it serves, and that it lives', async () => {
  assert.equal(told()[0], `[READY=1] [STATUS=Serving ${server.url}]`)
  await eventually(
    async () => told().filter((message) => message === '[WATCHDOG=1]').length >= 3,
    'signs of life',
    60_000,
  )
})

test('no account is made whose password would be in the journal', async () => {
  assert.deepEqual(await server.database.query(sql`select name from accounts`), [])
  assert.doesNotMatch(server.lines().join('\n'), /password/)
})

test('both sockets serve, and none of its own', async () => {
  for (const where of [{ port: server.port }, { socketPath: server.socket }]) {
    const reply = await send({ ...where, path: '/version' })
    assert.equal(reply.statusCode, 200)
    reply.resume()
  }
})

test('no child is told what is meant for the server', () => {
  const environment = readFileSync(`/proc/${server.pid()}/environ`, 'utf8')
  // That of its start, which stays readable; what it hands on is another.
  assert.match(environment, /LISTEN_FDS=2/)
  const sockets = readdirSync(`/proc/${server.pid()}/fd`)
    .filter((fd) => ['3', '4'].includes(fd))
    .map((fd) => readFileSync(`/proc/${server.pid()}/fdinfo/${fd}`, 'utf8'))
  assert.equal(sockets.length, 2)
  for (const info of sockets) {
    const flags = Number.parseInt(/^flags:\s+(\d+)$/m.exec(info)?.[1] ?? '0', 8)
    assert.ok((flags & 0o2000000) !== 0, 'a listening socket would be handed on to children')
  }
})

test('the proxy at the unix socket is believed about the address of its client', async () => {
  const before = server.lines().length
  const headers = { 'x-forwarded-for': '192.0.2.77' }
  const reply = await send({ socketPath: server.socket, path: '/version?proxied', headers })
  reply.resume()
  await eventually(
    async () => server.lines().slice(before).join('\n').includes('"request.address":"192.0.2.77"'),
    'the address in the log',
  )
})

test('a restart loses no connection: new ones wait, running ones end', async (t) => {
  await addAccount(server.database, hostOperator, { name: 'alice', password: 'a-password' })
  const alice = await signInAs(server.url, 'alice', 'a-password')
  const sif = makeSif({ seed: 'restart', payload: 20_000_000 })
  assert.equal((await alice.push('alice/demo/tool', 'latest', sif)).status, 200)

  const load = { goes: true, served: 0 }
  t.after(() => (load.goes = false))
  const client = async (where: RequestOptions): Promise<void> => {
    while (load.goes) {
      const reply = await send({ ...where, path: '/version' })
      assert.equal(reply.statusCode, 200)
      await buffer(reply)
      load.served += 1
    }
  }
  const clients = [
    client({ port: server.port }),
    client({ port: server.port }),
    client({ socketPath: server.socket }),
    client({ socketPath: server.socket }),
  ]
  for (let round = 0; round < 2; round += 1) {
    const first = server.pid()
    const slow = await send({
      port: server.port,
      path: '/v1/imagefile/alice/demo/tool:latest?arch=amd64',
    })
    assert.equal(slow.statusCode, 200)
    // Accepted, but without a word yet when the server is told to stop.
    const silent = connect(server.port, '127.0.0.1')
    await new Promise((resolve) => silent.once('connect', resolve))
    const restarted = server.restart()
    await eventually(
      async () => told().filter((message) => message.startsWith('[STOPPING=1]')).length > round,
      'the server stops',
      30_000,
    )
    const answer = buffer(silent)
    silent.write('GET /version HTTP/1.1\r\nHost: berth\r\n\r\n')
    assert.match((await answer).toString(), /^HTTP\/1\.1 200 /)
    assert.equal(server.pid(), first, 'the download holds the old process')
    assert.ok((await buffer(slow)).equals(sif))
    await restarted
    assert.notEqual(server.pid(), first)
    assert.throws(() => readlinkSync(`/proc/${first}/exe`), 'the old process is gone')
  }
  const before = load.served
  await eventually(async () => load.served > before + 20, 'the clients go on')
  load.goes = false
  await Promise.all(clients)
  assert.deepEqual(
    server.lines().filter((line) => line.startsWith('ended ')),
    ['ended 0', 'ended 0'],
  )
})

/** On a connection of its own, as nginx does it. */
async function send(options: RequestOptions): Promise<IncomingMessage> {
  return await new Promise((resolve, reject) => {
    const agent = new Agent({ keepAlive: false })
    const req = request({ host: '127.0.0.1', ...options, agent }, resolve)
    req.on('error', reject)
    req.end()
  })
}
