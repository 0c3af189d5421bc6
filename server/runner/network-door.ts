/** The one door in the network of a sandbox: a listening socket in there, accepted from out here. */
import { spawn } from 'node:child_process'
import { Server } from 'node:net'
import type { Socket } from 'node:net'
import { join } from 'node:path'

/** Where the build finds the proxy and the endpoint, on its own loopback. */
export const doorPort = 3128

/** What the program inside-network.ts says. */
export type DoorReport =
  | { readonly is: 'door' }
  | { readonly is: 'breach'; readonly what: string }
  | { readonly is: 'failure'; readonly what: string }

/** The socket in the namespace, for whoever serves it. */
export interface NetworkDoor {
  /** Hands over what comes in, and what has come before anybody served. Called once. */
  serve(listener: (socket: Socket) => void): void
  close(): void
}

const deadlineMs = 20_000

/**
 * Enters the user and network namespaces of `pid`, proves that the canaries of the host do not answer
 * there, and opens the door. Throws when one does.
 */
export async function openNetworkDoor(
  pid: number,
  canaries: { readonly port: number; readonly socketName: string },
): Promise<NetworkDoor> {
  const program = join(import.meta.dirname, `inside-network${import.meta.filename.slice(-3)}`)
  const child = spawn(
    'nsenter',
    [
      ['--target', String(pid), '--user', '--net', '--preserve-credentials'],
      [process.execPath, program, String(canaries.port), canaries.socketName],
    ].flat(),
    { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], env: {}, timeout: deadlineMs },
  )
  let errors = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (errors += text))
  return await new Promise((resolve, reject) => {
    let door: NetworkDoor | undefined
    child.on('message', (message, handle) => {
      const report = message as DoorReport
      if (report.is === 'door' && handle instanceof Server) door = doorOf(handle)
      else if (report.is === 'breach')
        reject(new Error(`in the network of the sandbox, ${report.what}`))
      else reject(new Error(`the sandbox has no door: ${JSON.stringify(report)}`))
    })
    child.on('error', reject)
    // Not before it is gone: until then it listens too, and would take a connection with it.
    child.on('close', () => {
      if (door === undefined) {
        reject(new Error(`the network of the sandbox cannot be entered: ${errors}`))
      } else {
        resolve(door)
      }
    })
  })
}

/**
 * The build begins inside before the runner hears of it: a connection that comes in between must wait,
 * because a server drops what nobody listens for without a word to the other side.
 */
export function doorOf(server: Server): NetworkDoor {
  const waiting: Socket[] = []
  const hold = (socket: Socket): void => void waiting.push(socket)
  server.on('connection', hold)
  return {
    serve: (listener) => {
      server.off('connection', hold)
      server.on('connection', listener)
      for (const socket of waiting.splice(0)) listener(socket)
    },
    close: () => {
      server.close()
      for (const socket of waiting) socket.destroy()
    },
  }
}
