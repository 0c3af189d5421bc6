/** The image of a build into a file: resumed where a connection broke, and compared by its hash. */
import { createHash, randomBytes } from 'node:crypto'
import { chmodSync, existsSync, renameSync, rmSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { CommandError } from '../exit.ts'
import { printable } from '../printable.ts'
import type { Build, Builder } from './builder.ts'
import type { Progress } from './progress.ts'
import { streamRequest, textOf } from './stream-request.ts'

/** In a row, without a byte in between. */
const maxAttempts = 6

/** Refuses what could not be written, before anything is built for it. */
export function checkTarget(target: string, force: boolean): void {
  const directory = statSync(dirname(join(target)), { throwIfNoEntry: false })
  if (directory?.isDirectory() !== true) {
    throw new CommandError(`There is no directory ${printable(dirname(target))}.`)
  }
  if (!existsSync(target)) return
  if (!statSync(target).isFile()) throw new CommandError(`${printable(target)} is no file.`)
  if (!force) {
    throw new CommandError(`${printable(target)} exists: say --force to replace it.`)
  }
}

/** Written beside the target and renamed, so that there is never half an image of that name. */
export async function downloadImage(
  builder: Builder,
  build: Build,
  target: string,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const { imageSize: size, imageChecksum: checksum } = build
  const url = imageAddress(builder, build)
  const unfinished = `${target}.${randomBytes(6).toString('hex')}.part`
  const file = await open(unfinished, 'wx+', 0o600)
  try {
    await fetchAll({ builder, url, file, size, progress, signal })
    const found = await hashOf(file)
    if (checksum !== '' && found !== checksum) {
      throw new CommandError(
        'The image arrived with another hash than it was stored with: try again.',
      )
    }
    await file.sync()
    await file.close()
    // As the clients make images: everybody may run it, within the umask.
    chmodSync(unfinished, 0o777 & ~process.umask())
    renameSync(unfinished, target)
  } catch (error) {
    await file.close().catch(() => {})
    rmSync(unfinished, { force: true })
    throw signal.aborted ? new CommandError('The download was interrupted.') : error
  } finally {
    progress.clear()
  }
}

/** By its hash where that is known: the tag may be another image's in a moment. */
function imageAddress({ library }: Builder, build: Build): URL {
  const plain = build.libraryRef.replace(/^library:(?:\/\/)?/, '')
  const path = plain.replace(/:[^:/]*$/, '')
  const tag = plain.slice(path.length + 1) || 'latest'
  const by = build.imageChecksum === '' ? tag : build.imageChecksum
  const prefix = library.pathname.replace(/\/+$/, '')
  const url = new URL(`${prefix}/v1/imagefile/${encodeURI(path)}:${by}`, library)
  url.searchParams.set('arch', build.arch)
  return url
}

interface Fetch {
  readonly builder: Builder
  readonly url: URL
  readonly file: FileHandle
  readonly size: number
  readonly progress: Progress
  readonly signal: AbortSignal
}

async function fetchAll(fetch: Fetch): Promise<void> {
  const { file, size, progress, signal } = fetch
  let position = 0
  let attempts = 0
  while (position < size) {
    const before = position
    try {
      const reply = await openAt(fetch, position)
      if (reply.statusCode === 200) position = 0 // it begins again
      for await (const chunk of reply as AsyncIterable<Buffer>) {
        if (position + chunk.length > size) {
          throw new CommandError('The server sends more than the image.')
        }
        await file.write(chunk, 0, chunk.length, position)
        position += chunk.length
        progress.bytes('Downloading the image:', position, size)
      }
    } catch (error) {
      if (error instanceof CommandError || signal.aborted) throw error
    }
    attempts = position > before ? 0 : attempts + 1
    if (attempts >= maxAttempts) {
      throw new CommandError(
        'The image cannot be downloaded: the connection is lost again and again.',
      )
    }
    if (position < size) await sleep(250 * 2 ** attempts, undefined, { signal })
  }
}

/** Follows the server to where the bytes are; the token goes to the library only. */
async function openAt({ builder, url, signal }: Fetch, position: number): Promise<IncomingMessage> {
  let place = url
  for (let hops = 0; hops < 4; hops += 1) {
    const headers = {
      ...(place.origin === builder.library.origin
        ? { authorization: `Bearer ${builder.token}` }
        : {}),
      ...(position === 0 ? {} : { range: `bytes=${position}-` }),
    }
    const reply = await streamRequest(place, { method: 'GET', headers, signal })
    const status = reply.statusCode ?? 0
    const { location } = reply.headers
    if (status >= 300 && status < 400 && location !== undefined) {
      reply.resume()
      place = new URL(location, place)
      continue
    }
    if (status === 206 && reply.headers['content-range']?.startsWith(`bytes ${position}-`)) {
      return reply
    }
    if (status === 200) return reply
    const text = await textOf(reply)
    // A server that is restarted is worth another attempt.
    if (status >= 500) throw new Error(`HTTP status ${status}`)
    throw new CommandError(
      `The image cannot be downloaded (HTTP status ${status}): ${reason(text)}`,
    )
  }
  throw new CommandError(
    'The image cannot be downloaded: the server sends from one place to another.',
  )
}

function reason(text: string): string {
  return printable(/"message": ?"([^"]*)"/.exec(text)?.[1] ?? 'no reason was given.')
}

async function hashOf(file: FileHandle): Promise<string> {
  const hash = createHash('sha256')
  const stream = file.createReadStream({ start: 0, autoClose: false })
  for await (const chunk of stream as AsyncIterable<Buffer>) hash.update(chunk)
  return `sha256.${hash.digest('hex')}`
}
