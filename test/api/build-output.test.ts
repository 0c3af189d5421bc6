/** The output of builds over WebSocket (protocol.md 8.3, reliability 3.10). */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { after, test } from 'node:test'

import type { WebSocket } from 'ws'

import { sql } from '../../server/database.ts'
import {
  builderSettings,
  definitionOf,
  ended,
  follow,
  openSocket,
  outputOf,
  stateIs,
  submit,
} from '../support/builds.ts'
import type { Client } from '../support/client.ts'
import { eventually, startServer } from '../support/server.ts'

const server = await startServer(
  { after },
  { settings: { builder: builderSettings({ running_per_user: 20 }, { slots: 20 }) } },
)

/** A build that prints, then waits until `open` is called, and prints again. */
async function gated(user: Client, name: string): Promise<{ id: string; open: () => void }> {
  const gate = join(server.dataDir, `gate-${name}`)
  const steps = ['print before', `wait-for ${gate}`, 'print äfter', 'fail as planned']
  const id = await submit(user, definitionOf(...steps))
  await stateIs(user, id, 'running')
  return { id, open: () => writeFileSync(gate, '') }
}

test('from the first byte to a close with 1000, for early, late and repeated readers', async () => {
  const user = await server.user('reader')
  const { id, open } = await gated(user, 'reader')
  const early = follow(user, id)
  await eventually(async () => (await outputOf(user, id)) === 'before\n', 'the first line')
  const middle = follow(user, id)
  open()
  const whole = 'before\näfter\nBuild failed: as planned\n'
  for (const reader of [
    await early,
    await middle,
    await follow(user, id),
    await follow(user, id),
  ]) {
    assert.equal(reader.code, 1000)
    assert.equal(reader.text.replace(/^(?:Waiting: .*\n)*/, ''), whole)
  }
  assert.equal((await follow(user, id, '?offset=0')).text, whole)
  assert.equal((await follow(user, id, '?offset=7')).text, whole.slice(7))
  assert.equal(
    (await follow(user, id, '?offset=8')).text,
    whole.slice(8),
    'the rest of a character is left out',
  )
  assert.equal((await follow(user, id, '?offset=9999')).text, '')
  await assert.rejects(follow(user, id, '?offset=-1'), /refused with 400/)
})

test('a reader who goes away changes nothing; the build goes on', async () => {
  const user = await server.user('leaves')
  const { id, open } = await gated(user, 'leaves')
  const socket = openSocket(user, id)
  await once(socket, 'message')
  socket.terminate()
  open()
  assert.equal((await ended(user, id)).reason, 'as planned')
})

test('who waits is told his place, but not when he counts bytes', async () => {
  const user = await server.user('waits')
  await server.db.query(sql`
    insert into builds (id, account_id, arch, definition, target_path, target_tag, ephemeral)
    values ('aaaaaaaaaaaaaaaaaaaaaaaa', ${user.credentials?.accountId}, 'riscv64', 'x', 'waits/a/b', 'c', false)`)
  const socket = openSocket(user, 'aaaaaaaaaaaaaaaaaaaaaaaa')
  const [line] = (await once(socket, 'message')) as [Buffer]
  assert.match(
    line.toString(),
    /^Waiting: place 1 of 1, no builder of this site makes images for riscv64/,
  )
  const counting = follow(user, 'aaaaaaaaaaaaaaaaaaaaaaaa', '?offset=0')
  const cancelled = await user.send('PUT', '/v1/build/aaaaaaaaaaaaaaaaaaaaaaaa/_cancel')
  assert.equal(cancelled.status, 204)
  assert.deepEqual(await counting, {
    text: 'Build cancelled: cancelled by its owner\n',
    code: 1000,
    frames: 1,
  })
})

test('four readers for a build and eight for an account, and no more', async () => {
  const user = await server.user('crowd')
  const admin = await server.user('crowd-admin', { isAdmin: true })
  const first = await gated(user, 'crowd1')
  const second = await gated(user, 'crowd2')
  const third = await gated(user, 'crowd3')
  const read = async (id: string): Promise<WebSocket> => {
    const socket = openSocket(user, id)
    await once(socket, 'open')
    return socket
  }
  const readers = await Promise.all([0, 1, 2, 3].map(async () => await read(first.id)))
  await assert.rejects(follow(admin, first.id), /refused with 429/)
  readers.push(...(await Promise.all([0, 1, 2, 3].map(async () => await read(second.id)))))
  await assert.rejects(follow(user, third.id), /refused with 429/)
  const closed = readers.map(async (socket) => (await once(socket, 'close'))[0] as number)
  for (const { open } of [first, second, third]) open()
  assert.deepEqual(new Set(await Promise.all(closed)), new Set([1000]))
  await ended(user, third.id)
  await eventually(async () => {
    const reader = await follow(user, third.id).catch(() => undefined)
    return reader?.code === 1000
  }, 'places are given back')
})

test('a client that talks too much is cut off', async () => {
  const user = await server.user('talks')
  const { id, open } = await gated(user, 'talks')
  const socket = openSocket(user, id)
  await once(socket, 'open')
  socket.on('error', () => {})
  socket.send('x'.repeat(5000))
  const [code] = (await once(socket, 'close')) as [number]
  assert.equal(code, 1009)
  open()
})

test('a token that is revoked ends its sockets', async () => {
  const user = await server.user('revoked')
  const other = await server.signIn('revoked')
  const { id, open } = await gated(user, 'revoked')
  const following = follow(other, id)
  await eventually(async () => (await outputOf(user, id)) === 'before\n', 'the first line')
  await user.delete(`/api/v1/tokens/${other.credentials?.tokenId}`)
  assert.equal((await following).code, 1008)
  open()
})

test('an upgrade to something else is answered as a request', async () => {
  const ask = async (lines: string): Promise<string> =>
    await new Promise((resolve, reject) => {
      let text = ''
      const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
      socket.on('data', (data) => (text += data.toString()))
      socket.on('end', () => resolve(text))
      socket.on('error', reject)
      socket.write(lines)
    })
  const offer =
    'Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n'
  assert.match(
    await ask(`GET /version HTTP/1.1\r\n${offer}\r\n`),
    /^HTTP\/1\.1 200 OK[^]*"version"/,
  )
  assert.match(
    await ask(`POST /v1/build HTTP/1.1\r\n${offer}Content-Length: 2\r\n\r\n{}`),
    /^HTTP\/1\.1 426 /,
  )
})
