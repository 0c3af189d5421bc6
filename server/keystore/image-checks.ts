/**
 * Which stored images are checked, and when: right after their push, when a key that signed them
 * changes, and by the clock for whatever was missed. The verdict itself is image-verdict.ts.
 */
import type { FileHandle } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'

import { sourceOf } from '../content/adoption.ts'
import type { BlobStore } from '../content/blob-store.ts'
import type { Digest } from '../content/names.ts'
import type { Database } from '../database.ts'
import { Failure, notFound } from '../failure.ts'
import type { Log } from '../log.ts'
import type { ByteSource } from '../sif/inspect.ts'
import { SignatureThread } from './clear-signed.ts'
import { verdictOf } from './image-verdict.ts'
import type { Verdict } from './image-verdict.ts'
import {
  currentTime,
  findCertificateOf,
  isUnchecked,
  listDue,
  listTouched,
  putVerdict,
  sizeOfSif,
} from './verdict-rows.ts'

export interface WorkedOff {
  readonly checked: number
  readonly failed: number
}

/** What a push waits for: images of some GiB are still being read then. */
const arrivalMs = 2000
/** Of one run by the clock, which comes every minute; an image that was begun is finished. */
const runMs = 45_000
const batch = 20

export class ImageChecks {
  readonly #database: Database
  readonly #blobs: BlobStore
  readonly #log: Log
  readonly #thread = new SignatureThread()
  readonly #running = new Set<Promise<unknown>>()
  /** Changed certificates, one after the other: the images of one may be many. */
  #changes: Promise<void> = Promise.resolve()
  #isClosing = false

  constructor(database: Database, blobs: BlobStore, log: Log) {
    this.#database = database
    this.#blobs = blobs
    this.#log = log
  }

  /**
   * Checks a stored SIF now, by the keys that are here now, and writes the verdict down. Takes as
   * long as reading the file does where a known key has signed it. Failure `not-found` when there is
   * no SIF with this digest; the database's and the disk's errors pass through.
   */
  async check(digest: Digest): Promise<Verdict> {
    const startedAt = await currentTime(this.#database)
    const size = await sizeOfSif(this.#database, digest)
    if (size === undefined) throw notFound('image', 'There is no image with this hash.')
    const verdict = await this.#read(digest, size)
    await putVerdict(this.#database, digest, verdict, startedAt)
    return verdict
  }

  /** By the keys that are here now; nothing is written down. */
  async verify(source: ByteSource): Promise<Verdict> {
    return await verdictOf(
      source,
      async (key, primary) => await findCertificateOf(this.#database, key, primary),
      this.#thread,
    )
  }

  async #read(digest: Digest, size: number): Promise<Verdict> {
    const file = await this.#blobs.openBlob(digest, size)
    try {
      return await this.verify(this.#source(file, size))
    } catch (error) {
      // It was taken by rules of an earlier version: that no client can read it is a verdict.
      if (!(error instanceof Failure && error.kind === 'invalid')) throw error
      return {
        signed: true,
        state: 'invalid',
        signers: [],
        reason: error.message,
        recheckAt: undefined,
      }
    } finally {
      await file.close()
    }
  }

  /** Stops in the middle of a file when the server closes: the next start goes on. */
  #source(file: FileHandle, size: number): ByteSource {
    const source = sourceOf(file, size)
    return {
      size,
      read: async (offset, length) => {
        if (this.#isClosing) {
          throw new Failure('unavailable', 'image', 'The server is closing: try again in a moment.')
        }
        return await source.read(offset, length)
      },
    }
  }

  /**
   * After a push: the image is checked, and the answer waits for it two seconds at the most. The push
   * has succeeded whatever comes of it, so that this never fails.
   */
  async arrived(digest: Digest): Promise<void> {
    const check = this.#inBackground(async () => {
      if (await isUnchecked(this.#database, digest)) await this.check(digest)
    })
    const timer = new AbortController()
    const { signal } = timer
    await Promise.race([check, setTimeout(arrivalMs, undefined, { signal }).catch(() => undefined)])
    timer.abort()
  }

  /** After a change of a certificate: its images get their new verdicts in the background. */
  certificateChanged(fingerprint: string): void {
    const before = this.#changes
    this.#changes = this.#inBackground(async () => {
      await before
      // Where there are more, the clock brings the rest.
      for (const digest of await listTouched(this.#database, fingerprint, batch)) {
        await this.check(digest)
      }
    })
  }

  /** Checks what has no verdict, or one that may be another by now; nothing, where nothing is due. */
  async workOff(): Promise<WorkedOff> {
    const began = Date.now()
    const before = await currentTime(this.#database)
    const failed: Digest[] = []
    let checked = 0
    for (;;) {
      const due = await listDue(this.#database, { before, except: failed, limit: batch })
      if (due.length === 0) return { checked, failed: failed.length }
      for (const digest of due) {
        if (this.#isClosing || Date.now() - began > runMs) return { checked, failed: failed.length }
        try {
          await this.check(digest)
          checked += 1
        } catch (error) {
          // One damaged file must not keep the others waiting.
          failed.push(digest)
          this.#log.warn({ err: error, 'image.digest': digest }, 'an image could not be checked')
        }
      }
    }
  }

  /** Ends what is running; what was not finished is due again. */
  async close(): Promise<void> {
    this.#isClosing = true
    await Promise.all(this.#running)
    await this.#thread.close()
  }

  async #inBackground(work: () => Promise<void>): Promise<void> {
    const running = work().catch((error: unknown) => {
      if (!this.#isClosing) this.#log.warn({ err: error }, 'an image could not be checked')
    })
    this.#running.add(running)
    try {
      await running
    } finally {
      this.#running.delete(running)
    }
  }
}
