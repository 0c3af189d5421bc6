/**
 * Uploads: how bytes become an image. `open` reserves the quota before the first byte moves,
 * `receiveWhole` or `receivePart` takes the bytes, `complete` compares the hash, inspects the SIF,
 * moves the file to its place and writes the rows; `abort`, failures and expiry give everything
 * back. An upload is a row, so that it is known across restarts; what is held in memory here (which
 * uploads are in use, how far each is hashed) can be lost: it is found again from row and file.
 */
import { randomBytes } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'

import type { Actor } from '../accounts/actor.ts'
import { requireAccount, requirePermission } from '../accounts/permissions.ts'
import type { Database } from '../database.ts'
import { Failure, invalid, notFound } from '../failure.ts'
import { newUploadId } from '../identifiers.ts'
import type { SifFacts } from '../sif/inspect.ts'
import { adopt, inspectFile } from './adoption.ts'
import type { BlobStore } from './blob-store.ts'
import type { HashThread } from './hash-thread.ts'
import { isAnnounced, selectImages } from './images.ts'
import type { ImageRow } from './images.ts'
import { receive } from './incoming.ts'
import { digestOfHex } from './names.ts'
import type { Digest, RepositoryName } from './names.ts'
import { PartHashes } from './part-hashes.ts'
import { forgetPush } from './places.ts'
import type { RepositoryRow } from './places.ts'
import { release, reserve } from './quota.ts'
import type { Registry } from './registry.ts'
import { requireSpace } from './space.ts'
import type { Turns } from './turns.ts'
import {
  deleteUpload,
  findCompletable,
  findStaleRivals,
  findUpload,
  insertUpload,
  listExpired,
  listParts,
  listWholes,
  markActive,
  markInterrupted,
  isUpload,
  markReceived,
  putPart,
} from './upload-rows.ts'
import type { NewUpload, UploadRow } from './upload-rows.ts'

export interface UploadsOptions {
  readonly defaultQuotaBytes: number
  readonly maxImageBytes: number
  /** Wanted size of a part; larger where an image would have more than 10,000 of them. */
  readonly partBytes: number
  readonly keepFreeBytes: number
  readonly expireHours: number
}

export interface OpenedUpload {
  readonly id: string
  readonly partBytes: number
  readonly totalParts: number
}

export interface CompletedPart {
  readonly number: number
  readonly etag: string
}

const maxParts = 10_000

export class Uploads {
  readonly #database: Database
  readonly #blobs: BlobStore
  readonly #registry: Registry
  readonly #thread: HashThread
  readonly #hashes: PartHashes
  readonly #options: UploadsOptions
  /** By upload: one request at a time works on it. By image: completions, one after the other. */
  readonly #turns: Turns

  constructor(
    database: Database,
    blobs: BlobStore,
    registry: Registry,
    hashing: { readonly thread: HashThread; readonly turns: Turns },
    options: UploadsOptions,
  ) {
    this.#database = database
    this.#blobs = blobs
    this.#registry = registry
    this.#thread = hashing.thread
    this.#turns = hashing.turns
    this.#hashes = new PartHashes(hashing.thread)
    this.#options = options
  }

