/** Removes old backups, and the bytes that no remaining one needs. */
import { rename, rm } from 'node:fs/promises'
import { join } from 'node:path'

import { syncDirectory } from '../durable-file.ts'
import { BlobPool } from './blob-pool.ts'
import { backupsDirectory, endMarker, listBackups, pathOf, readBlobLines } from './layout.ts'

export interface PruneResult {
  readonly removed: readonly string[]
  readonly kept: readonly string[]
  readonly files: number
  readonly bytes: number
}

/** What `prune` would remove: all but the newest `keep` whole ones, and those that were broken off. */
export async function prunable(directory: string, keep: number): Promise<readonly string[]> {
  const entries = await listBackups(directory)
  const whole = entries.filter(({ manifest }) => manifest !== undefined).map(({ name }) => name)
  const kept = new Set(whole.slice(-keep))
  return entries.map(({ name }) => name).filter((name) => !kept.has(name))
}

/** The caller holds the lock of backups, so that none is being made. */
export async function prune(directory: string, keep: number): Promise<PruneResult> {
  const removed = await prunable(directory, keep)
  for (const name of removed) {
    // Its end marker first: a crash leaves one that was broken off, not half of a whole one.
    await rm(pathOf(directory, name, endMarker), { force: true })
    await rename(pathOf(directory, name), pathOf(directory, `${name}.going`))
    await rm(pathOf(directory, `${name}.going`), { recursive: true })
  }
  await syncDirectory(join(directory, backupsDirectory))
  const kept = (await listBackups(directory)).map(({ name }) => name)
  const needed = new Set<string>()
  for (const name of kept) {
    for (const { digest } of await readBlobLines(directory, name)) needed.add(digest)
  }
  const pool = new BlobPool(directory)
  await pool.prepare()
  const { files, bytes } = await pool.removeOthers(needed)
  return { removed, kept, files, bytes }
}
