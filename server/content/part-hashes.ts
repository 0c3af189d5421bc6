/**
 * How far each multipart upload is hashed already. Parts that arrive in order are hashed on the
 * way; whatever is missing at the end (parts out of order or sent again, a restart) is read from the
 * file. Only kept in memory: losing it costs time, nothing else.
 */
import type { FileHandle } from 'node:fs/promises'

import type { HashThread, StreamHash } from './hash-thread.ts'
import { hashRange } from './incoming.ts'

interface RunningHash {
  readonly hash: StreamHash
  /** Everything before this offset is in the hash. */
  readonly position: number
}

export class PartHashes {
  readonly #thread: HashThread
  readonly #running = new Map<string, RunningHash>()

  constructor(thread: HashThread) {
    this.#thread = thread
  }

  /** The hash to go on with at this offset; undefined when the part comes out of order. */
  begin(uploadId: string, offset: number): StreamHash | undefined {
    const running = this.#running.get(uploadId)
    const position = running?.position ?? 0
    if (offset < position) this.forget(uploadId) // bytes that are hashed are written again
    if (offset !== position) return undefined
    // A copy: a part that breaks off must leave no trace in the hash.
    return running?.hash.copy() ?? this.#thread.newHash()
  }

  /** The part has arrived: the hash from `begin` now covers everything before `position`. */
  keep(uploadId: string, hash: StreamHash, position: number): void {
    this.forget(uploadId)
    this.#running.set(uploadId, { hash, position })
  }

  forget(uploadId: string): void {
    this.#running.get(uploadId)?.hash.dispose()
    this.#running.delete(uploadId)
  }

  /** The hash of the whole file, 64 hex digits. */
  async finish(uploadId: string, file: FileHandle, size: number): Promise<string> {
    const running = this.#running.get(uploadId)
    const hash = running?.hash.copy() ?? this.#thread.newHash()
    await hashRange(file, hash, running?.position ?? 0, size)
    return await hash.digest()
  }
}
