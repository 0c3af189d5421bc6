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
import { audit } from '../accounts/audit.ts'
import { requireAccount, requirePermission } from '../accounts/permissions.ts'
import type { Database } from '../database.ts'
import { Failure, invalid, notFound } from '../failure.ts'
import { newUploadId } from '../identifiers.ts'
import { inspectSif } from '../sif/inspect.ts'
import type { SifFacts } from '../sif/inspect.ts'
import { lockDigest } from './blob-lock.ts'
import type { BlobStore } from './blob-store.ts'
import type { HashThread, StreamHash } from './hash-thread.ts'
import {
  forgetAnnounced,
  insertSifBlob,
  isAnnounced,
  putSifManifest,
  selectImages,
} from './images.ts'
import type { ImageRow } from './images.ts'
import { hashRange, receive } from './incoming.ts'
import { digestOfHex } from './names.ts'
import type { Digest, RepositoryName } from './names.ts'
import { removeIfEmpty } from './places.ts'
import type { RepositoryRow } from './places.ts'
import { link, release, reserve } from './quota.ts'
import type { Registry } from './registry.ts'
import { composeSifManifest } from './sif-manifest.ts'
import {
  deleteUpload,
  findCompletable,
  findStaleRivals,
  findUpload,
  insertUpload,
  listExpired,
  listParts,
  listUnfinishedWholes,
  markActive,
  markInterrupted,
  markReceived,
  putPart,
  reservedInTotal,
} from './upload-rows.ts'
import type { UploadRow } from './upload-rows.ts'

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

interface RunningHash {
  readonly hash: StreamHash
  /** Everything before this offset is in the hash. */
  readonly position: number
}

const maxParts = 10_000

export class Uploads {
  readonly #database: Database
  readonly #blobs: BlobStore
  readonly #registry: Registry
  readonly #thread: HashThread
  readonly #options: UploadsOptions
  /** Uploads that a request is working on; nothing else may touch them meanwhile. */
  readonly #busy = new Set<string>()
  readonly #hashes = new Map<string, RunningHash>()
  /** The last completion that was asked for, by image. */
  readonly #turns = new Map<string, Promise<unknown>>()

