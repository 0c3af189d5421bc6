/**
 * The scrub reads every stored file again, once in so many days, and compares it with the digest that
 * is its name. It goes through the blobs in the order of their digests, a portion at a time, and keeps
 * its place in the database: the next process goes on where the last was killed. What does not hold
 * its bytes is moved to the quarantine and never served; the alarm names the images. The bytes come
 * through the page cache: a file that was read just now is not read from the disk again.
 */
import { housekeeper } from '../accounts/accounts.ts'
import { audit } from '../accounts/audit.ts'
import type { Database } from '../database.ts'
import type { Log } from '../log.ts'
import { sizeOfBlob } from './blob-links.ts'
import { lockDigest } from './blob-lock.ts'
import type { BlobStore, FileIdentity } from './blob-store.ts'
import {
  forgetDamage,
  insertDamaged,
  isDamaged,
  listDamaged,
  refreshDamageAlarm,
} from './damage.ts'
import type { DamagedBlob, Fault } from './damage.ts'
import { algorithmOf, hexOf } from './names.ts'
import type { Digest } from './names.ts'
import {
  beginPass,
  finishPass,
  isUploadMoving,
  nextBlobs,
  readPass,
  saveProgress,
  sizeOfStore,
} from './scrub-rows.ts'
import type { ScrubPass, StoreSize } from './scrub-rows.ts'
import { ScrubThread } from './scrub-thread.ts'

export interface ScrubParts {
  readonly database: Database
  readonly blobs: BlobStore
  readonly log: Log
  /** Every file is read once in so many days. */
  readonly days: number
  /** While nobody pushes; a small part of it while somebody does. */
  readonly bytesPerSecond: number
  /** Whether this process takes in bytes at the moment. */
  readonly isPushing: () => boolean
}

export interface ScrubResult {
  readonly blobsRead: number
  readonly bytesRead: number
  readonly damaged: number
  /** The pass came to its end. */
  readonly finished: boolean
}

export interface ScrubStatus {
  readonly pass: ScrubPass
  readonly store: StoreSize
  readonly damaged: readonly DamagedBlob[]
}

export interface ScrubLimits {
  readonly closing: AbortSignal
  /** Told after each blob, and of a pass that goes on with what was read before. */
  readonly onProgress?: (progress: ScrubPass, store: StoreSize) => void
  readonly bytesPerSecond?: number | undefined
}

/** Of one portion by the clock, which comes every five minutes. */
const portionMs = 4 * 60_000
/** A pass aims at this part of its days, so that a night without power does not make it late. */
const ambition = 0.9
/** What pushes leave to the scrub. */
const whilePushing = 1 / 16
const batch = 100
const saveMs = 1000
const paceMs = 50
const askMs = 1000
const quarantineDays = 30
const dayMs = 86_400_000
const attempts = 5
/** Errors that the disk itself reports of a file; others are the server's trouble, not the file's. */
const unreadable = new Set(['EIO', 'EUCLEAN', 'EBADMSG', 'ENODATA', 'EREMOTEIO'])

type Seen = { readonly fault: Fault; readonly file: FileIdentity | undefined } | 'good' | 'stopped'

export class Scrub {
  readonly #parts: ScrubParts
  readonly #thread = new ScrubThread()

  constructor(parts: ScrubParts) {
    this.#parts = parts
  }

