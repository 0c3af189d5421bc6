/** The names in a build context: each a plain path below the root, and one kind of thing only. */
import { invalid } from '../failure.ts'
import type { Failure } from '../failure.ts'

export type EntryKind = 'file' | 'directory'

const maxNameBytes = 4096
const maxPartBytes = 255
/** Of all names together, with those of the directories above them: they are held in memory. */
const maxTotalBytes = 32 * 1024 * 1024

export class ContextNames {
  readonly #maxEntries: number
  readonly #kinds = new Map<string, EntryKind>()
  #bytes = 0

  constructor(maxEntries: number) {
    this.#maxEntries = maxEntries
  }

  /**
   * Older clients send a file once for each line of %files that covers it, so that a name may come
   * again, as the same kind of thing. Throws `invalid` for what must not be unpacked.
   */
  add(name: string, kind: EntryKind): void {
    const parts = partsOf(name)
    let path = ''
    for (const [index, part] of parts.entries()) {
      path = index === 0 ? part : `${path}/${part}`
      this.#put(path, index < parts.length - 1 ? 'directory' : kind)
    }
  }

  #put(path: string, kind: EntryKind): void {
    const known = this.#kinds.get(path)
    if (known === kind) return
    if (known !== undefined) throw bad(path, 'is a file and a directory in it')
    this.#bytes += path.length
    if (this.#kinds.size >= this.#maxEntries || this.#bytes > maxTotalBytes) {
      throw tooMany(this.#kinds.size)
    }
    this.#kinds.set(path, kind)
  }
}

export function tooMany(entries: number): Failure {
  return invalid(
    'context',
    `The build comes with more than ${entries} files and directories, and that is the limit: send fewer.`,
  )
}

function partsOf(name: string): readonly string[] {
  if (name.startsWith('/')) throw bad(name, 'begins with a slash')
  if (Buffer.byteLength(name) > maxNameBytes) throw bad(name, 'is too long')
  if (/[\p{Cc}\ufffd]/u.test(name)) throw bad(name, 'has control characters or is not UTF-8')
  const parts = name.split('/')
  for (const part of parts) {
    if (part === '' || part === '.' || part === '..') throw bad(name, 'is no plain path')
    if (Buffer.byteLength(part) > maxPartBytes) throw bad(name, 'is too long')
  }
  return parts
}

function bad(name: string, what: string): Failure {
  const shown = name.slice(0, 100).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, '?')
  return invalid('context', `"${shown}" in the files of the build ${what}.`)
}