  constructor(
    database: Database,
    blobs: BlobStore,
    registry: Registry,
    thread: HashThread,
    options: UploadsOptions,
  ) {
    this.#database = database
    this.#blobs = blobs
    this.#registry = registry
    this.#thread = thread
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
      await this.#requireSpace(size)
      await this.#reserve(upload)
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      // A push that was broken off may hold just the bytes that its repetition needs.
      const freed =
        error.kind === 'over-quota' ? await this.#endStaleRivals(upload.entityId, digest) : 0
      if (freed === 0) throw await this.#forget(repository.id, digest, error)
      await this.#reserve(upload)
    }
    return { id: upload.id, partBytes, totalParts: Math.ceil(size / partBytes) }
  }

  async #reserve(upload: Parameters<typeof insertUpload>[1]): Promise<void> {
    await this.#database.transaction(async (tx) => {
      await reserve(tx, upload.entityId, upload.size, this.#options.defaultQuotaBytes)
      await insertUpload(tx, upload)
    })
  }

  async #requireSpace(size: number): Promise<void> {
    const { maxImageBytes } = this.#options
    if (size > maxImageBytes) {
      const text = `Images of more than ${maxImageBytes} bytes are not taken.`
      throw new Failure('too-large', 'image', text)
    }
    const free = await this.#blobs.freeBytes()
    const promised = await reservedInTotal(this.#database)
    if (free - promised - size >= this.#options.keepFreeBytes) return
    throw new Failure(
      'storage-full',
      'storage',
      'The disk of the library has no room for this image: please tell the administrators.',
    )
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
        throw await this.#forget(upload.repositoryId, upload.digest, error)
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
      const running = this.#hashes.get(uploadId) ?? { hash: this.#thread.newHash(), position: 0 }
      const inOrder = running.position === place.offset
      // A copy: a part that breaks off must leave no trace in the hash.
      const hash = inOrder ? running.hash.copy() : undefined
      if (place.offset < running.position) this.#forgetHash(uploadId)
      const file = await this.#blobs.openIncoming(uploadId)
      try {
        const limit = { offset: place.offset, limitBytes: place.size, hash }
        const received = await receive(source, file, limit)
        if (received !== place.size) {
          throw invalid('upload', `Part ${number} has ${received} bytes instead of ${place.size}.`)
        }
      } catch (error) {
        await markInterrupted(this.#database, uploadId)
        throw error
      } finally {
        await file.close()
      }
      if (hash) {
        this.#forgetHash(uploadId)
        this.#hashes.set(uploadId, { hash, position: place.offset + place.size })
      }
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
    return await this.#inTurn(`${repository.id} ${digest}`, async () => {
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
      await this.#requireDigest(upload, upload.receivedDigest)
      return await this.#adopt(actor, name, upload)
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
      const file = await this.#openWhole(upload)
      try {
        const hash = await this.#finishHash(upload, file)
        await this.#requireDigest(upload, digestOfHex(hash))
        await file.datasync()
      } finally {
        await file.close()
      }
      return await this.#adopt(actor, name, upload)
    })
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

  /** Most often everything was hashed on the way; after a restart or out of order it is read. */
  async #finishHash(upload: UploadRow, file: FileHandle): Promise<string> {
    const running = this.#hashes.get(upload.id)
    const hash = running?.hash.copy() ?? this.#thread.newHash()
    await hashRange(file, hash, running?.position ?? 0, upload.size)
    return await hash.digest()
  }

  #forgetHash(uploadId: string): void {
    this.#hashes.get(uploadId)?.hash.dispose()
    this.#hashes.delete(uploadId)
  }

  async #requireDigest(upload: UploadRow, received: Digest): Promise<void> {
    if (received === upload.digest) return
    const text = `The file that arrived has the hash ${received}, but ${upload.digest} was announced. Push it again.`
    throw await this.#refuse(upload, invalid('digest', text))
  }

  /** The file is whole and on the disk: from here on it becomes an image, or nothing at all. */
  async #adopt(actor: Actor, name: RepositoryName, upload: UploadRow): Promise<ImageRow> {
    const facts = await this.#inspect(upload)
    const { id, digest, size, repositoryId, entityId } = upload
    await this.#database.transaction(async (tx) => {
      await lockDigest(tx, digest)
      await this.#blobs.admit(id, digest)
      await insertSifBlob(tx, digest, size, facts)
      const terms = {
        reservedBytes: upload.reservedBytes,
        defaultQuota: this.#options.defaultQuotaBytes,
      }
      await link(tx, { entityId, repositoryId }, { digest, size }, terms)
      await deleteUpload(tx, id)
      const manifest = composeSifManifest(digest, size, facts)
      await putSifManifest(tx, repositoryId, digest, manifest, upload.accountId)
      const details = { size, sent: true }
      await audit(tx, actor, { action: 'image.push', target: `${name.path}@${digest}`, details })
    })
    this.#forgetHash(id)
    const [image] = await selectImages(this.#database, repositoryId, { digest })
    if (image === undefined) throw notFound('image', 'The image was deleted meanwhile.')
    return image
  }

  async #inspect(upload: UploadRow): Promise<SifFacts> {
    const file = await this.#openWhole(upload)
    try {
      return await inspectSif({
        size: upload.size,
        read: async (offset, length) => {
          const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, offset)
          return buffer.subarray(0, bytesRead)
        },
      })
    } catch (error) {
      if (error instanceof Failure) throw await this.#refuse(upload, error)
      throw error
    } finally {
      await file.close()
    }
  }

  /** Opens what arrived. A crash may have taken bytes that were not yet flushed, or the file. */
  async #openWhole(upload: UploadRow): Promise<FileHandle> {
    const file = await this.#blobs.openIncoming(upload.id)
    const { size } = await file.stat()
    if (size === upload.size) return file
    await file.close()
    const text = `Only ${size} of ${upload.size} bytes are there: push the image again.`
    throw await this.#refuse(upload, invalid('upload', text))
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
   * After a start: an upload in one piece whose connection went down with the last process can never
   * be completed, and incoming files without an upload are left from a crash. Multipart uploads go on.
   */
  async recover(): Promise<void> {
    await this.#endAll(await listUnfinishedWholes(this.#database))
    await this.removeOrphans()
  }

  /** Removes incoming files whose upload is not known. */
  async removeOrphans(): Promise<void> {
    for (const id of await this.#blobs.listIncoming()) {
      if (this.#busy.has(id)) continue
      if ((await findUpload(this.#database, id)) === undefined) await this.#blobs.removeIncoming(id)
    }
  }

  async #endStaleRivals(entityId: number, digest: Digest): Promise<number> {
    return await this.#endAll(await findStaleRivals(this.#database, entityId, digest))
  }

  async #endAll(uploads: readonly UploadRow[]): Promise<number> {
    let ended = 0
    for (const upload of uploads) {
      if (this.#busy.has(upload.id)) continue
      await this.#end(upload)
      await this.#forget(upload.repositoryId, upload.digest, undefined)
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
    this.#forgetHash(upload.id)
    await this.#blobs.removeIncoming(upload.id)
  }

  /** Ends an upload for a reason that the client hears, leaving nothing behind; returns the reason. */
  async #refuse(upload: UploadRow, reason: Failure): Promise<Failure> {
    await this.#end(upload)
    return await this.#forget(upload.repositoryId, upload.digest, reason)
  }

  /** Removes the names that a push made before it failed for this reason. */
  async #forget<Reason>(repositoryId: number, digest: Digest, reason: Reason): Promise<Reason> {
    try {
      await this.#database.transaction(async (tx) => {
        await forgetAnnounced(tx, repositoryId, digest)
        await removeIfEmpty(tx, repositoryId)
      })
    } catch (error) {
      // Somebody else is pushing there at this moment, and the names are wanted.
      if (!(error instanceof Failure) || error.kind !== 'conflict') throw error
    }
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

  async #inTurn<Result>(key: string, work: () => Promise<Result>): Promise<Result> {
    const before = this.#turns.get(key) ?? Promise.resolve()
    const mine = before.then(work, work)
    this.#turns.set(key, mine)
    try {
      return await mine
    } finally {
      if (this.#turns.get(key) === mine) this.#turns.delete(key)
    }
  }

  /** Runs `work` as the only one on this upload. The token it was opened with must still live. */
  async #use<Result>(
    uploadId: string,
    work: (upload: UploadRow) => Promise<Result>,
  ): Promise<Result> {
    if (this.#busy.has(uploadId)) {
      throw new Failure('conflict', 'upload', 'Another request is working on this upload.')
    }
    this.#busy.add(uploadId)
    try {
      const upload = await findUpload(this.#database, uploadId)
      if (upload === undefined) throw gone()
      return await work(upload)
    } finally {
      this.#busy.delete(uploadId)
    }
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

function gone(): Failure {
  return notFound('upload', 'There is no such upload (it has ended): push the image again.')
}
