/**
 * A virtual machine may hand free memory back to its host within seconds (free page reporting), and
 * the first touch of a page then costs a fault in the host: seen to be 2 s of CPU a GiB, charged to
 * whichever server happens to write next. Machines that have run for long do not show it, and it
 * would drown what is measured here.
 *
 * Only free blocks of 2 MiB and more are handed back. So memory is used once and freed again but
 * for one page in every 2 MiB: the rest stays free, stays here, and is what the kernel takes first.
 */
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'

import { KIB, MIB } from './units.ts'

const blockBytes = 2 * MIB
const pageBytes = 4 * KIB
const page = Buffer.alloc(pageBytes)
const rest = Buffer.alloc(blockBytes - pageBytes)

/** Lasts until the directory, which is in memory, is removed. */
export async function warmMemory(directory: string, bytes: number): Promise<void> {
  const given = join(directory, 'given-back')
  const kept = await open(join(directory, 'kept'), 'w')
  const used = await open(given, 'w')
  try {
    // Written in turns: the kernel hands pages out in order, so they lie in turns as well.
    for (let written = 0; written < bytes; written += blockBytes) {
      await kept.write(page)
      await used.write(rest)
    }
  } finally {
    await Promise.all([kept.close(), used.close()])
    await rm(given)
  }
}
