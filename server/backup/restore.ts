/**
 * Brings a backup back onto an empty host: the bytes first, then the rows, so that at no moment a row
 * is without its file; then the secrets. Until the caller has checked the result and taken the mark
 * away (restore-marker.ts), nothing else opens the data directory. A restore that was broken off goes
 * on where it was.
 */
import { copyFile, mkdir, readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'

import { forgetBuildFiles } from '../builds/inventory.ts'
import { BlobStore } from '../content/blob-store.ts'
import { parseDigest } from '../content/names.ts'
import { endAllUploads } from '../content/quota.ts'
import { loadDump, readDumpIndex } from '../database-dump.ts'
import { openDatabase, sql } from '../database.ts'
import type { Database, DatabaseAddress, Db } from '../database.ts'
import { syncDirectory, writeDurably } from '../durable-file.ts'
import { Failure } from '../failure.ts'
import type { Log } from '../log.ts'
import { migrate, migrationStates } from '../migrate.ts'
import { BlobPool } from './blob-pool.ts'
import { buildsDirectory, databaseDirectory, pathOf, readBlobLines } from './layout.ts'
import type { BackupManifest } from './layout.ts'
import { markRestore, unfinishedRestore } from './restore-marker.ts'
import type { SecretFile } from './secrets-archive.ts'
import { verifyOwnFiles } from './verify.ts'

export interface RestoreTarget {
  readonly dataDir: string
  readonly databaseAddress: DatabaseAddress
  readonly log: Log
}

export interface RestoreOptions {
  readonly directory: string
  /** From the archive; undefined: Berth makes new keys for itself when it starts. */
  readonly secrets: readonly SecretFile[] | undefined
  readonly signal: AbortSignal
  readonly onProgress: (done: { readonly bytes: number; readonly allBytes: number }) => void
}

/** Refuses a data directory with anything in it but this very restore. Asked before PostgreSQL starts. */
export async function requireEmptyDirectory(dataDir: string, name: string): Promise<void> {
  const unfinished = unfinishedRestore(dataDir)
  if (unfinished === name) return
  const names = await readdir(dataDir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  if (unfinished !== undefined) {
    throw refused(`${dataDir} holds an unfinished restore of ${unfinished}: name that backup`)
  }
  if (names.some((one) => one !== 'lost+found')) {
    throw refused(`${dataDir} is not empty: move away what is there (mv ${dataDir} ${dataDir}.old)`)
  }
}

/** Refuses what a restore could not finish, before it begins. */
export async function requireRestorable(
  directory: string,
  manifest: BackupManifest,
): Promise<void> {
  const [bad] = await verifyOwnFiles(directory, manifest)
  if (bad !== undefined) {
    throw new Failure(
      'invalid',
      'storage',
      `The backup ${manifest.name} is damaged (${bad.file}: ${bad.problem}): take another one.`,
    )
  }
  const { migrations } = await readDumpIndex(pathOf(directory, manifest.name, databaseDirectory))
  const ours = new Map(
    (await migrationStates({ query: async () => [] })).map((one) => [one.name, one.checksum]),
  )
  const foreign = migrations.find(({ name, checksum }) => ours.get(name) !== checksum)
  if (foreign === undefined) return
  throw new Failure(
    'conflict',
    'database',
    ours.has(foreign.name)
      ? `The backup was made with another ${foreign.name}: use the release that made it (${manifest.berthVersion}).`
      : `The backup is of a newer Berth (${manifest.berthVersion}, ${foreign.name}): install that version or a newer one.`,
  )
}

/** Leaves everything in place and marked as unfinished. */
export async function restoreBackup(
  target: RestoreTarget,
  manifest: BackupManifest,
  options: RestoreOptions,
): Promise<void> {
  const { dataDir } = target
  const database = openDatabase(target.databaseAddress, target.log)
  try {
    const isLoaded = await requireEmptyDatabase(database, manifest, dataDir)
    await markRestore(dataDir, manifest.name)
    const store = await BlobStore.recreate(join(dataDir, 'store'), manifest.storeId)
    await copyBlobs(store, manifest, options)
    await copyBuildFiles(dataDir, manifest, options.directory)
    await putSecrets(dataDir, options.secrets ?? [])
    if (!isLoaded) await loadRows(target, database, manifest, options.directory)
  } finally {
    await database.close()
  }
}

/** True when an earlier try of this restore had come as far as the rows, which are loaded all at once. */
async function requireEmptyDatabase(
  database: Database,
  manifest: BackupManifest,
  dataDir: string,
): Promise<boolean> {
  const [found] = await database.query<{ tables: number; store: boolean }>(sql`
    select count(*) as "tables", bool_or(relname = 'store') is true as "store" from pg_class
    where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p')`)
  if (found === undefined || found.tables === 0) return false
  const [row] = found.store ? await database.query<{ id: string }>(sql`select id from store`) : []
  if (found.store && row === undefined) return false
  if (row?.id === manifest.storeId && unfinishedRestore(dataDir) === manifest.name) return true
  throw refused('the database is not empty: name an empty one in [database], or drop what it holds')
}

async function copyBlobs(
  store: BlobStore,
  manifest: BackupManifest,
  { directory, signal, onProgress }: RestoreOptions,
): Promise<void> {
  const pool = new BlobPool(directory)
  const all = await readBlobLines(directory, manifest.name)
  const lines = all.filter(({ kind }) => kind === 'blob')
  const allBytes = lines.reduce((sum, { size }) => sum + size, 0)
  let bytes = 0
  const reading = {
    signal,
    onBytes: (count: number): void => {
      bytes += count
      onProgress({ bytes, allBytes })
    },
  }
  for (const line of lines) {
    const digest = parseDigest(line.digest)
    await store.readmit(digest, async (unfinished) => {
      await pool.copyOut(digest, line.size, unfinished, reading)
    })
  }
  await store.syncAll()
}

async function copyBuildFiles(
  dataDir: string,
  manifest: BackupManifest,
  directory: string,
): Promise<void> {
  for (const { path } of manifest.files) {
    if (!path.startsWith(`${buildsDirectory}/`)) continue
    const target = join(dataDir, path)
    await mkdir(dirname(target), { recursive: true, mode: 0o700 })
    await copyFile(pathOf(directory, manifest.name, path), target)
  }
}

/** Those of the configuration stay in the archive: the host's own configuration is in force. */
async function putSecrets(dataDir: string, secrets: readonly SecretFile[]): Promise<void> {
  const own = secrets.filter(({ path }) => /^data\/secrets\/[A-Za-z0-9._-]+$/.test(path))
  for (const { path, content } of own) {
    await writeDurably(dataDir, path.slice('data/'.length), [content])
  }
  if (own.length > 0) await syncDirectory(join(dataDir, 'secrets'))
}

async function loadRows(
  target: RestoreTarget,
  database: Database,
  manifest: BackupManifest,
  directory: string,
): Promise<void> {
  const dump = pathOf(directory, manifest.name, databaseDirectory)
  const { migrations } = await readDumpIndex(dump)
  await migrate(database, { only: migrations.map(({ name }) => name) })
  await loadDump(target.databaseAddress, dump, async (tx) => {
    await tx.query(sql`delete from deletion_holds`)
    await endAllUploads(tx)
    await forgetBuildFiles(tx, manifest.gone)
    await rememberBackup(tx, manifest, directory)
  })
}

/** The row of the backup itself was written while it ran. */
async function rememberBackup(tx: Db, manifest: BackupManifest, directory: string): Promise<void> {
  const { name, blobs, damage, endedAt } = manifest
  await tx.query(sql`
    update backups set outcome = ${damage.length > 0 ? 'damaged' : 'complete'},
      ended_at = ${endedAt}, blobs = ${blobs.count}, bytes = ${blobs.bytes},
      copied_bytes = ${blobs.copiedBytes}, directory = ${directory}
    where name = ${name} and outcome = 'running'`)
}

function refused(what: string): Failure {
  return new Failure('conflict', 'storage', `A restore needs an empty host, and ${what}.`)
}
