/** Reads a backup as a restore would, and says what is missing or has other bytes. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'

import { parseDigest } from '../content/names.ts'
import { BlobPool, DamagedSource } from './blob-pool.ts'
import { pathOf, readBlobLines } from './layout.ts'
import type { BackupManifest } from './layout.ts'

export interface BackupProblem {
  /** Below the directory of backups. */
  readonly file: string
  readonly problem: string
}

export interface VerifyOptions {
  readonly signal: AbortSignal
  readonly onProgress: (done: { readonly files: number; readonly allFiles: number }) => void
}

export async function verifyBackup(
  directory: string,
  manifest: BackupManifest,
  options: VerifyOptions,
): Promise<readonly BackupProblem[]> {
  const problems = await verifyOwnFiles(directory, manifest)
  // The list of blobs is one of these files: a wrong one is no list.
  if (problems.length > 0) return problems
  const found: BackupProblem[] = []
  const pool = new BlobPool(directory)
  const lines = await readBlobLines(directory, manifest.name)
  const reading = { signal: options.signal, onBytes: () => {} }
  for (const [at, { digest, size, path }] of lines.entries()) {
    try {
      await pool.check(parseDigest(digest), size, reading)
    } catch (error) {
      found.push({ file: path, problem: textOf(error) })
    }
    options.onProgress({ files: at + 1, allFiles: lines.length })
  }
  return found
}

/** Everything but the shared bytes. */
export async function verifyOwnFiles(
  directory: string,
  manifest: BackupManifest,
): Promise<readonly BackupProblem[]> {
  const found: BackupProblem[] = []
  for (const { path, size, sha256 } of manifest.files) {
    const file = `backups/${manifest.name}/${path}`
    try {
      const hash = createHash('sha256')
      let length = 0
      for await (const piece of createReadStream(pathOf(directory, manifest.name, path))) {
        hash.update(piece as Buffer)
        length += (piece as Buffer).length
      }
      if (length !== size || hash.digest('hex') !== sha256) {
        found.push({ file, problem: 'its bytes are other ones' })
      }
    } catch (error) {
      found.push({ file, problem: textOf(error) })
    }
  }
  return found
}

function textOf(error: unknown): string {
  if (error instanceof DamagedSource) return error.message
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'the file is not there'
  if (error instanceof Error && 'syscall' in error) return error.message
  throw error
}