  /** Reserves `size` bytes for an announced image. `parts` asks for a multipart upload. */
  async open(
    actor: Actor,
    name: RepositoryName,
    digest: Digest,
    size: number,
    options: { readonly parts: boolean },
  ): Promise<OpenedUpload> {
    const account = requireAccount(actor)
    const repository = await this.#registry.getRepository(actor, name)
    requirePermission(actor, 'push', repository)
    if (!(await isAnnounced(this.#database, repository.id, digest))) {
      throw notFound(
        'image',
        `There is no image with this hash in ${name.path}: announce it first.`,
      )
    }
    if (size < 1) throw invalid('upload', 'The file is empty.')
    const partBytes = Math.max(this.#options.partBytes, Math.ceil(size / maxParts))
    const upload = {
      id: newUploadId(),
      entityId: repository.entityId,
      repositoryId: repository.id,
      digest,
      size,
      partBytes: options.parts ? partBytes : null,
      accountId: account.accountId,
      tokenId: account.tokenId ?? null,
    }
    try {
      await requireSpace(this.#database, this.#blobs, size, this.#options)
      await this.#reserve(upload)
    } catch (error) {
      throw await this.#forget(repository, digest, error)
    }
    return { id: upload.id, partBytes, totalParts: Math.ceil(size / partBytes) }
  }

  async #reserve(upload: NewUpload): Promise<void> {
    const take = async (): Promise<void> => {
      await this.#database.transaction(async (tx) => {
        await reserve(tx, upload.entityId, upload.size, this.#options.defaultQuotaBytes)
        await insertUpload(tx, upload)
      })
    }
    await take().catch(async (error: unknown) => {
      if (!(error instanceof Failure) || error.kind !== 'over-quota') throw error
      // A push that was broken off may hold just the bytes that its repetition needs.
      const rivals = await findStaleRivals(this.#database, upload.entityId, upload.digest)
      const stale = rivals.filter(({ id }) => !this.#turns.isBusy(id))
      if (stale.length === 0) throw error
      for (const rival of stale) await this.#end(rival)
      await take()
    })
  }

  /** The whole file in one request. `contentLength` is undefined for a body of unknown length. */
  async receiveWhole(
    uploadId: string,
    source: AsyncIterable<Buffer>,
    contentLength: number | undefined,
  ): Promise<void> {
    await this.#use(uploadId, async (upload) => {
      if (upload.partBytes !== null || upload.receivedDigest !== null) throw gone()
      if (contentLength !== undefined && contentLength > upload.size) {
        throw invalid(
          'upload',
          `${contentLength} bytes arrive where ${upload.size} were announced.`,
        )
      }
      const file = await this.#blobs.openIncoming(uploadId)
      const hash = this.#thread.newHash()
      try {
        const received = await receive(source, file, { offset: 0, limitBytes: upload.size, hash })
        await file.datasync()
        await markReceived(this.#database, uploadId, received, digestOfHex(await hash.digest()))
      } catch (error) {
        // Nobody sends these bytes again: the client starts over with a new upload.
        await this.#end(upload)
        throw await this.#forget(placeOf(upload), upload.digest, error)
      } finally {
        await file.close()
      }
    })
  }

  /** One part, in any order; returns its ETag. A part may be sent again. */
  async receivePart(
    uploadId: string,
    number: number,
    source: AsyncIterable<Buffer>,
    contentLength: number | undefined,
  ): Promise<string> {
    return await this.#use(uploadId, async (upload) => {
      const place = placeOfPart(upload, number)
      if (contentLength !== undefined && contentLength !== place.size) {
        throw invalid(
          'upload',
          `Part ${number} must have ${place.size} bytes, not ${contentLength}.`,
        )
      }
      const hash = this.#hashes.begin(uploadId, place.offset)
      const file = await this.#blobs.openIncoming(uploadId)
      try {
        const limit = { offset: place.offset, limitBytes: place.size, hash }
        const received = await receive(source, file, limit)
        if (received !== place.size) {
          throw invalid('upload', `Part ${number} has ${received} bytes instead of ${place.size}.`)
        }
      } catch (error) {
        hash?.dispose()
        await markInterrupted(this.#database, uploadId)
        throw error
      } finally {
        await file.close()
      }
      if (hash) this.#hashes.keep(uploadId, hash, place.offset + place.size)
      const etag = `"${randomBytes(8).toString('hex')}"`
      await putPart(this.#database, uploadId, { number, size: place.size, etag })
      return etag
    })
  }

  /** Checks that part `number` belongs to the caller's upload, for the URL that it is sent to. */
  async requirePart(
    actor: Actor,
    name: RepositoryName,
    digest: Digest,
    uploadId: string,
    number: number,
  ): Promise<void> {
    const upload = await this.#findOwn(actor, name, digest, uploadId)
    placeOfPart(upload, number)
    await markActive(this.#database, uploadId)
  }

  /** Ends an upload in one piece. Repeating it after success succeeds. */
  async completeWhole(actor: Actor, name: RepositoryName, digest: Digest): Promise<ImageRow> {
    const account = requireAccount(actor)
    const repository = await this.#registry.getRepository(actor, name)
    requirePermission(actor, 'push', repository)
    // Several pushes of one image may end at once; each finds what the one before left.
    return await this.#turns.inTurn(`${repository.id} ${digest}`, async () => {
      const { accountId } = account
      return await this.#completeOne(actor, name, repository, digest, accountId)
    })
  }

  async #completeOne(
    actor: Actor,
    name: RepositoryName,
    repository: RepositoryRow,
    digest: Digest,
    accountId: string,
  ): Promise<ImageRow> {
    const upload = await findCompletable(this.#database, repository.id, digest, accountId)
    if (upload === undefined) return await this.#alreadyThere(repository, digest)
    return await this.#use(upload.id, async () => {
      if (upload.receivedDigest === null) {
        throw await this.#refuse(
          upload,
          invalid('upload', 'The file has not arrived: push it again.'),
        )
      }
      if (upload.receivedBytes !== upload.size) {
        const text = `The file arrived cut short: ${upload.receivedBytes} of ${upload.size} bytes. Push it again.`
        throw await this.#refuse(upload, invalid('upload', text))
      }
      const { receivedDigest } = upload
      return await this.#finish(actor, name, upload, async () => receivedDigest)
    })
  }

  /** Ends a multipart upload; `parts` are the ETags that the client got. */
  async completeParts(
    actor: Actor,
    name: RepositoryName,
    digest: Digest,
    uploadId: string,
    parts: readonly CompletedPart[],
  ): Promise<ImageRow> {
    const found = await this.#findOwn(actor, name, digest, uploadId).catch((error: unknown) => {
      if (error instanceof Failure && error.kind === 'not-found') return undefined
      throw error
    })
    if (found === undefined) {
      const repository = await this.#registry.getRepository(actor, name)
      return await this.#alreadyThere(repository, digest)
    }
    return await this.#use(uploadId, async (upload) => {
      const { partBytes } = upload
      if (partBytes === null) throw gone()
      await this.#requireParts(upload, Math.ceil(upload.size / partBytes), parts)
      return await this.#finish(actor, name, upload, async (file) => {
        const hex = await this.#hashes.finish(uploadId, file, upload.size)
        await file.datasync()
        return digestOfHex(hex)
      })
    })
  }

  /** Compares, inspects, adopts; for whatever is wrong with the file the upload ends. */
  async #finish(
    actor: Actor,
    name: RepositoryName,
    upload: UploadRow,
    digestOf: (file: FileHandle) => Promise<Digest>,
  ): Promise<ImageRow> {
    const file = await this.#blobs.openIncoming(upload.id)
    try {
      const facts = await this.#check(upload, file, digestOf)
      const defaultQuota = this.#options.defaultQuotaBytes
      const image = { name, upload, facts, defaultQuota }
      return await adopt(this.#database, this.#blobs, actor, image)
    } catch (error) {
      // With the database or the disk in trouble the file is kept: the client may ask again.
      const final = error instanceof Failure && error.kind === 'invalid'
      throw final ? await this.#refuse(upload, error) : error
    } finally {
      this.#hashes.forget(upload.id)
      await file.close()
    }
  }

  async #check(
    upload: UploadRow,
    file: FileHandle,
    digestOf: (file: FileHandle) => Promise<Digest>,
  ): Promise<SifFacts> {
    const { size, digest } = upload
    const present = (await file.stat()).size
    if (present !== size) {
      // A crash may have taken bytes that were not yet flushed.
      throw invalid('upload', `Only ${present} of ${size} bytes are there: push the image again.`)
    }
    const received = await digestOf(file)
    if (received !== digest) {
      const text = `The file that arrived has the hash ${received}, but ${digest} was announced. Push it again.`
      throw invalid('digest', text)
    }
    return await inspectFile(file, size)
  }

  async #requireParts(
    upload: UploadRow,
    totalParts: number,
    parts: readonly CompletedPart[],
  ): Promise<void> {
    const stored = new Map((await listParts(this.#database, upload.id)).map((p) => [p.number, p]))
    const named = new Map(parts.map((part) => [part.number, part.etag]))
    if (stored.size !== totalParts || named.size !== totalParts) {
      throw invalid('upload', `${stored.size} of ${totalParts} parts have arrived.`)
    }
    for (const [number, etag] of named) {
      if (stored.get(number)?.etag === etag) continue
      throw invalid('upload', `Part ${number} is not the one that was stored: send it again.`)
    }
  }

  async abort(actor: Actor, name: RepositoryName, digest: Digest, uploadId: string): Promise<void> {
    await this.#findOwn(actor, name, digest, uploadId)
    await this.#use(uploadId, async (upload) => {
      await this.#refuse(upload, gone())
    })
  }

  /** Ends uploads that nobody goes on with; returns how many. */
  async expire(): Promise<number> {
    return await this.#endAll(await listExpired(this.#database, this.#options.expireHours))
  }

  /**
   * After a start: an upload in one piece whose bytes are not all there was cut off with the last
   * process (or was just becoming an image) and can never be completed; incoming files without an
   * upload are left from a crash. Multipart uploads go on, and so do those that had arrived.
   */
  async recover(): Promise<void> {
    for (const upload of await listWholes(this.#database)) {
      const arrived = upload.receivedDigest !== null
      const present = arrived ? await this.#blobs.incomingSize(upload.id) : undefined
      if (present !== upload.size) await this.#endAll([upload])
    }
    await this.removeOrphans()
  }

  /** Removes incoming files whose upload is not known. */
  async removeOrphans(): Promise<void> {
    for (const id of await this.#blobs.listIncoming()) {
      if (this.#turns.isBusy(id)) continue
      if (!(await isUpload(this.#database, id))) await this.#blobs.removeIncoming(id)
    }
  }

  async #endAll(uploads: readonly UploadRow[]): Promise<number> {
    let ended = 0
    for (const upload of uploads) {
      if (this.#turns.isBusy(upload.id)) continue
      await this.#end(upload)
      await forgetPush(this.#database, placeOf(upload), upload.digest)
      ended += 1
    }
    return ended
  }

  /** Gives the bytes back: the row with its reservation first, then the file. */
  async #end(upload: UploadRow): Promise<void> {
    await this.#database.transaction(async (tx) => {
      // The row decides who releases: of two that try, one finds nothing to delete.
      const ended = await deleteUpload(tx, upload.id)
      if (ended) await release(tx, upload.entityId, upload.reservedBytes)
    })
    this.#hashes.forget(upload.id)
    await this.#blobs.removeIncoming(upload.id)
  }

  /** Ends an upload for a reason that the client hears, leaving nothing behind; returns the reason. */
  async #refuse(upload: UploadRow, reason: Failure): Promise<Failure> {
    await this.#end(upload)
    return await this.#forget(placeOf(upload), upload.digest, reason)
  }

  async #forget<Reason>(
    repository: { readonly id: number; readonly entityId: number },
    digest: Digest,
    reason: Reason,
  ): Promise<Reason> {
    await forgetPush(this.#database, repository, digest)
    return reason
  }

  async #alreadyThere(repository: RepositoryRow, digest: Digest): Promise<ImageRow> {
    const [image] = await selectImages(this.#database, repository.id, { digest })
    if (image !== undefined) return image
    throw notFound('upload', 'This upload has ended (expired or aborted): push the image again.')
  }

  async #findOwn(
    actor: Actor,
    name: RepositoryName,
    digest: Digest,
    uploadId: string,
  ): Promise<UploadRow> {
    const { accountId } = requireAccount(actor)
    const repository = await this.#registry.getRepository(actor, name)
    requirePermission(actor, 'push', repository)
    const upload = await findUpload(this.#database, uploadId)
    if (
      upload === undefined ||
      upload.accountId !== accountId ||
      upload.repositoryId !== repository.id ||
      upload.digest !== digest
    ) {
      throw gone()
    }
    return upload
  }

  /** Runs `work` as the only one on this upload. The token it was opened with must still live. */
  async #use<Result>(
    uploadId: string,
    work: (upload: UploadRow) => Promise<Result>,
  ): Promise<Result> {
    return await this.#turns.alone(uploadId, async () => {
      const upload = await findUpload(this.#database, uploadId)
      if (upload === undefined) throw gone()
      return await work(upload)
    })
  }
}

function placeOfPart(upload: UploadRow, number: number): { offset: number; size: number } {
  const { partBytes, size } = upload
  if (partBytes === null) throw gone()
  const offset = (number - 1) * partBytes
  if (!Number.isInteger(number) || number < 1 || offset >= size) {
    throw invalid('upload', `There is no part ${number}.`)
  }
  return { offset, size: Math.min(partBytes, size - offset) }
}

function placeOf(upload: UploadRow): { id: number; entityId: number } {
  return { id: upload.repositoryId, entityId: upload.entityId }
}

function gone(): Failure {
  return notFound('upload', 'There is no such upload (it has ended): push the image again.')
}
