import { chmod, mkdir, mkdtemp, readFile, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'

import { formatSize, KIB } from './units.ts'

/** The directories of one run. */
export interface Workplace {
  /** What the servers store goes here: the disk that is measured. */
  readonly disk: string
  /** What clients read is here, in memory if there is room, so that the disk works for one side. */
  readonly payloads: string
  readonly payloadsInMemory: boolean
  remove(): Promise<void>
}

interface Room {
  readonly diskBytes: number
  readonly payloadBytes: number
  /** Used beside the payloads if these are in memory. */
  readonly warmBytes: number
}

const sharedMemory = '/dev/shm'

export async function makeWorkplace(directory: string, room: Room): Promise<Workplace> {
  const inMemory = await hasMemoryFor(room.payloadBytes + room.warmBytes)
  const diskBytes = room.diskBytes + (inMemory ? 0 : room.payloadBytes)
  const free = await freeBytes(directory)
  if (free < diskBytes) {
    throw new Error(
      `${directory} has ${formatSize(free)} free and this run may need ${formatSize(diskBytes)}: choose a smaller --size, fewer --rounds, or another --work`,
    )
  }
  const disk = await mkdtemp(join(directory, 'berth-bench-'))
  // PostgreSQL refuses to run as root: the account that it runs under then has to get through.
  await chmod(disk, 0o711)
  const payloads = inMemory
    ? await mkdtemp(join(sharedMemory, 'berth-bench-'))
    : join(disk, 'payloads')
  await mkdir(payloads, { recursive: true })
  return {
    disk,
    payloads,
    payloadsInMemory: inMemory,
    remove: async () => {
      for (const path of [payloads, disk]) await rm(path, { recursive: true, force: true })
    },
  }
}

/** Page cache and servers need memory as well: a third of what is available is left to them. */
async function hasMemoryFor(bytes: number): Promise<boolean> {
  const free = await freeBytes(sharedMemory).catch(() => 0)
  const available = /^MemAvailable:\s+(\d+) kB/m.exec(await readFile('/proc/meminfo', 'utf8'))
  return free >= bytes && Number(available?.[1] ?? 0) * KIB >= 1.5 * bytes
}

async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory)
  return bavail * bsize
}
