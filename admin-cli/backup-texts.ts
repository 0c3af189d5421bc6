/** What the commands for backups say to people. */
import type { BackupProgress } from '../server/backup/create.ts'
import type { BackupEntry, BackupManifest } from '../server/backup/layout.ts'
import type { PruneResult } from '../server/backup/prune.ts'
import { sizeInWords } from './size-words.ts'
import { table } from './table.ts'

export function stateOf(manifest: BackupManifest | undefined): string {
  if (manifest === undefined) return 'broken off'
  return manifest.damage.length > 0 ? 'damaged' : 'whole'
}

export function progressText(progress: BackupProgress): string {
  const { doing, blobs, allBlobs, bytes, allBytes } = progress
  if (doing !== 'images') return `backup: ${doing}`
  return `backup: ${blobs} of ${allBlobs} blobs, ${sizeInWords(bytes)} of ${sizeInWords(allBytes)}`
}

export function listedText(directory: string, entries: readonly BackupEntry[]): string {
  if (entries.length === 0) return `There is no backup in ${directory}.\n`
  const rows = entries.map(({ name, manifest }) =>
    manifest === undefined
      ? [name, stateOf(manifest), '', '', '', '']
      : [
          name,
          stateOf(manifest),
          String(manifest.images),
          sizeInWords(manifest.blobs.bytes),
          sizeInWords(manifest.blobs.copiedBytes),
          manifest.secrets,
        ],
  )
  return table([['Name', 'State', 'Images', 'Size', 'New', 'Secrets'], ...rows])
}

export function createdText(
  directory: string,
  manifest: BackupManifest,
  tookMs: number,
  pruned: PruneResult | undefined,
): string {
  const { name, blobs, images, damage } = manifest
  const seconds = (tookMs / 1000).toFixed(1)
  const lines = [
    `${directory}: backup ${name}, ${images} images, ${sizeInWords(blobs.bytes)}, of which ${sizeInWords(blobs.copiedBytes)} were copied now, in ${seconds} s`,
    ...(manifest.secrets === 'none' ? ['The keys and passwords are not in it.'] : []),
    ...damage.map(({ digest, problem }) => `LOST ${digest}: ${problem}`),
    ...(damage.length > 0
      ? ['These bytes are not in the backup because the store has lost them: see berthctl fsck.']
      : []),
  ]
  return `${lines.join('\n')}\n${pruned === undefined ? '' : prunedText(pruned)}`
}

export function prunedText({ removed, bytes, kept }: PruneResult): string {
  if (removed.length === 0) return `Nothing to remove: ${kept.length} backups.\n`
  return `Removed ${removed.join(', ')}: ${sizeInWords(bytes)}. ${kept.length} backups remain.\n`
}
