/**
 * The files below the content model. Layout:
 *
 *   store.json                        { "storeId": …, "layout": 1 }, the twin of the row in `store`
 *   blobs/sha256/<2 hex>/<64 hex>     a blob; its name is its content's SHA-256
 *   blobs/sha512/<2 hex>/<128 hex>    the same under the other algorithm of the registry
 *   incoming/<upload id>              bytes of an upload that has not ended
 *   quarantine/<digest>.<time>        what the scrub put aside: bytes that are not those of the name
 *
 * How a blob becomes safe: written to `incoming`, hashed on the way, fdatasync, rename, fsync of the
 * directory, and only then the row. A crash at any point leaves a file without a row at most, which
 * the sweep removes.
 *
 * The account's group may read blobs, so that a proxy can send them; what is incoming it may not.
 * Whether it reaches them at all is up to the data directory around the store.
 */
import { constants } from 'node:fs'
import type { BigIntStats } from 'node:fs'
import {
  chmod,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  stat,
  statfs,
  unlink,
} from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { dirname, join } from 'node:path'

import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import { syncDirectory, writeDurably } from '../durable-file.ts'
import { Failure } from '../failure.ts'
import { newStoreId } from '../identifiers.ts'
import { blobPath } from './blob-path.ts'
import { hexOf, parseDigest } from './names.ts'
import type { Digest } from './names.ts'

const layoutVersion = 1
const algorithms = ['sha256', 'sha512'] as const
/** Whatever the process' umask is. */
const groupReads = 0o640
const groupPasses = 0o750

/** Tells a file from another that took its name. */
export interface FileIdentity {
  readonly size: number
  readonly inode: string
  /** Nanoseconds. */
  readonly changedAt: string
}

export function identityOf({ size, ino, ctimeNs }: BigIntStats): FileIdentity {
  return { size: Number(size), inode: String(ino), changedAt: String(ctimeNs) }
}

export class BlobStore {
  readonly #directory: string
  readonly #id: string

  private constructor(directory: string, id: string) {
    this.#directory = directory
    this.#id = id
  }

  /**
   * Opens the store and refuses one that does not belong to the database: an unmounted disk looks
   * like an empty directory, and serving from it would look like losing everything.
   */
  static async open(directory: string, database: Database): Promise<BlobStore> {
    const [row] = await database.query<{ id: string }>(sql`select id from store`)
    const marker = await readMarker(join(directory, 'store.json'))
    const isNew = row === undefined && (marker === undefined || (await isEmpty(directory)))
    const id = isNew ? await create(directory, database) : row?.id
    if (id === undefined || (!isNew && id !== marker)) {
      throw foreignStore(directory, row?.id, marker)
    }
    // A store of before the registry has the first algorithm only.
    await makeDirectories(directory)
    await mkdir(join(directory, 'quarantine'), { recursive: true, mode: 0o700 })
    return new BlobStore(directory, id)
  }

  /** For a restore: an empty store with the identity of another, whose rows are still to come. */
  static async recreate(directory: string, storeId: string): Promise<BlobStore> {
    await mkdir(join(directory, 'incoming'), { recursive: true, mode: 0o700 })
    await makeDirectories(directory)
    await writeMarker(directory, storeId)
    return new BlobStore(directory, storeId)
  }

