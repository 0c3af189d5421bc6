/**
 * The files that a definition copies, packed as the stock client packs them (scs-build-client,
 * client/archive.go): names below `/`, directories above them included, symbolic links followed.
 */
import { createHash } from 'node:crypto'
import {
  createReadStream,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  statSync,
  unlinkSync,
} from 'node:fs'
import type { Stats } from 'node:fs'
import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { createGzip } from 'node:zlib'

import { Header, Pax } from 'tar'

import type { Definition } from '../../server/builds/definition/definition.ts'
import { contextNamesOf } from '../../server/builds/definition/files.ts'
import { CommandError } from '../exit.ts'
import { printable } from '../printable.ts'
import { expandPattern } from './glob.ts'

export interface PackedContext {
  /** It has no name any more, so that nothing is left whatever ends the command. */
  readonly file: FileHandle
  /** In bytes. */
  readonly size: number
  /** `sha256.` and 64 hex digits. */
  readonly digest: string
}

/** Undefined for a definition that needs no file of this machine. `directory` is absolute. */
export async function packContext(
  definition: Definition,
  directory: string,
): Promise<PackedContext | undefined> {
  const wanted = contextNamesOf(definition, directory)
  if (wanted.length === 0) return undefined
  const names = new Set<string>()
  for (const { name, line } of wanted) {
    const found = expandPattern(name)
    if (found.length === 0) {
      throw new CommandError(`Line ${line}: there is no file "/${printable(name)}".`)
    }
    for (const one of found) addWithParents(one, names)
  }
  const file = await openNameless()
  try {
    const hash = createHash('sha256')
    let size = 0
    const packed = Readable.from(archiveOf(names)).pipe(createGzip())
    for await (const chunk of packed as AsyncIterable<Buffer>) {
      hash.update(chunk)
      await file.writeFile(chunk)
      size += chunk.length
    }
    return { file, size, digest: `sha256.${hash.digest('hex')}` }
  } catch (error) {
    await file.close()
    throw error
  }
}

/** With what is below it when it is a directory. */
function addWithParents(name: string, names: Set<string>): void {
  const parts = name.split('/')
  for (let depth = 1; depth < parts.length; depth += 1) names.add(parts.slice(0, depth).join('/'))
  walk(name, names)
}

/** Links to directories are directories with nothing in them, as for the stock client. */
function walk(name: string, names: Set<string>): void {
  if (name !== '') names.add(name)
  const path = join('/', name)
  if (!statSync(path).isDirectory()) return
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const below = name === '' ? entry.name : `${name}/${entry.name}`
    if (entry.isDirectory()) walk(below, names)
    else names.add(below)
  }
}

async function* archiveOf(names: ReadonlySet<string>): AsyncGenerator<Buffer> {
  for (const name of [...names].sort()) {
    const path = join('/', name)
    const stats = statSync(path)
    if (!stats.isFile() && !stats.isDirectory()) {
      throw new CommandError(`${printable(path)} is neither a file nor a directory.`)
    }
    yield headerOf(name, stats)
    if (stats.isFile() && stats.size > 0) yield* contentOf(path, stats.size)
  }
  yield Buffer.alloc(1024)
}

/** Without owners: the same files make the same archive for everybody. */
function headerOf(name: string, stats: Stats): Buffer {
  const isDirectory = stats.isDirectory()
  const fields = {
    path: isDirectory ? `${name}/` : name,
    size: isDirectory ? 0 : stats.size,
    mtime: new Date(Math.floor(stats.mtimeMs / 1000) * 1000),
  }
  const type = isDirectory ? 'Directory' : 'File'
  const header = new Header({ ...fields, type, mode: stats.mode & 0o7777, uid: 0, gid: 0 })
  const block = Buffer.alloc(512)
  return header.encode(block) ? Buffer.concat([new Pax(fields).encode(), block]) : block
}

async function* contentOf(path: string, size: number): AsyncGenerator<Buffer> {
  let left = size
  const stream = createReadStream(path, { end: size - 1 })
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    left -= chunk.length
    yield chunk
  }
  if (left > 0) throw new CommandError(`${printable(path)} was changed while it was packed.`)
  yield Buffer.alloc((512 - (size % 512)) % 512)
}

async function openNameless(): Promise<FileHandle> {
  const path = join(mkdtempSync(join(tmpdir(), 'berth-context-')), 'context')
  const file = await open(path, 'wx+', 0o600)
  unlinkSync(path)
  rmdirSync(dirname(path))
  return file
}
