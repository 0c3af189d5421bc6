/**
 * A program for the network namespace of a sandbox, which it enters by nsenter: opens the one port
 * through which the build reaches anything, and hands the socket to the runner outside. A socket stays
 * in the namespace it was made in, so that no bridge runs between the two. Before that it tries to
 * reach the canaries of the host from there: nobody may answer.
 */
import { createConnection, createServer } from 'node:net'
import type { Server } from 'node:net'
import { networkInterfaces } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'

import { doorPort } from './network-door.ts'
import type { DoorReport } from './network-door.ts'

await openDoor()

async function openDoor(): Promise<void> {
  const [canaryPort, canaryName] = [Number(process.argv[2]), process.argv[3] ?? '']
  const others = Object.keys(networkInterfaces()).filter((name) => name !== 'lo')
  if (others.length > 0) return tell({ is: 'breach', what: `interface ${others[0]} is there` })
  if (await answers({ port: canaryPort, host: '127.0.0.1' })) {
    return tell({ is: 'breach', what: 'a port of the host answers' })
  }
  if (await answers({ path: `\0${canaryName}` })) {
    return tell({ is: 'breach', what: 'an abstract socket of the host answers' })
  }
  const server = await listenWhenUp().catch((error: Error) => error)
  if (server instanceof Error) return tell({ is: 'failure', what: server.message })
  process.once('disconnect', () => process.exit(0))
  process.send?.({ is: 'door' } satisfies DoorReport, server, {}, () => process.disconnect())
}

/** bubblewrap brings the loopback up at about the same time. */
async function listenWhenUp(): Promise<Server> {
  for (let attempt = 1; ; attempt++) {
    const server = createServer()
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen(doorPort, '127.0.0.1', 512, resolve)
      })
      return server
    } catch (error) {
      if (attempt === 100) throw error
      await delay(50)
    }
  }
}

function tell(report: DoorReport): void {
  process.send?.(report, undefined, {}, () => process.exit(0))
}

async function answers(where: { port: number; host: string } | { path: string }): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = createConnection(where)
    socket.setTimeout(2000, () => socket.destroy())
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
    socket.on('close', () => resolve(false))
  })
}
