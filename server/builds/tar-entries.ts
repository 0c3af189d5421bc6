/** A gzip'ed tar, read from its beginning to its end, with what it may cost bounded on the way. */
import type { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import type { Gunzip } from 'node:zlib'

import { Header, Pax } from 'tar'

import { invalid } from '../failure.ts'
import type { Failure } from '../failure.ts'
import { ByteQueue } from './byte-queue.ts'
import type { EntryKind } from './context-names.ts'

export interface TarEntry {
  /** As it is in the archive, but for the slash behind a directory's. */
  readonly name: string
  readonly kind: EntryKind
  readonly mode: number
  /** In bytes; that many come out of `body`. */
  readonly size: number
  /** To be read to its end, before the next entry is asked for. */
  readonly body: AsyncIterable<Buffer>
}

export interface TarLimits {
  readonly maxEntries: number
  readonly maxBytes: number
  readonly maxRatio: number
}

const blockBytes = 512
/** Small archives of zeros are no danger. */
const ratioFrom = 64 * 1024 * 1024
/** Of a name that does not fit into a header. */
const maxMetaBytes = 16 * 1024

/** Throws Failure('invalid', 'context') for what is no such archive or is larger than it may be. */
export async function* tarEntries(source: Readable, limits: TarLimits): AsyncGenerator<TarEntry> {
  const gunzip = createGunzip()
  source.on('error', (error) => gunzip.destroy(error))
  source.pipe(gunzip)
  try {
    yield* entriesIn(new ByteQueue(bounded(gunzip, limits), endsEarly), limits.maxEntries)
  } finally {
    source.destroy()
    gunzip.destroy()
  }
}

async function* entriesIn(bytes: ByteQueue, maxEntries: number): AsyncGenerator<TarEntry> {
  let long: LongFields = {}
  for (let headers = 1; ; headers += 1) {
    // One for the entry, one for its long name, and one more.
    if (headers > maxEntries * 3) throw damaged('has too many entries')
    const block = await bytes.take(blockBytes)
    // What stands behind the end, or behind the block of zeros that marks it, is none of it.
    if (block === undefined) return
    const header = headerOf(block, long)
    if (header.nullBlock) return
    if (!header.cksumValid) throw damaged('is no tar')
    const size = header.size ?? -1
    if (!Number.isSafeInteger(size) || size < 0) throw damaged('is broken')
    const { typeKey } = header
    if (typeKey === 'L') {
      long = { ...long, path: (await metaText(bytes, size)).replace(/\0.*$/s, '') }
      continue
    }
    if (typeKey === 'x') {
      long = paxOf(await metaText(bytes, size))
      continue
    }
    // About all entries, and the target of a link: of no use here.
    if (typeKey === 'g' || typeKey === 'K') {
      await metaText(bytes, size)
      continue
    }
    if (!/^[057]?$/.test(typeKey)) throw foreign(header)
    // The package puts the header's own directory before a long name as well.
    if (long.path !== undefined) header.path = long.path
    yield typeKey === '5' ? directoryOf(header, bytes) : fileOf(header, size, bytes)
    await bytes.skip(padding(size))
    long = {}
  }
}

/** What a header has no room for, from the entry before it. */
interface LongFields {
  readonly path?: string
  readonly size?: number
}

function headerOf(block: Buffer, long: LongFields): Header {
  try {
    return new Header(block, 0, long)
  } catch (error) {
    throw invalid('context', damage('is broken'), error)
  }
}

function fileOf(header: Header, size: number, bytes: ByteQueue): TarEntry {
  return { ...named(header, 'file'), size, body: bytes.stream(size) }
}

function directoryOf(header: Header, bytes: ByteQueue): TarEntry {
  return { ...named(header, 'directory'), size: 0, body: bytes.stream(0) }
}

function named(header: Header, kind: EntryKind): Pick<TarEntry, 'name' | 'kind' | 'mode'> {
  const path = header.path ?? ''
  const name = kind === 'directory' ? path.replace(/\/$/, '') : path
  return { name, kind, mode: (header.mode ?? 0o644) & 0o777 }
}

async function metaText(bytes: ByteQueue, size: number): Promise<string> {
  if (size > maxMetaBytes) throw damaged('has a name that is too long')
  const text = await bytes.take(size)
  await bytes.skip(padding(size))
  return (text ?? Buffer.alloc(0)).toString()
}

/** Of `x`. The package passes over lines that it cannot read. */
function paxOf(text: string): LongFields {
  const { path, size } = Pax.parse(text)
  if (path === undefined && /(?:^|\n)\d+ path=/.test(text)) {
    throw damaged('has a name that cannot be read')
  }
  return { ...(path === undefined ? {} : { path }), ...(size === undefined ? {} : { size }) }
}

function padding(size: number): number {
  return (blockBytes - (size % blockBytes)) % blockBytes
}

function foreign(header: Header): Failure {
  const isLink = header.typeKey === '1' || header.typeKey === '2'
  const what = isLink ? 'a link' : 'neither a file nor a directory'
  const name = (header.path ?? '').slice(0, 100).replace(/\P{ASCII}|\p{Cc}/gu, '?')
  return invalid(
    'context',
    `"${name}" in the files of the build is ${what}: send what it stands for.`,
  )
}

async function* bounded(gunzip: Gunzip, limits: TarLimits): AsyncGenerator<Buffer> {
  // Headers and the filling behind each file come on top of the files.
  const maxBytes = limits.maxBytes + (limits.maxEntries + 1) * (4 * blockBytes + maxMetaBytes)
  let unpacked = 0
  try {
    for await (const chunk of gunzip as AsyncIterable<Buffer>) {
      unpacked += chunk.length
      if (unpacked > maxBytes) throw invalid('context', 'The files of the build are too large.')
      if (unpacked > ratioFrom && unpacked > gunzip.bytesWritten * limits.maxRatio) {
        throw invalid(
          'context',
          `The files of the build are more than ${limits.maxRatio} times larger than their archive, and are not unpacked.`,
        )
      }
      yield chunk
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code?.startsWith('Z_') !== true) throw error
    throw invalid('context', damage('ends too early or is broken'), error)
  }
}

function endsEarly(): Failure {
  return damaged('ends too early')
}

function damaged(how: string): Failure {
  return invalid('context', damage(how))
}

function damage(how: string): string {
  return `The archive of the build's files ${how}: it is a tar.gz of files and directories.`
}
