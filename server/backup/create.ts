/**
 * Makes a backup while the server serves. The order is what makes it whole: a hold on the removal of
 * bytes, then the rows, as of one moment, then the bytes that these rows name, then everything else,
 * and the end marker last. What is pushed meanwhile is in the next one.
 */
import { createReadStream } from 'node:fs'
import { open, readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'

import { contextPath, listContextFiles, listOutputFiles, outputPath } from '../builds/inventory.ts'
import type { BuildFile } from '../builds/inventory.ts'
import type { BlobStore } from '../content/blob-store.ts'
import { holdDeletions } from '../content/deletion-hold.ts'
import type { HoldOptions } from '../content/deletion-hold.ts'
import { listStoredBlobs, listStoredDocuments, listStoredImages } from '../content/inventory.ts'
import type { StoredBlob } from '../content/inventory.ts'
import { withSnapshot } from '../database-dump.ts'
import type { Snapshot } from '../database-dump.ts'
import { sql } from '../database.ts'
import type { Database, DatabaseAddress } from '../database.ts'
import { writeDurably } from '../durable-file.ts'
import type { Pieces, WrittenFile } from '../durable-file.ts'
import { migrationsDirectory } from '../migrate.ts'
import { berthVersion } from '../version.ts'
import { BlobPool, DamagedSource } from './blob-pool.ts'
import type { Copying } from './blob-pool.ts'
import { finishBackup, newBackup, prepareDirectory } from './directory.ts'
import { layoutDocument, printImages, printLayoutIndex } from './indexes.ts'
import {
  blobsFile,
  blobsHeader,
  buildsDirectory,
  databaseDirectory,
  imagesFile,
  pathOf,
  printBlobLine,
  secretsFile,
} from './layout.ts'
import type { BackupManifest, BlobLine } from './layout.ts'
import { beginRecord, endRecord } from './records.ts'
import { gatherSecrets, readableConfig, sealSecrets } from './secrets-archive.ts'
import type { Encryption } from './secrets-archive.ts'

export interface BackupSources {
  readonly database: Database
  readonly databaseAddress: DatabaseAddress
  readonly blobs: BlobStore
  readonly dataDir: string
  /** May name a file that is not there. */
  readonly configFile: string
  readonly publicUrl: string
}

export interface BackupOptions {
  readonly directory: string
  /** Undefined: without the secrets. */
  readonly encryption: Encryption | undefined
  readonly hardLinks: boolean
  readonly onProgress: (progress: BackupProgress) => void
  readonly hold?: HoldOptions
}

export interface BackupProgress {
  readonly doing: 'database' | 'images' | 'builds' | 'secrets'
  readonly blobs: number
  readonly allBlobs: number
  readonly bytes: number
  readonly allBytes: number
}

/** The name under which it runs once at a time, on all processes. */
export const backupLock = 'backup'

/**
 * The caller holds `backupLock`. Throws when there is no backup afterwards; what the store itself has
 * lost is in `damage` of the result, and the backup has everything else.
 */
export async function createBackup(
  sources: BackupSources,
  options: BackupOptions,
): Promise<BackupManifest> {
  const { database, publicUrl, dataDir } = sources
  const [store] = await database.query<{ id: string }>(sql`select id from store`)
  const storeId = store?.id ?? ''
  await prepareDirectory(options.directory, { storeId, publicUrl, dataDir })
  const name = await newBackup(options.directory)
  const record = await beginRecord(database, name, options.directory)
  try {
    const hold = await holdDeletions(database, `backup ${name}`, options.hold)
    let manifest: BackupManifest
    try {
      manifest = await new Backup(sources, options, { name, storeId }, hold.lost).make()
    } catch (error) {
      await hold.release().catch(() => {})
      throw error
    }
    // A backup under a hold that had ended must not look like one.
    await hold.release()
    await finishBackup(options.directory, manifest)
    const { count: blobs, bytes, copiedBytes } = manifest.blobs
    const lost = manifest.damage.length
    const outcome = lost > 0 ? 'damaged' : 'complete'
    const message = lost > 0 ? `lost in the store: ${lost} blobs` : ''
    await endRecord(database, record, { outcome, blobs, bytes, copiedBytes, message })
    return manifest
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    await endRecord(database, record, { outcome: 'failed', message }).catch(() => {})
    throw error
  }
}

class Backup {
  readonly #sources: BackupSources
  readonly #options: BackupOptions
  readonly #known: { readonly name: string; readonly storeId: string }
  readonly #signal: AbortSignal
  readonly #pool: BlobPool
  readonly #directory: string
  readonly #startedAt = new Date()
  readonly #files: WrittenFile[] = []
  readonly #lines: BlobLine[] = []
  readonly #damage: { digest: string; problem: string }[] = []
  readonly #gone: { contexts: string[]; outputs: string[] } = { contexts: [], outputs: [] }
  #progress: BackupProgress = { doing: 'database', blobs: 0, allBlobs: 0, bytes: 0, allBytes: 0 }
  #copied = 0
  #copiedBytes = 0

  constructor(
    sources: BackupSources,
    options: BackupOptions,
    known: { readonly name: string; readonly storeId: string },
    signal: AbortSignal,
  ) {
    this.#sources = sources
    this.#options = options
    this.#known = known
    this.#signal = signal
    this.#pool = new BlobPool(options.directory)
    this.#directory = pathOf(options.directory, known.name)
  }

  /** Everything but the end marker. */
  async make(): Promise<BackupManifest> {
    await this.#pool.prepare()
    const rows = await withSnapshot(
      this.#sources.databaseAddress,
      async (snapshot) => await this.#readRows(snapshot),
    )
    await this.#copyBlobs(rows.blobs)
    await this.#pool.sync()
    this.#tell({ doing: 'builds' })
    await this.#copyBuildFiles('contexts', rows.contexts, contextPath)
    await this.#copyBuildFiles('outputs', rows.outputs, outputPath)
    this.#tell({ doing: 'secrets' })
    await this.#copySecrets()
    await this.#write(blobsFile, [blobsHeader, ...this.#lines.map(printBlobLine)])
    await this.#write(imagesFile, [printImages(rows.images)])
    await writeDurably(this.#options.directory, 'oci-layout', [layoutDocument])
    await writeDurably(this.#options.directory, 'index.json', [printLayoutIndex(rows.images)])
    const { name, storeId } = this.#known
    return {
      format: 1,
      name,
      berthVersion,
      storeId,
      host: hostname(),
      publicUrl: this.#sources.publicUrl,
      startedAt: this.#startedAt.toISOString(),
      endedAt: new Date().toISOString(),
      schema: rows.schema,
      secrets: this.#options.encryption?.kind ?? 'none',
      blobs: {
        count: rows.blobs.length,
        bytes: rows.blobs.reduce((sum, { size }) => sum + size, 0),
        copied: this.#copied,
        copiedBytes: this.#copiedBytes,
      },
      images: rows.images.length,
      damage: this.#damage,
      gone: this.#gone,
      files: this.#files,
    }
  }

  /** The dump and what it names are of one moment. */
  async #readRows(snapshot: Snapshot) {
    this.#tell({ doing: 'database' })
    const { index, files } = await snapshot.dump(
      join(this.#directory, databaseDirectory),
      async (name) => await readFile(join(migrationsDirectory, name), 'utf8'),
      this.#signal,
    )
    for (const file of files) {
      this.#files.push({ ...file, path: `${databaseDirectory}/${file.path}` })
    }
    await this.#copyDocuments(snapshot)
    return {
      schema: index.migrations.at(-1)?.name ?? '',
      blobs: await listStoredBlobs(snapshot),
      images: await listStoredImages(snapshot),
      contexts: await listContextFiles(snapshot),
      outputs: await listOutputFiles(snapshot),
    }
  }

  async #copyDocuments(snapshot: Snapshot): Promise<void> {
    const page = 500
    for (let after = ''; ;) {
      this.#signal.throwIfAborted()
      const documents = await listStoredDocuments(snapshot, after, page)
      for (const { digest, kind, bytes } of documents) {
        const path = this.#pool.pathOf(digest)
        if (!(await this.#pool.has(digest, bytes.length))) await this.#pool.put(digest, bytes)
        this.#lines.push({ digest, size: bytes.length, kind, path })
        after = digest
      }
      if (documents.length < page) return
    }
  }

  async #copyBlobs(blobs: readonly StoredBlob[]): Promise<void> {
    const allBytes = blobs.reduce((sum, { size }) => sum + size, 0)
    this.#tell({ doing: 'images', allBlobs: blobs.length, allBytes })
    const copying: Copying = {
      hardLinks: this.#options.hardLinks,
      signal: this.#signal,
      onBytes: (count) => this.#tell({ bytes: this.#progress.bytes + count }),
    }
    let before = 0
    for (const blob of blobs) {
      await this.#copyBlob(blob, copying)
      // Whatever was read of it: what was there already counts as done too.
      before += blob.size
      this.#tell({ blobs: this.#progress.blobs + 1, bytes: before })
    }
  }

  async #copyBlob({ digest, size }: StoredBlob, copying: Copying): Promise<void> {
    this.#signal.throwIfAborted()
    const path = this.#pool.pathOf(digest)
    if (!(await this.#pool.has(digest, size))) {
      const source = this.#sources.blobs.pathOf(digest)
      try {
        await this.#pool.copyIn(source, digest, size, copying)
        this.#copied += 1
        this.#copiedBytes += size
      } catch (error) {
        const problem = problemOfSource(error, source)
        if (problem === undefined) throw error
        this.#damage.push({ digest, problem })
        return
      }
    }
    this.#lines.push({ digest, size, kind: 'blob', path })
  }

  /** What a row says is there at least; a file that is gone ended with its build meanwhile. */
  async #copyBuildFiles(
    kind: 'contexts' | 'outputs',
    files: readonly BuildFile[],
    place: (id: string) => string,
  ): Promise<void> {
    for (const { id, size } of files) {
      this.#signal.throwIfAborted()
      const source = join(this.#sources.dataDir, buildsDirectory, place(id))
      if ((await sizeOf(source)) < size) {
        this.#gone[kind].push(id)
        continue
      }
      const bytes = createReadStream(source, { end: size - 1 })
      await this.#write(`${buildsDirectory}/${place(id)}`, bytes)
    }
  }

  async #copySecrets(): Promise<void> {
    const { dataDir, configFile } = this.#sources
    const config = await readableConfig(configFile)
    if (config !== undefined) await this.#write('config/berth.toml', [config])
    const { encryption } = this.#options
    if (encryption === undefined) return
    const files = await gatherSecrets({ dataDir, configFile })
    await this.#write(secretsFile, [await sealSecrets(files, encryption)])
  }

  async #write(path: string, pieces: Pieces): Promise<void> {
    this.#files.push(await writeDurably(this.#directory, path, pieces))
  }

  #tell(change: Partial<BackupProgress>): void {
    this.#progress = { ...this.#progress, ...change }
    this.#options.onProgress(this.#progress)
  }
}

/** What is wrong with the store's own file; undefined where something else is, such as a full disk. */
function problemOfSource(error: unknown, source: string): string | undefined {
  if (error instanceof DamagedSource) return error.message
  const { code, path, syscall } = error as NodeJS.ErrnoException
  if (code === 'ENOENT' && path === source) return 'its file is not there'
  return code === 'EIO' && syscall === 'read' ? 'its file cannot be read' : undefined
}

/** -1 where there is no such file. */
async function sizeOf(path: string): Promise<number> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (file === undefined) return -1
  try {
    return (await file.stat()).size
  } finally {
    await file.close()
  }
}
