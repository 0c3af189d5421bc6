import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { gzipSync } from 'node:zlib'

import { Header, Pax } from 'tar'

import {
  checkContext,
  unpackContext,
  usualContextLimits,
} from '../../server/builds/context-archive.ts'
import type { ContextLimits } from '../../server/builds/context-archive.ts'
import { Failure } from '../../server/failure.ts'

// Build contexts: what the clients pack is taken, and what would do harm is not.

const root = mkdtempSync(join(tmpdir(), 'berth-context-'))
test.after(() => rmSync(root, { recursive: true }))

type HeaderData = ConstructorParameters<typeof Header>[0]
type Fields = Exclude<HeaderData, Buffer | undefined>

function entry(path: string, data = '', fields: Fields = {}): Buffer {
  const size = Buffer.byteLength(data)
  const header = new Header({
    path,
    type: 'File',
    mode: 0o644,
    size,
    mtime: new Date(0),
    ...fields,
  })
  header.encode()
  const block = header.block ?? assert.fail('no block')
  return Buffer.concat([block, padded(Buffer.from(data))])
}

function padded(data: Buffer): Buffer {
  return Buffer.concat([data, Buffer.alloc((512 - (data.length % 512)) % 512)])
}

const end = Buffer.alloc(1024)

function archive(...entries: readonly Buffer[]): Buffer {
  return gzipSync(Buffer.concat([...entries, end]))
}

let count = 0
function stored(bytes: Buffer): string {
  count += 1
  const file = join(root, `${count}.tar.gz`)
  writeFileSync(file, bytes)
  return file
}

function longName(name: string): Buffer {
  return entry('././@LongLink', `${name}\0`, { type: 'NextFileHasLongPath' })
}

function extended(fields: Fields): Buffer {
  return new Pax(fields).encode()
}

/** A header whose bytes are changed afterwards, with the right checksum again. */
function patched(block: Buffer, offset: number, bytes: string): Buffer {
  const copy = Buffer.from(block)
  copy.write(bytes, offset, 'latin1')
  copy.fill(0x20, 148, 156)
  const sum = copy.subarray(0, 512).reduce((total, byte) => total + byte, 0)
  copy.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return copy
}