  /** By the clock: as much as is due by now, so that the pass ends in its days. */
  async portion(closing: AbortSignal): Promise<ScrubResult> {
    const { database, days } = this.#parts
    const pass = await readPass(database)
    if (pass.beganAt === null) {
      const began = pass.finishedBeganAt?.getTime() ?? 0
      if (Date.now() - began < days * dayMs) {
        await refreshDamageAlarm(database)
        return { blobsRead: 0, bytesRead: 0, damaged: 0, finished: false }
      }
    }
    const until = Date.now() + portionMs
    return await this.#goOn({ closing }, ({ beganAt, blobsRead, bytesRead }, store) => {
      if (Date.now() > until) return true
      const elapsed = Date.now() - (beganAt?.getTime() ?? Date.now())
      const share = Math.min(1, elapsed / (days * dayMs * ambition))
      return share < 1 && bytesRead >= share * store.bytes && blobsRead >= share * store.blobs
    })
  }

  /** To the end of the running pass, or of a new one; whoever asks waits. */
  async whole(options: ScrubLimits & { readonly fromStart: boolean }): Promise<ScrubResult> {
    if (options.fromStart) await beginPass(this.#parts.database)
    return await this.#goOn(options, () => false)
  }

  async status(): Promise<ScrubStatus> {
    const { database } = this.#parts
    const [pass, store] = [await readPass(database), await sizeOfStore(database)]
    return { pass, store, damaged: await listDamaged(database) }
  }

  async close(): Promise<void> {
    await this.#thread.close()
  }

  async #goOn(
    { closing, onProgress, bytesPerSecond = this.#parts.bytesPerSecond }: ScrubLimits,
    isEnough: (pass: ScrubPass, store: StoreSize) => boolean,
  ): Promise<ScrubResult> {
    const { database, blobs } = this.#parts
    await blobs.requireMarker()
    const store = await sizeOfStore(database)
    if ((await readPass(database)).beganAt === null) await beginPass(database)
    const first = await readPass(database)
    const state = { ...first }
    onProgress?.(state, store)
    const done = (finished: boolean): ScrubResult => ({
      blobsRead: state.blobsRead - first.blobsRead,
      bytesRead: state.bytesRead - first.bytesRead,
      damaged: state.damaged - first.damaged,
      finished,
    })
    this.#thread.resume()
    const onClosing = (): void => this.#thread.stop()
    closing.addEventListener('abort', onClosing)
    const pacing = await this.#keepPace(bytesPerSecond)
    let saved = Date.now()
    try {
      for (;;) {
        const rows = await nextBlobs(database, state.cursor, batch)
        for (const row of rows) {
          if (closing.aborted || isEnough(state, store)) return done(false)
          const found = await this.#check(row)
          if (found === 'stopped') return done(false)
          state.cursor = row.digest
          state.blobsRead += 1
          state.bytesRead += row.size
          if (found === 'damaged') state.damaged += 1
          onProgress?.(state, store)
          if (found === 'damaged' || Date.now() - saved > saveMs) {
            await saveProgress(database, state)
            saved = Date.now()
          }
        }
        if (rows.length < batch) break
      }
      await saveProgress(database, state)
      await finishPass(database)
      await this.#clearQuarantine()
      return done(true)
    } finally {
      closing.removeEventListener('abort', onClosing)
      clearInterval(pacing)
      // A portion that ends early has to be found again, whatever ended it.
      await this.#save(state)
      await refreshDamageAlarm(database)
    }
  }

  /** The place of a pass that has not ended meanwhile. */
  async #save(state: ScrubPass): Promise<void> {
    const now = await readPass(this.#parts.database)
    if (now.beganAt !== null && now.pass === state.pass) {
      await saveProgress(this.#parts.database, state)
    }
  }

  /** Looks whether somebody pushes: here all the time, in other processes once a second. */
  async #keepPace(bytesPerSecond: number): Promise<NodeJS.Timeout> {
    const { database, isPushing } = this.#parts
    let elsewhere = await isUploadMoving(database)
    let askedAt = Date.now()
    const look = async (): Promise<void> => {
      const moving = elsewhere || isPushing()
      this.#thread.setPace(moving ? bytesPerSecond * whilePushing : bytesPerSecond)
      if (Date.now() - askedAt < askMs) return
      askedAt = Date.now()
      elsewhere = await isUploadMoving(database).catch(() => true)
    }
    await look()
    return setInterval(() => void look(), paceMs).unref()
  }

  async #check(blob: {
    readonly digest: Digest
    readonly size: number
  }): Promise<'good' | 'damaged' | 'stopped'> {
    const { database } = this.#parts
    for (let attempt = 1; attempt <= attempts; attempt += 1) {
      const seen = await this.#look(blob)
      if (seen === 'stopped') return seen
      if (seen === 'good') {
        // Somebody put the file back by hand.
        if (await isDamaged(database, blob.digest)) {
          await database.transaction(async (tx) => await forgetDamage(tx, blob.digest))
        }
        return seen
      }
      const outcome = await this.#setAside(blob, seen)
      if (outcome !== 'changed') return outcome
    }
    // It changes all the time: somebody pushes it, and every push is hashed.
    return 'good'
  }

  async #look({ digest, size }: { digest: Digest; size: number }): Promise<Seen> {
    const { blobs } = this.#parts
    const file = await blobs.statBlob(digest)
    if (file === undefined) return { fault: 'missing', file }
    if (file.size !== size) return { fault: 'length', file }
    const seen = await this.#thread.read(blobs.pathOf(digest), algorithmOf(digest))
    if (seen.kind === 'stopped') return seen.kind
    if (seen.kind === 'failed') {
      if (seen.code === 'ENOENT') return { fault: 'missing', file: undefined }
      if (unreadable.has(seen.code)) return { fault: 'unreadable', file }
      throw new Error(`the scrub cannot read the store: ${seen.message}`)
    }
    if (seen.file.size !== size) return { fault: 'length', file: seen.file }
    return seen.hex === hexOf(digest) ? 'good' : { fault: 'content', file: seen.file }
  }

  /** Under the blob's lock, and only what is still as it was seen. */
  async #setAside(
    { digest, size }: { readonly digest: Digest; readonly size: number },
    { fault, file }: Exclude<Seen, string>,
  ): Promise<'damaged' | 'good' | 'changed'> {
    const { database, blobs, log } = this.#parts
    await blobs.requireMarker()
    return await database.transaction(async (tx) => {
      await lockDigest(tx, digest)
      // Removed by the sweep meanwhile, and its file with it.
      if ((await sizeOfBlob(tx, digest)) === undefined) return 'good'
      const now = await blobs.statBlob(digest)
      if (now?.inode !== file?.inode || now?.changedAt !== file?.changedAt) return 'changed'
      const quarantinedAs = now === undefined ? null : await blobs.quarantine(digest)
      const foundBytes = now?.size ?? null
      if (await insertDamaged(tx, { digest, fault, foundBytes, quarantinedAs })) {
        const details = { fault, size, foundBytes, quarantinedAs }
        await audit(tx, housekeeper, { action: 'blob.quarantine', target: digest, details })
        log.error({ 'blob.digest': digest, ...details }, 'a stored file is damaged')
      }
      await refreshDamageAlarm(tx)
      return 'damaged'
    })
  }

  /** Files that were put aside and are whole again under their name, or wanted by nobody. */
  async #clearQuarantine(): Promise<void> {
    const { database, blobs } = this.#parts
    const kept = new Set((await listDamaged(database)).map((blob) => blob.quarantinedAs))
    const before = new Date(Date.now() - quarantineDays * dayMs)
    for (const name of await blobs.listQuarantine(before)) {
      if (!kept.has(name)) await blobs.removeQuarantined(name)
    }
  }
}
