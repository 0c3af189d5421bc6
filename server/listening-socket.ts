/** Sockets that listen: opened at a place, or taken over from whoever started this process. */
import { chmodSync, unlinkSync } from 'node:fs'
import { connect } from 'node:net'
import type { ListenOptions, Server } from 'node:net'

import type { Place } from './listen-settings.ts'

/** Its owner and its group may connect to a unix socket; a proxy is in the group. */
const socketMode = 0o660

export async function openAt(server: Server, place: Place): Promise<void> {
  if ('port' in place) {
    await start(server, { host: place.host, port: place.port })
    return
  }
  const { path } = place
  await start(server, { path }).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EADDRINUSE' || (await answers(path))) throw error
    // Left over from a process that was killed.
    unlinkSync(path)
    await start(server, { path })
  })
  chmodSync(path, socketMode)
}

export async function takeOver(server: Server, fd: number): Promise<void> {
  await start(server, { fd })
}

/** Undefined for a unix socket. */
export function portOf(server: Server): number | undefined {
  const address = server.address()
  return typeof address === 'object' ? address?.port : undefined
}

async function start(
  server: Server,
  options: ListenOptions | { readonly fd: number },
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

async function answers(path: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const probe = connect(path)
    probe.on('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.on('error', () => resolve(false))
  })
}