const hostile: readonly {
  readonly name: string
  readonly bytes: Buffer
  readonly says: RegExp
  readonly limits?: Partial<ContextLimits>
}[] = [
  { name: 'nothing', bytes: Buffer.alloc(0), says: /ends too early/ },
  { name: 'no gzip', bytes: Buffer.from('hello'), says: /broken/ },
  { name: 'a tar without gzip', bytes: Buffer.concat([entry('a', 'x'), end]), says: /broken/ },
  { name: 'gzip of something else', bytes: gzipSync(Buffer.alloc(2048, 'x')), says: /no tar/ },
  {
    name: 'an archive in an archive',
    bytes: gzipSync(archive(entry('a', 'x'))),
    says: /no tar|too early/,
  },
  {
    name: 'a cut archive',
    bytes: archive(entry('a', 'x'.repeat(5000))).subarray(0, 60),
    says: /too early/,
  },
  {
    name: 'a file that ends early',
    bytes: gzipSync(entry('a', 'x'.repeat(5000)).subarray(0, 1024)),
    says: /too early/,
  },
  {
    name: 'a header that ends early',
    bytes: gzipSync(entry('a').subarray(0, 100)),
    says: /too early/,
  },
  { name: 'a slash first', bytes: archive(entry('/etc/passwd', 'x')), says: /begins with a slash/ },
  { name: 'a way out', bytes: archive(entry('../x', 'x')), says: /no plain path/ },
  {
    name: 'a way out in the middle',
    bytes: archive(entry('a/../../x', 'x')),
    says: /no plain path/,
  },
  {
    name: 'a directory out',
    bytes: archive(entry('..', '', { type: 'Directory' })),
    says: /no plain path/,
  },
  {
    name: 'a way out in a long name',
    bytes: archive(longName(`${'a/'.repeat(80)}${'../'.repeat(90)}x`), entry('a', 'x')),
    says: /no plain path/,
  },
  {
    name: 'a way out in a pax name',
    bytes: archive(extended({ path: '../../x' }), entry('a', 'x')),
    says: /no plain path/,
  },
  { name: 'two slashes', bytes: archive(entry('a//b', 'x')), says: /no plain path/ },
  { name: 'a dot', bytes: archive(entry('./a', 'x')), says: /no plain path/ },
  {
    name: 'a control character',
    bytes: archive(entry('a\x1b[2J', 'x')),
    says: /control characters/,
  },
  { name: 'a line break', bytes: archive(entry('a\nb', 'x')), says: /control characters/ },
  {
    name: 'a name that is no UTF-8',
    bytes: archive(patched(entry('abc', ''), 1, '\xff')),
    says: /UTF-8/,
  },
  {
    name: 'a pax name that cannot be read',
    bytes: archive(entry('x', '99 path=../x\n', { type: 'ExtendedHeader' }), entry('a', 'x')),
    says: /cannot be read/,
  },
  {
    name: 'a name of 5000 bytes',
    bytes: archive(longName('a/'.repeat(2500) + 'x'), entry('a', 'x')),
    says: /too long/,
  },
  {
    name: 'a part of 300 bytes',
    bytes: archive(longName('a'.repeat(300)), entry('a', 'x')),
    says: /too long/,
  },
  {
    name: 'a name of 1 MiB',
    bytes: archive(longName('a'.repeat(1024 * 1024)), entry('a', 'x')),
    says: /too long/,
  },
  {
    name: 'a name without an end',
    bytes: archive(
      patched(entry('././@LongLink', '', { type: 'NextFileHasLongPath' }), 124, '77777777777\0'),
    ),
    says: /too long/,
  },
  {
    name: 'a symbolic link',
    bytes: archive(entry('a', '', { type: 'SymbolicLink', linkpath: '/etc' }), entry('a/b', 'x')),
    says: /"a" .* link/,
  },
  {
    name: 'a harmless link',
    bytes: archive(entry('a', 'x'), entry('b', '', { type: 'SymbolicLink', linkpath: 'a' })),
    says: /"b" .* link/,
  },
  {
    name: 'a hard link',
    bytes: archive(entry('a', '', { type: 'Link', linkpath: '../../etc/passwd' })),
    says: /"a" .* link/,
  },
  {
    name: 'a character device',
    bytes: archive(entry('a', '', { type: 'CharacterDevice', devmaj: 1, devmin: 3 })),
    says: /neither/,
  },
  {
    name: 'a block device',
    bytes: archive(entry('a', '', { type: 'BlockDevice' })),
    says: /neither/,
  },
  { name: 'a pipe', bytes: archive(entry('a', '', { type: 'FIFO' })), says: /neither/ },
  {
    name: 'a sparse file',
    bytes: archive(entry('a', '', { type: 'SparseFile' })),
    says: /neither/,
  },
  {
    name: 'a file that is a directory',
    bytes: archive(entry('a', '', { type: 'Directory' }), entry('a', 'x')),
    says: /file and a directory/,
  },
  {
    name: 'a directory that is a file',
    bytes: archive(entry('a', 'x'), entry('a', '', { type: 'Directory' })),
    says: /file and a directory/,
  },
  {
    name: 'a file in a file',
    bytes: archive(entry('a', 'x'), entry('a/b', 'x')),
    says: /file and a directory/,
  },
  {
    name: 'a size below zero',
    bytes: archive(patched(entry('a'), 124, '\xff'.repeat(12))),
    says: /broken/,
  },
  {
    name: 'a size beyond numbers',
    bytes: archive(patched(entry('a'), 124, `\x80\x00${'\x7f'.repeat(10)}`)),
    says: /broken|bytes, and that is the limit/,
  },
  {
    name: 'a size that is no number',
    bytes: archive(patched(entry('a'), 124, 'zzzzzzzzzzz\0')),
    says: /broken/,
  },
  {
    name: 'a size that is claimed',
    bytes: archive(
      patched(entry('a'), 124, '77777777777\0'),
      patched(entry('b'), 124, '77777777777\0'),
    ),
    says: /too early/,
  },
  {
    name: 'a claimed size over the limit',
    bytes: archive(patched(entry('a'), 124, '77777777777\0')),
    says: /1000 bytes/,
    limits: { maxBytes: 1000 },
  },
  {
    name: 'many bytes in many files',
    bytes: archive(entry('a', 'x'.repeat(600)), entry('b', 'x'.repeat(600))),
    says: /1000 bytes/,
    limits: { maxBytes: 1000 },
  },
  {
    name: 'the same file again and again',
    bytes: archive(entry('a', 'x'.repeat(600)), entry('a', 'x'.repeat(600))),
    says: /1000 bytes/,
    limits: { maxBytes: 1000 },
  },
  {
    name: 'many files',
    bytes: archive(...Array.from({ length: 30 }, (_, at) => entry(`f${at}`))),
    says: /more than 20/,
    limits: { maxEntries: 20 },
  },
  {
    name: 'many directories in one name',
    bytes: archive(entry(`${'d/'.repeat(30)}x`)),
    says: /more than 20/,
    limits: { maxEntries: 20 },
  },
  {
    name: 'a bomb',
    bytes: archive(entry('a', '0'.repeat(80 * 1024 * 1024))),
    says: /200 times larger/,
  },
  {
    name: 'a bomb of headers',
    bytes: archive(Buffer.concat(Array.from({ length: 5001 }, () => entry('a')))),
    says: /more than 5000/,
    limits: { maxEntries: 5000 },
  },
  {
    name: 'a bomb of headers about all',
    bytes: gzipSync(
      Buffer.concat(
        Array.from({ length: 8 }, () =>
          Buffer.concat(
            Array.from({ length: 2000 }, () => entry('g', '', { type: 'GlobalExtendedHeader' })),
          ),
        ),
      ),
    ),
    says: /too many entries/,
    limits: { maxEntries: 5000 },
  },
]

