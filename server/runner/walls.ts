/**
 * The self-test before every build. It stands on three feet: canaries of the host that must not be
 * seen (a file, a port, an abstract socket, a variable of the environment), what the kernel says of
 * the sandbox's first process, and what inside/build.sh finds from where the build will be.
 */
import { randomBytes } from 'node:crypto'
import { readFile, readlink, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo, Server } from 'node:net'
import { join } from 'node:path'

export interface Canaries {
  /** A file that everybody on the host may read. */
  readonly file: string
  /** NAME=value, for the environment of what starts the sandbox. */
  readonly environment: Readonly<Record<string, string>>
  readonly port: number
  readonly socketName: string
  close(): Promise<void>
}

/** The walls do not hold: no build may run here. The message says which one. */
export class WallBroken extends Error {
  override readonly name = 'WallBroken'
}

/** This host cannot do a build at all now, whatever is in it. */
export class BuilderUnable extends Error {
  override readonly name = 'BuilderUnable'
}

const namespaces = ['user', 'mnt', 'pid', 'net', 'ipc', 'uts'] as const

export async function openCanaries(directory: string): Promise<Canaries> {
  const name = `berth-canary-${randomBytes(12).toString('hex')}`
  const file = join(directory, name)
  await writeFile(file, `${name}\n`, { mode: 0o644 })
  const port = await listenOn({ port: 0, host: '127.0.0.1' })
  const socket = await listenOn({ path: `\0${name}` })
  return {
    file,
    environment: { BERTH_CANARY: name },
    port: (port.address() as AddressInfo).port,
    socketName: name,
    close: async () => {
      port.close()
      socket.close()
      await rm(file, { force: true })
    },
  }
}

/** What the kernel says of the first process in there, seen from out here. */
export async function inspectFromOutside(pid: number): Promise<void> {
  for (const namespace of namespaces) {
    const [theirs, ours] = await Promise.all([
      readlink(`/proc/${pid}/ns/${namespace}`),
      readlink(`/proc/self/ns/${namespace}`),
    ])
    if (theirs === ours)
      throw new WallBroken(`the sandbox has no ${namespace} namespace of its own`)
  }
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  if (!/^NoNewPrivs:\s*1$/m.test(status)) {
    throw new WallBroken('processes of the sandbox can gain privileges')
  }
  if (/^Uid:\s*0\s/m.test(status)) throw new WallBroken('root of the sandbox is root of the host')
}

async function listenOn(
  where: { readonly port: number; readonly host: string } | { readonly path: string },
): Promise<Server> {
  const server = createServer((socket) => socket.destroy())
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(where, resolve)
  })
  return server
}
