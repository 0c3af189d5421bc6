/** The directory of backups itself: whose it is, where a new one begins, and how one ends. */
import { mkdir, readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'

import { syncDirectory, writeDurably } from '../durable-file.ts'
import { Failure } from '../failure.ts'
import {
  backupsDirectory,
  endMarker,
  listBackups,
  manifestFile,
  nameOf,
  ownerFile,
  pathOf,
  readmeFile,
} from './layout.ts'
import type { BackupManifest } from './layout.ts'
import { readmeText } from './readme.ts'

/** Makes the directory, which belongs to one Berth for ever; clears away what was broken off. */
export async function prepareDirectory(
  directory: string,
  owner: { readonly storeId: string; readonly publicUrl: string; readonly dataDir: string },
): Promise<void> {
  if (`${directory}/`.startsWith(`${owner.dataDir}/`)) {
    throw new Failure(
      'invalid',
      'storage',
      `${directory} is in the data directory, which a backup is a copy of: choose another, best on another disk.`,
    )
  }
  await mkdir(join(directory, backupsDirectory), { recursive: true, mode: 0o700 })
  const known = await readFile(join(directory, ownerFile), 'utf8').catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      throw error
    },
  )
  if (known === undefined) {
    const text = `${JSON.stringify({ format: 1, storeId: owner.storeId })}\n`
    await writeDurably(directory, ownerFile, [text])
  } else if ((JSON.parse(known) as { storeId?: unknown }).storeId !== owner.storeId) {
    throw new Failure(
      'conflict',
      'storage',
      `The backups in ${directory} are those of another Berth: choose another directory.`,
    )
  }
  await writeDurably(directory, readmeFile, [readmeText(owner.publicUrl)])
  for (const { name, manifest } of await listBackups(directory)) {
    if (manifest === undefined) await rm(pathOf(directory, name), { recursive: true })
  }
}

/** Names have seconds: a second backup within one is named for the next that is free. */
export async function newBackup(directory: string): Promise<string> {
  const taken = new Set((await listBackups(directory)).map(({ name }) => name))
  for (let time = Date.now(); ; time += 1000) {
    const name = nameOf(new Date(time))
    if (taken.has(name)) continue
    await mkdir(pathOf(directory, name), { mode: 0o700 })
    return name
  }
}

/** Every name is on the disk before the marker is, and the marker before anybody hears of it. */
export async function finishBackup(directory: string, manifest: BackupManifest): Promise<void> {
  const own = pathOf(directory, manifest.name)
  const text = `${JSON.stringify(manifest, null, 1)}\n`
  const { sha256 } = await writeDurably(own, manifestFile, [text])
  const folders = new Set(['.', ...manifest.files.flatMap(({ path }) => foldersOf(path))])
  for (const folder of folders) await syncDirectory(join(own, folder))
  await syncDirectory(join(directory, backupsDirectory))
  await syncDirectory(directory)
  await writeDurably(own, endMarker, [`${sha256}\n`])
  await syncDirectory(own)
}

/** database/tables/tags.copy → database/tables, database */
function foldersOf(path: string): string[] {
  const folder = dirname(path)
  return folder === '.' ? [] : [folder, ...foldersOf(folder)]
}