for (const { name, bytes, says, limits } of hostile) {
  test(`refused, and nothing is written outside: ${name}`, async () => {
    const file = stored(bytes)
    const all = { ...usualContextLimits, ...limits }
    const isSaid = (error: unknown): boolean => {
      assert.ok(error instanceof Failure, String(error))
      assert.equal(`${error.kind} ${error.subject}`, 'invalid context')
      assert.match(error.message, says)
      assert.doesNotMatch(error.message, /\p{Cc}/u)
      return true
    }
    await assert.rejects(checkContext(file, all), isSaid)
    const around = join(root, `around-${count}`)
    mkdirSync(join(around, 'in'), { recursive: true })
    await assert.rejects(unpackContext(file, join(around, 'in'), all), isSaid)
    assert.deepEqual(readdirSync(around), ['in'])
  })
}

test('what a client packs is checked and unpacked', async () => {
  const deep = `${'directory/'.repeat(30)}file`
  const file = stored(
    archive(
      entry('home', '', { type: 'Directory', mode: 0o500 }),
      entry('home/u', '', { type: 'Directory', mode: 0o755 }),
      entry('home/u/run', '#!/bin/sh\n', { mode: 0o4755 }),
      entry('home/u/run', '#!/bin/sh\ntrue\n', { mode: 0o755 }),
      entry('empty'),
      longName(deep),
      entry('short', 'deep'),
      extended({ path: 'dänisch.txt', size: 3 }),
      entry('short', 'pax'),
      extended({ comment: 'about all' }),
      extended({ path: `${'p/'.repeat(60)}${'q'.repeat(150)}` }),
      entry(`${'p/'.repeat(60)}${'q'.repeat(90)}`, 'prefix'),
      entry('big', 'x'.repeat(200_000)),
    ),
  )
  const expected = { entries: 9, bytes: 10 + 15 + 4 + 3 + 6 + 200_000 }
  assert.deepEqual(await checkContext(file), expected)
  const directory = join(root, 'good')
  mkdirSync(directory)
  assert.deepEqual(await unpackContext(file, directory), expected)
  const read = (name: string): string => readFileSync(join(directory, name), 'utf8')
  assert.equal(read('home/u/run'), '#!/bin/sh\ntrue\n')
  assert.equal(statSync(join(directory, 'home/u/run')).mode & 0o7777, 0o755)
  assert.equal(statSync(join(directory, 'home')).mode & 0o7777, 0o700)
  assert.equal(read('empty'), '')
  assert.equal(read(deep), 'deep')
  assert.equal(read('dänisch.txt'), 'pax')
  assert.equal(read(`${'p/'.repeat(60)}${'q'.repeat(150)}`), 'prefix')
  assert.equal(read('big').length, 200_000)
})

test('an archive of the tar program is taken, with its filling and in two gzip parts', async () => {
  const source = join(root, 'source')
  mkdirSync(join(source, 'a/b'), { recursive: true })
  writeFileSync(join(source, 'a/b/c'), 'c'.repeat(1000))
  writeFileSync(join(source, 'a', 'n'.repeat(200)), 'long')
  const options = { cwd: source, maxBuffer: 1 << 20 }
  for (const format of ['gnu', 'pax', 'ustar']) {
    const what = format === 'ustar' ? 'a/b' : 'a'
    const tar = execFileSync('tar', [`--format=${format}`, '-c', what], options)
    const file = stored(
      Buffer.concat([gzipSync(tar.subarray(0, 700)), gzipSync(tar.subarray(700))]),
    )
    const { bytes } = await checkContext(file)
    assert.equal(bytes, format === 'ustar' ? 1000 : 1004)
  }
})

test('memory does not grow with the files', async () => {
  // Bytes that do not compress, so that the ratio is not what ends it.
  const noise = Buffer.from(
    Array.from({ length: 1 << 16 }, (_, at) => (at * 7919 + (at >> 3) * 31) & 0xff),
  )
  const parts = Array.from({ length: 1500 }, (_, at) =>
    Buffer.concat([entry(`f${at}`, '', { size: noise.length }), noise]),
  )
  const file = stored(archive(...parts))
  parts.length = 0
  globalThis.gc?.()
  const before = process.memoryUsage()
  let peak = 0
  const timer = setInterval(() => {
    const { arrayBuffers, heapUsed } = process.memoryUsage()
    peak = Math.max(peak, arrayBuffers + heapUsed - before.arrayBuffers - before.heapUsed)
  }, 5)
  const { bytes } = await checkContext(file, { ...usualContextLimits, maxRatio: 100_000 })
  clearInterval(timer)
  assert.equal(bytes, 1500 * noise.length)
  assert.ok(peak < 64 * 1024 * 1024, `${peak} bytes`)
})

test('a file that is not there is no fault of the archive', async () => {
  await assert.rejects(checkContext(join(root, 'none')), { code: 'ENOENT' })
})
