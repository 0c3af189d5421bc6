/** Readers of a build's output that behave as no client should (reliability 3.10). */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

import { WebSocket } from 'ws'

import { sql } from '../../server/database.ts'
import { newId } from '../../server/identifiers.ts'
import {
  builderSettings,
  definitionOf,
  ended,
  follow,
  openSocket,
  outputOf,
  submit,
} from '../support/builds.ts'
import type { Client } from '../support/client.ts'
import { Random } from '../support/random.ts'
import { frame, handshakeOf, openConnection, openSilent } from '../support/raw-socket.ts'
import { eventually, startServer } from '../support/server.ts'

const settings = { builder: builderSettings({ running_per_user: 20 }, { slots: 20 }) }
const server = await startServer({ after }, { settings })
/** Looks often, so that nothing has to be waited for. */
const quick = await startServer(
  { after },
  { settings, socketTimes: { ping: 150, credential: 150 } },
)

/** A build that runs until it is told to go on. */
async function running(user: Client, gate: string): Promise<{ id: string; open: () => void }> {
  const id = await submit(user, definitionOf('print before', `wait-for ${gate}`, 'fail as planned'))
  await eventually(async () => (await outputOf(user, id)) === 'before\n', 'it has begun')
  return { id, open: () => writeFileSync(gate, '') }
}

/** A build that has ended, with this output. */
async function stored(user: Client, output: Buffer, site = server): Promise<string> {
  const id = newId()
  const file = join(site.dataDir, 'builds/output', id.slice(0, 2), `${id}.log`)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, output)
  await site.db.query(sql`
    insert into builds (id, account_id, arch, definition, target_path, target_tag, ephemeral,
      state, ended_at, output_bytes)
    values (${id}, ${user.credentials?.accountId}, 'amd64', 'x', 'a/b/c', 'd', false,
      'failed', now(), ${output.length})`)
  return id
}

/** Resolves with the code of the close; undefined when the connection was cut. */
async function closeOf(socket: WebSocket): Promise<number> {
  socket.on('error', () => {})
  const [code] = (await once(socket, 'close')) as [number]
  return code
}

async function openReader(user: Client, id: string): Promise<WebSocket> {
  const socket = openSocket(user, id)
  await once(socket, 'open')
  return socket
}

/** Everything that comes, until the other side closes. */
async function answerOf(socket: Socket): Promise<string> {
  let text = ''
  socket.on('data', (data: Buffer) => (text += data.toString('latin1')))
  socket.resume()
  await once(socket, 'end')
  return text
}

test('a build of somebody else, of nobody, a deleted one, and without a credential', async () => {
  const user = await server.user('owner')
  const other = await server.user('stranger')
  const admin = await server.user('root-admin', { isAdmin: true })
  const id = await stored(user, Buffer.from('for the owner\n'))
  for (const [client, of, why] of [
    [other, id, 404],
    [user, newId(), 404],
    [user, '%00', 404],
    [user, "';--", 404],
    [server.anonymous, id, 401],
  ] as const) {
    await assert.rejects(follow(client, of), new RegExp(`refused with ${why}$`))
  }
  assert.equal((await follow(admin, id)).text, 'for the owner\n')
  assert.equal((await user.delete(`/v1/build/${id}`)).status, 200)
  const gone = await follow(user, id)
  assert.deepEqual([gone.text, gone.code], ['', 1000])
})

test('again from any offset, in the middle of characters too', async () => {
  const user = await server.user('offsets')
  const random = new Random(310)
  const signs = ['a', 'ä', '€', '😀', '\n']
  const output = Buffer.from(Array.from({ length: 3000 }, () => random.of(signs)).join(''))
  const id = await stored(user, output)
  for (let round = 0; round < 25; round += 1) {
    const offset = Math.floor(random.next() * (output.length + 2))
    let start = offset
    while (((output[start] ?? 0) & 0xc0) === 0x80) start += 1
    const { text, code } = await follow(user, id, `?offset=${offset}`)
    assert.equal(code, 1000)
    assert.equal(text, output.subarray(start).toString(), `from ${offset}`)
  }
  for (const offset of ['-1', '1e3', 'x', '9'.repeat(30), '0x10']) {
    await assert.rejects(follow(user, id, `?offset=${offset}`), /refused with 400$/, offset)
  }
})

