/** A wire with faults, between Berth and a server: every byte that passes is recorded. */
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'

import type { Lifetime } from './server.ts'

/** What a fault may do with one connection. */
export interface Wire {
  toServer(bytes: Buffer): void
  toClient(bytes: Buffer): void
  /** Resets the connection on both sides. */
  cut(): void
}

export interface Fault {
  /** Undefined: what the client sends goes to the server. */
  readonly fromClient?: (bytes: Buffer, wire: Wire) => void
  /** Undefined: what the server sends goes to the client. */
  readonly fromServer?: (bytes: Buffer, wire: Wire) => void
}

export interface TcpProxy {
  readonly port: number
  /** Connections that were made so far. */
  connections(): number
  /** All that clients sent so far. */
  fromClients(): Buffer
  /** For connections that come after this. */
  setFault(fault: Fault): void
}

export async function startProxy(
  t: Lifetime,
  serverPort: number,
  initial: Fault = {},
): Promise<TcpProxy> {
  const recorded: Buffer[] = []
  const sockets = new Set<Socket>()
  let fault = initial
  let connections = 0
  const listener = createServer((client) => {
    connections += 1
    const server = connect(serverPort, '127.0.0.1')
    for (const socket of [client, server]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        server.destroy()
      })
    }
    const wire: Wire = {
      toServer: (bytes) => void server.write(bytes),
      toClient: (bytes) => void client.write(bytes),
      cut: () => void client.resetAndDestroy(),
    }
    const { fromClient, fromServer } = fault
    client.on('data', (bytes) => {
      recorded.push(bytes)
      if (fromClient === undefined) wire.toServer(bytes)
      else fromClient(bytes, wire)
    })
    server.on('data', (bytes) => {
      if (fromServer === undefined) wire.toClient(bytes)
      else fromServer(bytes, wire)
    })
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  t.after(async () => {
    listener.close()
    for (const socket of sockets) socket.destroy()
  })
  return {
    port: (listener.address() as AddressInfo).port,
    connections: () => connections,
    fromClients: () => Buffer.concat(recorded),
    setFault: (next) => (fault = next),
  }
}