  pathOf(digest: Digest): string {
    return join(this.#directory, 'blobs', blobPath(digest))
  }

  incomingPath(uploadId: string): string {
    return join(this.#directory, 'incoming', uploadId)
  }

  async openIncoming(uploadId: string): Promise<FileHandle> {
    // Not truncated: the parts of a multipart upload are written into one file, each in its place.
    return await open(this.incomingPath(uploadId), constants.O_RDWR | constants.O_CREAT, 0o600)
  }

  /** Bytes of an incoming file; undefined when there is none. */
  async incomingSize(uploadId: string): Promise<number | undefined> {
    return await stat(this.incomingPath(uploadId)).then(
      ({ size }) => size,
      () => undefined,
    )
  }

  /** Moves a flushed incoming file to its place. The caller commits the row afterwards. */
  async admit(uploadId: string, digest: Digest): Promise<void> {
    const target = this.pathOf(digest)
    await chmod(this.incomingPath(uploadId), groupReads)
    await rename(this.incomingPath(uploadId), target)
    await syncDirectory(dirname(target))
  }

  /** Opens a blob for reading; a wrong length means a damaged store and is never served. */
  async openBlob(digest: Digest, size: number): Promise<FileHandle> {
    const file = await open(this.pathOf(digest), 'r')
    const found = await file.stat()
    if (found.size === size) return file
    await file.close()
    throw new Error(`blob ${digest} has ${found.size} bytes on disk instead of ${size}`)
  }

  /** Whether the file is there with this size. */
  async hasBlob(digest: Digest, size: number): Promise<boolean> {
    return await stat(this.pathOf(digest)).then(
      (found) => found.size === size,
      () => false,
    )
  }

  async removeBlob(digest: Digest): Promise<void> {
    await remove(this.pathOf(digest))
    await syncDirectory(dirname(this.pathOf(digest)))
  }

  async removeIncoming(uploadId: string): Promise<void> {
    await remove(this.incomingPath(uploadId))
  }

  async listIncoming(): Promise<string[]> {
    return await readdir(join(this.#directory, 'incoming'))
  }

  /** What there is under a digest's name; undefined where nothing is. */
  async statBlob(digest: Digest): Promise<FileIdentity | undefined> {
    try {
      return identityOf(await stat(this.pathOf(digest), { bigint: true }))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  /** Throws when the disk of the store is not there (any more), which looks like losing all files. */
  async requireMarker(): Promise<void> {
    const marker = await readMarker(join(this.#directory, 'store.json'))
    if (marker !== this.#id) throw foreignStore(this.#directory, this.#id, marker)
  }

  /** Moves a blob's file aside; returns its name there. */
  async quarantine(digest: Digest): Promise<string> {
    const name = `${digest.replace(':', '.')}.${Date.now()}`
    await rename(this.pathOf(digest), join(this.#directory, 'quarantine', name))
    await syncDirectory(join(this.#directory, 'quarantine'))
    await syncDirectory(dirname(this.pathOf(digest)))
    return name
  }

  /** Names of what was put aside before `before`. */
  async listQuarantine(before: Date): Promise<string[]> {
    const names = await readdir(join(this.#directory, 'quarantine'))
    return names.filter((name) => Number(name.split('.').at(-1)) < before.getTime())
  }

  async removeQuarantined(name: string): Promise<void> {
    await remove(join(this.#directory, 'quarantine', name))
  }

  /** Digests of the files that were last changed before `before`. */
  async *listBlobs(before: Date): AsyncGenerator<Digest> {
    for (const algorithm of algorithms) {
      const root = join(this.#directory, 'blobs', algorithm)
      for (const prefix of await readdir(root)) {
        for (const name of await readdir(join(root, prefix))) {
          if (!/^[0-9a-f]+$/.test(name)) continue
          const found = await stat(join(root, prefix, name)).catch(() => undefined)
          if (found && found.ctime < before) yield parseDigest(`${algorithm}:${name}`)
        }
      }
    }
  }

  /**
   * For a restore: `fill` writes a file, checks and flushes it, and then it gets its place. One that
   * has its place came there so, and is left alone. The caller flushes the directories (`syncAll`).
   */
  async readmit(digest: Digest, fill: (path: string) => Promise<void>): Promise<void> {
    const target = this.pathOf(digest)
    if ((await stat(target).catch(() => undefined)) !== undefined) return
    const unfinished = this.incomingPath(`restore-${hexOf(digest)}`)
    try {
      await fill(unfinished)
      await chmod(unfinished, groupReads)
      await rename(unfinished, target)
    } catch (error) {
      await remove(unfinished)
      throw error
    }
  }

  /** Makes all names as durable as the bytes. */
  async syncAll(): Promise<void> {
    for (const algorithm of algorithms) {
      const root = join(this.#directory, 'blobs', algorithm)
      for (const prefix of await readdir(root)) await syncDirectory(join(root, prefix))
    }
  }

  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.#directory)
    return bavail * bsize
  }
}

async function create(directory: string, database: Database): Promise<string> {
  await mkdir(join(directory, 'incoming'), { recursive: true, mode: 0o700 })
  await mkdir(join(directory, 'quarantine'), { recursive: true, mode: 0o700 })
  await makeDirectories(directory)
  const id = newStoreId()
  // A crash before the commit leaves a marker without a row and an empty store: made again.
  await database.transaction(async (tx) => {
    await tx.query(sql`insert into store (id) values (${id})`)
    await writeMarker(directory, id)
  })
  return id
}

async function writeMarker(directory: string, storeId: string): Promise<void> {
  const text = `${JSON.stringify({ storeId, layout: layoutVersion })}\n`
  await writeDurably(directory, 'store.json', [text])
  await syncDirectory(directory)
}

/** All 256 beforehand: a new directory entry would have to be flushed for each blob. */
async function makeDirectories(directory: string): Promise<void> {
  for (const algorithm of algorithms) {
    const root = join(directory, 'blobs', algorithm)
    const last = await stat(join(root, 'ff')).catch(() => undefined)
    if (last !== undefined) continue
    for (let prefix = 0; prefix < 256; prefix += 1) {
      const name = prefix.toString(16).padStart(2, '0')
      await mkdir(join(root, name), { recursive: true, mode: 0o700 })
      await chmod(join(root, name), groupPasses)
    }
    await chmod(root, groupPasses)
    await syncDirectory(root)
  }
  for (const passage of [directory, join(directory, 'blobs')]) await chmod(passage, groupPasses)
  await syncDirectory(join(directory, 'blobs'))
}

async function isEmpty(directory: string): Promise<boolean> {
  for (const algorithm of algorithms) {
    const root = join(directory, 'blobs', algorithm)
    for (const prefix of await readdir(root).catch(() => [])) {
      if ((await readdir(join(root, prefix))).length > 0) return false
    }
  }
  return true
}

async function readMarker(file: string): Promise<string | undefined> {
  try {
    const marker = JSON.parse(await readFile(file, 'utf8')) as { storeId?: unknown }
    return String(marker.storeId)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

function foreignStore(directory: string, row: string | undefined, marker: string | undefined) {
  return new Failure(
    'conflict',
    'storage',
    marker === undefined
      ? `The database belongs to a store of images (${row}) that is not in ${directory}: is the disk mounted?`
      : `The store of images in ${directory} (${marker}) does not belong to this database (${row ?? 'which is new'}).`,
  )
}

async function remove(path: string): Promise<void> {
  await unlink(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
  })
}