test('handshakes that come to nothing take no place', async () => {
  const user = await server.user('shaker')
  const { id, open } = await running(user, join(server.dataDir, 'gate-shaker'))
  const broken = [
    { 'Sec-WebSocket-Version': '99' },
    { 'Sec-WebSocket-Key': 'short' },
    { Upgrade: 'websockets' },
  ]
  for (const headers of [...broken, ...broken]) {
    const socket = await openConnection(user)
    socket.write(handshakeOf(user, id, headers))
    const answer = await answerOf(socket)
    assert.match(answer, /^HTTP\/1\.1 4\d\d /)
    socket.destroy()
  }
  // Gone before they were answered: by a reset, and by the end of what they have to say.
  const left = await Promise.all(
    Array.from({ length: 20 }, async (_, at) => {
      const socket = await openConnection(user)
      socket.write(handshakeOf(user, id))
      if (at % 2 === 0) socket.resetAndDestroy()
      else socket.end()
      return socket
    }),
  )
  const readers: WebSocket[] = []
  await eventually(async () => {
    const reader = await openReader(user, id).catch(() => undefined)
    if (reader) readers.push(reader)
    return readers.length === 4
  }, 'all four places are free')
  const closed = readers.map(closeOf)
  open()
  assert.deepEqual(new Set(await Promise.all(closed)), new Set([1000]))
  for (const socket of left) socket.destroy()
})

test('hundreds of requests that are never finished keep nobody out', async () => {
  const user = await server.user('half')
  const id = await stored(user, Buffer.from('to the end\n'))
  const request = handshakeOf(user, id)
  const halves = await Promise.all(
    Array.from({ length: 400 }, async (_, at) => {
      const socket = await openConnection(user)
      socket.write(request.slice(0, 20 + (at % (request.length - 22))))
      return socket
    }),
  )
  const reader = await follow(user, id)
  assert.deepEqual([reader.text, reader.code], ['to the end\n', 1000])
  for (const socket of halves) socket.destroy()
})

test('who reads nothing costs a few buffers, not the output', async () => {
  const user = await server.user('lazy')
  const other = await server.user('busy')
  const line = `${'x'.repeat(1023)}\n`
  const big = Buffer.from(line.repeat(64 * 1024))
  const forLazy = await stored(user, big)
  const forBusy = await stored(other, big)
  collectGarbage()
  const before = memory()
  const lazy = await Promise.all([0, 1, 2, 3].map(async () => await openSilent(user, forLazy)))
  const busy = await openReader(other, forBusy)
  let received = 0
  busy.on('message', (data: Buffer) => (received += data.length))
  assert.equal(await closeOf(busy), 1000)
  assert.equal(received, big.length)
  await eventually(async () => {
    collectGarbage()
    return memory() - before < 20_000_000
  }, 'four outputs of 64 MiB are not held')
  for (const socket of lazy) socket.destroy()
})

test('who was silent for a while and reads again has lost nothing', async () => {
  const user = await server.user('slow')
  const big = Buffer.from('a line of a build\n'.repeat(1_000_000))
  const socket = await openReader(user, await stored(user, big))
  const pieces: Buffer[] = []
  socket.on('message', (data: Buffer) => {
    pieces.push(data)
    if (pieces.length % 8 !== 1) return
    socket.pause()
    setImmediate(() => socket.resume())
  })
  assert.equal(await closeOf(socket), 1000)
  assert.ok(Buffer.concat(pieces).equals(big))
})

test('peers that answer no ping are cut, and those that do stay', async () => {
  const user = await quick.user('pinged')
  const { id, open } = await running(user, join(quick.dataDir, 'gate-pinged'))
  const deaf = new WebSocket(`${quick.url.replace('http', 'ws')}/v1/build-ws/${id}`, {
    headers: { authorization: `BEARER ${user.credentials?.token}` },
    autoPong: false,
  })
  const alive = await openReader(user, id)
  let pings = 0
  alive.on('ping', () => (pings += 1))
  assert.equal(await closeOf(deaf), 1006)
  await eventually(async () => pings >= 8, 'the other is pinged on')
  assert.equal(alive.readyState, alive.OPEN)
  const closed = closeOf(alive)
  open()
  assert.equal(await closed, 1000)
})

