/**
 * What is where in a directory of backups (README.txt in it says the same to people):
 *
 *   README.txt  berth-backups.json            whose backups these are
 *   oci-layout  index.json                    the newest one as an OCI image layout over blobs/
 *   blobs/<algorithm>/<hex>                   their bytes, named by their content
 *   incoming/                                 what a backup is just writing
 *   backups/<name>/                           one backup; <name> is its time, 20261121T150405Z
 *     backup.json  images.tsv  blobs.tsv      what it is, the images, all files of blobs/ it needs
 *     database/                               database-dump.ts
 *     builds/  config/  secrets.tar.gpg
 *     COMPLETE                                written last: the SHA-256 of backup.json
 *
 * Files of blobs/ are shared by all backups of the directory. There are no directories of two digits,
 * because an OCI image layout has none.
 */
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { z } from 'zod'

import { Failure } from '../failure.ts'

export const readmeFile = 'README.txt'
export const ownerFile = 'berth-backups.json'
export const backupsDirectory = 'backups'
export const incomingDirectory = 'incoming'
export const manifestFile = 'backup.json'
export const endMarker = 'COMPLETE'
export const secretsFile = 'secrets.tar.gpg'
export const blobsFile = 'blobs.tsv'
export const imagesFile = 'images.tsv'
export const databaseDirectory = 'database'
export const buildsDirectory = 'builds'

const namePattern = /^\d{8}T\d{6}Z$/

const manifestSchema = z.object({
  format: z.literal(1),
  name: z.string().regex(namePattern),
  berthVersion: z.string(),
  storeId: z.string(),
  host: z.string(),
  publicUrl: z.string(),
  startedAt: z.iso.datetime(),
  endedAt: z.iso.datetime(),
  /** The last migration of its database. */
  schema: z.string(),
  secrets: z.enum(['passphrase', 'recipient', 'none']),
  blobs: z.object({
    count: z.number().int(),
    bytes: z.number().int(),
    copied: z.number().int(),
    copiedBytes: z.number().int(),
  }),
  images: z.number().int(),
  /** What the store itself had lost or spoiled when the backup was made. */
  damage: z.array(z.object({ digest: z.string(), problem: z.string() })),
  /** Files of builds that ended while the backup was made. */
  gone: z.object({ contexts: z.array(z.string()), outputs: z.array(z.string()) }),
  /** Every file of the backup but this one and the marker. */
  files: z.array(
    z.object({ path: z.string(), size: z.number().int(), sha256: z.string().length(64) }),
  ),
})

export type BackupManifest = z.infer<typeof manifestSchema>

export interface BackupEntry {
  readonly name: string
  /** Undefined for one that was broken off, or whose end marker is not that of its manifest. */
  readonly manifest: BackupManifest | undefined
}

export function nameOf(time: Date): string {
  return time.toISOString().replace(/[-:]|\.\d+/g, '')
}

export function pathOf(directory: string, name: string, ...file: readonly string[]): string {
  return join(directory, backupsDirectory, name, ...file)
}

/** All backups of the directory, the oldest first; none where there is no such directory. */
export async function listBackups(directory: string): Promise<BackupEntry[]> {
  const names = await readdir(join(directory, backupsDirectory)).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return []
      throw error
    },
  )
  const known = names.filter((name) => namePattern.test(name)).sort()
  return await Promise.all(
    known.map(async (name) => ({ name, manifest: await readManifest(directory, name) })),
  )
}

/** The backup of this name, or the newest whole one. */
export async function findBackup(
  directory: string,
  name: string | undefined,
): Promise<BackupManifest> {
  const entries = await listBackups(directory)
  const entry =
    name === undefined
      ? entries.findLast(({ manifest }) => manifest !== undefined)
      : entries.find((one) => one.name === name)
  if (entry?.manifest !== undefined) return entry.manifest
  const text =
    entry !== undefined
      ? `The backup ${entry.name} was broken off before its end: take another one (berthctl backup list ${directory}).`
      : name === undefined
        ? `There is no whole backup in ${directory}.`
        : `There is no backup ${name} in ${directory}: see berthctl backup list ${directory}.`
  throw new Failure('not-found', 'storage', text)
}

/** Undefined unless the backup was ended: its marker is the hash of this very file. */
async function readManifest(directory: string, name: string): Promise<BackupManifest | undefined> {
  try {
    const marker = await readFile(pathOf(directory, name, endMarker), 'utf8')
    const text = await readFile(pathOf(directory, name, manifestFile))
    if (marker.trim() !== createHash('sha256').update(text).digest('hex')) return undefined
    return manifestSchema.parse(JSON.parse(text.toString()))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    if (error instanceof SyntaxError || error instanceof z.ZodError) return undefined
    throw error
  }
}

/** One line of blobs.tsv. */
export interface BlobLine {
  readonly digest: string
  readonly size: number
  /** A blob of the store; or a document that the database has as well. */
  readonly kind: 'blob' | 'manifest' | 'config'
  /** Below the directory of backups. */
  readonly path: string
}

export const blobsHeader = 'digest\tsize\tkind\tfile\n'

export function printBlobLine({ digest, size, kind, path }: BlobLine): string {
  return `${digest}\t${size}\t${kind}\t${path}\n`
}

export async function readBlobLines(directory: string, name: string): Promise<BlobLine[]> {
  const text = await readFile(pathOf(directory, name, blobsFile), 'utf8')
  return text
    .split('\n')
    .slice(1, -1)
    .map((line) => {
      const [digest = '', size = '', kind = '', path = ''] = line.split('\t')
      return { digest, size: Number(size), kind: kind as BlobLine['kind'], path }
    })
}
