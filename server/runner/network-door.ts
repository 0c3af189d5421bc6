/** The one door in the network of a sandbox: a listening socket in there, accepted from out here. */
import { spawn } from 'node:child_process'
import { Server } from 'node:net'
import { join } from 'node:path'

/** Where the build finds the proxy and the endpoint, on its own loopback. */
export const doorPort = 3128

/** What the program inside-network.ts says. */
export type DoorReport =
  | { readonly is: 'door' }
  | { readonly is: 'breach'; readonly what: string }
  | { readonly is: 'failure'; readonly what: string }

const deadlineMs = 20_000

/**
 * Enters the user and network namespaces of `pid`, proves that the canaries of the host do not answer
 * there, and opens the door. Throws when one does.
 */
export async function openNetworkDoor(
  pid: number,
  canaries: { readonly port: number; readonly socketName: string },
): Promise<Server> {
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
    child.on('message', (message, handle) => {
      const report = message as DoorReport
      if (report.is === 'door' && handle instanceof Server) resolve(handle)
      else if (report.is === 'breach')
        reject(new Error(`in the network of the sandbox, ${report.what}`))
      else reject(new Error(`the sandbox has no door: ${JSON.stringify(report)}`))
    })
    child.on('error', reject)
    child.on('close', () =>
      reject(new Error(`the network of the sandbox cannot be entered: ${errors}`)),
    )
  })
}