test('a revoked token ends readers, of whom one takes nothing, within five seconds', async () => {
  const user = await server.user('revoker')
  const session = await server.signIn('revoker')
  const gated = await running(user, join(server.dataDir, 'gate-revoker'))
  const id = await stored(user, Buffer.alloc(32 << 20, 'a'))
  const silent = await openSilent(session, id)
  const reader = await openReader(session, gated.id)
  const code = closeOf(reader)
  const cut = once(silent, 'close')
  const revokedAt = performance.now()
  await user.delete(`/api/v1/tokens/${session.credentials?.tokenId}`)
  assert.equal(await code, 1008)
  assert.ok(performance.now() - revokedAt < 5_000)
  // Its connection is reset under it: what is left in the buffers does not matter.
  silent.resume()
  silent.on('end', () => silent.destroy())
  await cut
  assert.ok(performance.now() - revokedAt < 10_000)
  gated.open()
})

test('who may not see the build any more is cut off', async () => {
  const user = await quick.user('boss-owner')
  const admin = await quick.user('boss', { isAdmin: true })
  const { id, open } = await running(user, join(quick.dataDir, 'gate-boss'))
  const code = closeOf(await openReader(admin, id))
  await quick.db.query(sql`update accounts set is_admin = false where name = 'boss'`)
  assert.equal(await code, 1008)
  open()
})

test('an output that is deleted under its reader does not end as a whole one', async () => {
  const user = await server.user('deleter')
  const id = await stored(user, Buffer.alloc(32 << 20, 'a'))
  const socket = openSocket(user, id)
  await once(socket, 'message')
  socket.pause()
  assert.equal((await user.delete(`/v1/build/${id}`)).status, 200)
  const code = closeOf(socket)
  socket.resume()
  assert.equal(await code, 1011)
})

for (const [what, flood] of [
  ['thousands of small messages', () => frame(1, 'hello')],
  [
    'thousands of empty fragments without an end',
    (at: number) => frame(at === 0 ? 1 : 0, '', false),
  ],
  ['thousands of pings', () => frame(9, 'x'.repeat(100))],
  ['thousands of unasked pongs', () => frame(10, '')],
] as const) {
  test(`${what} end the connection, and the build goes on`, async () => {
    const name = `flood-${what.replaceAll(' ', '-').slice(13, 25)}`
    const user = await server.user(name)
    const { id, open } = await running(user, join(server.dataDir, `gate-${name}`))
    const socket = await openSilent(user, id)
    const closed = once(socket, 'close')
    socket.write(Buffer.concat(Array.from({ length: 20_000 }, (_, at) => flood(at))))
    // It says why, where that still arrives, and hangs up.
    socket.on('end', () => socket.destroy())
    socket.resume()
    await closed
    open()
    assert.equal((await ended(user, id)).reason, 'as planned')
  })
}

test('messages that are too large, in one piece or in many', async () => {
  const user = await server.user('large')
  const { id, open } = await running(user, join(server.dataDir, 'gate-large'))
  const whole = await openReader(user, id)
  whole.send(Buffer.alloc(1 << 20))
  assert.equal(await closeOf(whole), 1009)
  const pieces = await openReader(user, id)
  for (let sent = 0; sent < 6; sent += 1) pieces.send('x'.repeat(1000), { fin: false })
  assert.equal(await closeOf(pieces), 1009)
  assert.equal(await outputOf(user, id), 'before\n')
  open()
  assert.equal((await ended(user, id)).reason, 'as planned')
})

test('a server that ends waits for nobody who holds a connection open', async (t) => {
  const site = await startServer(t, { settings })
  const user = await site.user('holder')
  const id = await stored(user, Buffer.alloc(32 << 20, 'a'), site)
  const silent = await openSilent(user, id)
  const refused = await openConnection(user)
  refused.write(handshakeOf(user, newId()))
  await once(refused, 'data')
  const other = await openConnection(user)
  other.write('GET /version HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n')
  await once(other, 'data')
  await site.restart()
  for (const socket of [silent, refused, other]) socket.destroy()
})

/** In bytes: what JavaScript holds, and buffers. */
function memory(): number {
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc')
  ;(runInNewContext('gc') as () => void)()
}
