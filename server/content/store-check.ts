/**
 * The rows of blobs against the files of the store, both ways, while the server may be working: what
 * looks wrong is looked at again under the blob's lock, with which nobody brings or removes it.
 */
import { open, stat } from 'node:fs/promises'

import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import { lockDigest } from './blob-lock.ts'
import type { BlobStore } from './blob-store.ts'
import { mayRemoveBytes } from './deletion-hold.ts'
import { hashFile } from './file-hash.ts'
import { listStoredBlobs } from './inventory.ts'
import { algorithmOf } from './names.ts'
import type { Digest } from './names.ts'

export interface StoreProblem {
  readonly kind: 'lost-file' | 'wrong-size' | 'wrong-bytes' | 'file-without-row' | 'left-upload'
  readonly subject: string
  readonly problem: string
  /** Nothing that anybody stored is lost by mending it. */
  readonly isRepairable: boolean
}

type Suspicion = Omit<StoreProblem, 'isRepairable'>

export interface StoreCheckOptions {
  /** Read and hash every file, which takes as long as reading the disk does. */
  readonly deep: boolean
  readonly onProgress: (done: { readonly blobs: number; readonly allBlobs: number }) => void
}

export async function listStoreProblems(
  database: Database,
  blobs: BlobStore,
  options: StoreCheckOptions,
): Promise<StoreProblem[]> {
  const found: StoreProblem[] = []
  // Files before rows: what arrives meanwhile is then in the second list at least.
  const files = new Set<Digest>()
  for await (const digest of blobs.listBlobs(new Date(8.64e15))) files.add(digest)
  const incoming = await blobs.listIncoming()
  const rows = await listStoredBlobs(database)
  for (const [at, { digest, size }] of rows.entries()) {
    files.delete(digest)
    const suspicion = await checkBlob(blobs, digest, size, options.deep)
    const problem = suspicion && (await lookAgain(database, blobs, digest, suspicion))
    if (problem !== undefined) found.push(problem)
    options.onProgress({ blobs: at + 1, allBlobs: rows.length })
  }
  for (const subject of files) {
    if (!(await isOrphan(database, blobs, subject))) continue
    const problem = 'no row knows this file'
    found.push({ kind: 'file-without-row', subject, problem, isRepairable: true })
  }
  for (const subject of incoming) {
    const [row] = await database.query(sql`select 1 from uploads where id = ${subject}`)
    if (row !== undefined || (await blobs.incomingSize(subject)) === undefined) continue
    const problem = 'no upload knows this file'
    found.push({ kind: 'left-upload', subject, problem, isRepairable: true })
  }
  return found
}

async function checkBlob(
  blobs: BlobStore,
  digest: Digest,
  size: number,
  deep: boolean,
): Promise<Suspicion | undefined> {
  const path = blobs.pathOf(digest)
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (found === undefined) {
    return { kind: 'lost-file', subject: digest, problem: `${path} is not there` }
  }
  if (found.size !== size) {
    const problem = `${path} has ${found.size} bytes instead of ${size}`
    return { kind: 'wrong-size', subject: digest, problem }
  }
  if (!deep) return undefined
  const what = await wrongBytes(path, digest)
  return what === undefined
    ? undefined
    : { kind: 'wrong-bytes', subject: digest, problem: `${path}: ${what}` }
}

async function wrongBytes(path: string, digest: Digest): Promise<string | undefined> {
  try {
    const file = await open(path, 'r')
    try {
      const found = await hashFile(file, algorithmOf(digest))
      return found === digest ? undefined : 'its bytes are other ones'
    } finally {
      await file.close()
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'EIO') return message
    // Removed since it was looked at: the second look tells.
    if (code === 'ENOENT') return 'it is gone'
    throw error
  }
}

/** Undefined where the row is gone by now, or the file is well: it was just being removed or brought. */
async function lookAgain(
  database: Database,
  blobs: BlobStore,
  digest: Digest,
  suspicion: Suspicion,
): Promise<StoreProblem | undefined> {
  return await database.transaction(async (tx) => {
    await lockDigest(tx, digest)
    const [row] = await tx.query<{ size: number; linked: boolean }>(sql`
      select size, exists (select 1 from repository_blobs l where l.digest = b.digest) as "linked"
      from blobs b where digest = ${digest}`)
    if (row === undefined) return undefined
    const now = await checkBlob(blobs, digest, row.size, false)
    // Reading it all once more would hold the lock, and bytes do not become right by themselves.
    const again = now ?? (suspicion.kind === 'wrong-bytes' ? suspicion : undefined)
    return again && { ...again, isRepairable: !row.linked }
  })
}

async function isOrphan(database: Database, blobs: BlobStore, digest: Digest): Promise<boolean> {
  return await database.transaction(async (tx) => {
    await lockDigest(tx, digest)
    const [row] = await tx.query(sql`select 1 from blobs where digest = ${digest}`)
    if (row !== undefined) return false
    return await stat(blobs.pathOf(digest)).then(
      () => true,
      () => false,
    )
  })
}

/** Mends what can be mended without losing anything; false when this cannot, or not now. */
export async function repairBlob(
  database: Database,
  blobs: BlobStore,
  { kind, subject }: StoreProblem,
): Promise<boolean> {
  if (kind === 'left-upload') {
    await blobs.removeIncoming(subject)
    return true
  }
  const digest = subject as Digest
  return await database.transaction(async (tx) => {
    if (!(await mayRemoveBytes(tx))) return false
    await lockDigest(tx, digest)
    if (kind === 'file-without-row') {
      const [row] = await tx.query(sql`select 1 from blobs where digest = ${digest}`)
      if (row === undefined) await blobs.removeBlob(digest)
      return true
    }
    // A row whose bytes are gone and that nothing links to stands for nothing.
    const removed = await tx.query(sql`
      delete from blobs b where b.digest = ${digest}
        and not exists (select 1 from repository_blobs l where l.digest = b.digest) returning 1`)
    if (removed.length > 0) await blobs.removeBlob(digest)
    return removed.length > 0
  })
}
