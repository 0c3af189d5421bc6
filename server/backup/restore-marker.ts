/**
 * A data directory that a restore has not finished has a file that says so, and nothing opens it but
 * the restore: half of a store must not be written to, nor be served as if it were all.
 */
import { readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'

import { syncDirectory, writeDurably } from '../durable-file.ts'
import { Failure } from '../failure.ts'

const markerName = 'restore-unfinished'

/** The name of the backup that is being restored here; undefined when none is. */
export function unfinishedRestore(dataDir: string): string | undefined {
  try {
    return readFileSync(join(dataDir, markerName), 'utf8').trim()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw error
  }
}

export function refuseUnfinishedRestore(dataDir: string): void {
  const name = unfinishedRestore(dataDir)
  if (name === undefined) return
  throw new Failure(
    'conflict',
    'storage',
    `The restore of ${name} into ${dataDir} has not ended well: run berthctl restore again, which goes on with it.`,
  )
}

export async function markRestore(dataDir: string, name: string): Promise<void> {
  await writeDurably(dataDir, markerName, [`${name}\n`])
  await syncDirectory(dataDir)
}

export async function unmarkRestore(dataDir: string): Promise<void> {
  await rm(join(dataDir, markerName))
  await syncDirectory(dataDir)
}
