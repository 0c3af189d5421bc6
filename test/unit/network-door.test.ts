import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import test from 'node:test'

import { doorOf } from '../../server/runner/network-door.ts'

test('a connection that comes before anybody serves the door waits, and is served', async (t) => {
  const server = createServer()
  const door = doorOf(server)
  t.after(() => door.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const early = connect(port, '127.0.0.1')
  t.after(() => early.destroy())
  await once(server, 'connection')
  door.serve((socket) => void socket.end('served'))
  const late = connect(port, '127.0.0.1')
  for (const socket of [early, late]) {
    const [answer] = (await once(socket, 'data')) as [Buffer]
    assert.equal(answer.toString(), 'served')
  }
})
