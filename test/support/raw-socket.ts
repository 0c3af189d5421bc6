/** A WebSocket by hand, for what a decent client does not do: a connection, its handshake, and frames. */
import { once } from 'node:events'
import { connect } from 'node:net'
import type { Socket } from 'node:net'

import type { Client } from './client.ts'

/** `opcode` as in RFC 6455; `isFinal` false: more of the message is said to follow. */
export function frame(opcode: number, payload: Buffer | string, isFinal = true): Buffer {
  const body = Buffer.from(payload)
  const head = Buffer.alloc(8)
  head[0] = (isFinal ? 0x80 : 0) | opcode
  // Masked with zeros, which changes nothing.
  if (body.length < 126) {
    head[1] = 0x80 | body.length
    return Buffer.concat([head.subarray(0, 6), body])
  }
  head[1] = 0x80 | 126
  head.writeUInt16BE(body.length, 2)
  return Buffer.concat([head, body])
}

/** The request of a handshake, with other headers in the place of the usual ones. */
export function handshakeOf(
  client: Client,
  id: string,
  headers: Readonly<Record<string, string>> = {},
): string {
  const all = {
    Host: 'site',
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    Authorization: `BEARER ${client.credentials?.token}`,
    ...headers,
  }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  return `GET /v1/build-ws/${id} HTTP/1.1\r\n${lines.join('')}\r\n`
}

/** A connection to the client's server, which keeps its side open when the server closes its own. */
export async function openConnection(client: Client): Promise<Socket> {
  const { hostname, port } = new URL(client.url)
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true })
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** A WebSocket whose handshake is done, and from which nothing more is read. */
export async function openSilent(client: Client, id: string): Promise<Socket> {
  const socket = await openConnection(client)
  socket.write(handshakeOf(client, id))
  const [answer] = (await once(socket, 'data')) as [Buffer]
  socket.pause()
  if (answer.toString('latin1').startsWith('HTTP/1.1 101 ')) return socket
  socket.destroy()
  throw new Error(answer.toString())
}
