/**
 * Uploads of blobs through the registry: a session is opened, chunks arrive one after the other, and
 * the last request names the digest. Nobody says beforehand how much will come, so the quota is
 * taken as bytes arrive: by the length of a chunk where it is known, else in steps. A session is a
 * row and an incoming file; it survives a restart and goes on where the last acknowledged chunk ended.
 */
import type { FileHandle } from 'node:fs/promises'

import type { AccountActor, Actor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
import { requireAccount, requirePermission, viewerOf } from '../accounts/permissions.ts'
import type { Database } from '../database.ts'
import { Failure, invalid, notFound } from '../failure.ts'
import { newUploadId } from '../identifiers.ts'
import { claimBlob, findReadableLink, linkedSize } from './blob-links.ts'
import type { Place } from './blob-links.ts'
import { lockDigest } from './blob-lock.ts'
import type { BlobStore } from './blob-store.ts'
import {
  findBlobUpload,
  insertBlobUpload,
  listExpiredBlobUploads,
  setExpected,
} from './blob-upload-rows.ts'
import type { BlobUploadRow } from './blob-upload-rows.ts'
import { hashFile } from './file-hash.ts'
import type { HashThread } from './hash-thread.ts'
import { announceImage, insertBlob } from './images.ts'
import { receive } from './incoming.ts'
import { digestOfHex, isSha256 } from './names.ts'
import type { Digest, RepositoryName } from './names.ts'
import { PartHashes } from './part-hashes.ts'
import { removeIfEmpty, repeatIfRemoved } from './places.ts'
import { link, lockEntity, release } from './quota.ts'
import type { Registry } from './registry.ts'
import { reservedNow, RunningReservation, stepBytes } from './running-reservation.ts'
import { requireSpace } from './space.ts'
import type { Turns } from './turns.ts'
import { deleteUpload } from './upload-rows.ts'

export interface BlobUploadsOptions {
  readonly defaultQuotaBytes: number
  readonly maxImageBytes: number
  readonly keepFreeBytes: number
  readonly expireHours: number
}

export interface Chunk {
  readonly source: AsyncIterable<Buffer>
  /** Undefined for a body of unknown length. */
  readonly length: number | undefined
  /** First and last byte as the client counts them; undefined when it does not say. */
  readonly range: { readonly first: number; readonly last: number } | undefined
}

export class BlobUploads {
  readonly #database: Database
  readonly #blobs: BlobStore
  readonly #registry: Registry
  readonly #hashes: PartHashes
  readonly #turns: Turns
  readonly #options: BlobUploadsOptions

  constructor(
    database: Database,
    blobs: BlobStore,
    registry: Registry,
    hashing: { readonly thread: HashThread; readonly turns: Turns },
    options: BlobUploadsOptions,
  ) {
    this.#database = database
    this.#blobs = blobs
    this.#registry = registry
    this.#hashes = new PartHashes(hashing.thread)
    this.#turns = hashing.turns
    this.#options = options
  }

  /** Returns the identifier of a new session. The repository appears with it. */
  async open(actor: Actor, name: RepositoryName): Promise<string> {
    const account = requireAccount(actor)
    return await repeatIfRemoved(async () => {
      const repository = await this.#registry.ensureRepository(actor, name)
      requirePermission(actor, 'push', repository)
      const { id: repositoryId, entityId } = repository
      const { accountId, tokenId = null } = account
      const id = newUploadId()
      await this.#database.transaction(async (tx) => {
        // Whoever removes empty names holds this lock, and would take the session along.
        await lockEntity(tx, entityId)
        await insertBlobUpload(tx, { id, entityId, repositoryId, accountId, tokenId })
      })
      return id
    })
  }

  /**
   * Links a blob of another repository; false when there is none such. `reader` is the caller as far
   * as his credential lets him read there; without `from` any repository will do that he may read.
   */
  async mount(
    actor: Actor,
    name: RepositoryName,
    digest: Digest,
    { from, reader }: { readonly from: RepositoryName | undefined; readonly reader: Actor },
  ): Promise<boolean> {
    const sourceId = from
      ? await this.#readableRepository(reader, from)
      : await findReadableLink(this.#database, digest, viewerOf(reader))
    if (sourceId === undefined) return false
    const target = await this.#registry.ensureRepository(actor, name)
    requirePermission(actor, 'push', target)
    const place = { entityId: target.entityId, repositoryId: target.id }
    return await this.#linkFrom(actor, name, sourceId, place, digest).catch(
      async (error: unknown) => {
        // The blob went away at this moment: the client uploads it.
        if (error instanceof Failure && error.kind === 'conflict') return false
        await this.#database.transaction(async (tx) => {
          await lockEntity(tx, place.entityId)
          await removeIfEmpty(tx, place.repositoryId)
        })
        throw error
      },
    )
  }

  async #readableRepository(reader: Actor, name: RepositoryName): Promise<number | undefined> {
    try {
      return (await this.#registry.getRepository(reader, name)).id
    } catch (error) {
      if (error instanceof Failure && error.kind === 'not-found') return undefined
      throw error
    }
  }

  async #linkFrom(
    actor: Actor,
    name: RepositoryName,
    sourceId: number,
    place: Place,
    digest: Digest,
  ): Promise<boolean> {
    const { accountId } = requireAccount(actor)
    return await this.#database.transaction(async (tx) => {
      await lockEntity(tx, place.entityId)
      const size = await linkedSize(tx, sourceId, digest)
      if (size === undefined || !(await this.#blobs.hasBlob(digest, size))) {
        await removeIfEmpty(tx, place.repositoryId)
        return false
      }
      const terms = { reservedBytes: 0, defaultQuota: this.#options.defaultQuotaBytes }
      await link(tx, place, { digest, size }, terms)
      await claimBlob(tx, place.repositoryId, digest, accountId)
      const details = { size }
      await audit(tx, actor, { action: 'blob.mount', target: `${name.path}@${digest}`, details })
      return true
    })
  }

  /** Bytes that were acknowledged. */
  async offset(actor: Actor, name: RepositoryName, id: string): Promise<number> {
    return (await this.#findOwn(actor, name, id)).receivedBytes
  }

  /** Takes a chunk; returns where the next one begins. */
  async append(actor: Actor, name: RepositoryName, id: string, chunk: Chunk): Promise<number> {
    return await this.#use(actor, name, id, async (upload) => {
      const received = await this.#receive(upload, chunk)
      return upload.receivedBytes + received
    })
  }

  /** The end of a session, with a last chunk if there is one. Wrong bytes end it as well. */
  async finish(
    actor: Actor,
    name: RepositoryName,
    id: string,
    digest: Digest,
    chunk: Chunk | undefined,
  ): Promise<void> {
    await this.#use(actor, name, id, async (upload) => {
      const received = chunk === undefined ? 0 : await this.#receive(upload, chunk)
      const size = upload.receivedBytes + received
      const file = await this.#blobs.openIncoming(id)
      try {
        await this.#check(file, id, size, digest)
        await file.datasync()
        await this.#adopt(actor, name, upload, digest, size)
      } catch (error) {
        if (error instanceof Failure && isFinal(error)) await this.#end(upload)
        throw error
      } finally {
        this.#hashes.forget(id)
        await file.close()
      }
    })
  }

  /**
   * All bytes have arrived, and they are an image's: hashes and flushes them, and makes of the session
   * an upload of the announced image, which `Uploads` completes. The reservation goes along.
   */
  async becomeImage(actor: AccountActor, name: RepositoryName, id: string): Promise<Digest> {
    return await this.#use(actor, name, id, async ({ entityId, repositoryId, receivedBytes }) => {
      const file = await this.#blobs.openIncoming(id)
      try {
        const digest = digestOfHex(await this.#hashes.finish(id, file, receivedBytes))
        await file.datasync()
        const createdBy = actor.accountId
        await this.#database.transaction(async (tx) => {
          await lockEntity(tx, entityId)
          await announceImage(tx, { repositoryId, digest, description: '', createdBy })
          await setExpected(tx, id, digest, receivedBytes)
        })
        return digest
      } finally {
        this.#hashes.forget(id)
        await file.close()
      }
    })
  }

  async cancel(actor: Actor, name: RepositoryName, id: string): Promise<void> {
    await this.#use(actor, name, id, async (upload) => await this.#end(upload))
  }

  /** Ends sessions that nobody goes on with; returns how many. */
  async expire(): Promise<number> {
    let ended = 0
    for (const upload of await listExpiredBlobUploads(this.#database, this.#options.expireHours)) {
      if (this.#turns.isBusy(upload.id)) continue
      await this.#turns.alone(upload.id, async () => await this.#end(upload))
      ended += 1
    }
    return ended
  }

  async #receive(upload: BlobUploadRow, chunk: Chunk): Promise<number> {
    const { id, receivedBytes } = upload
    if (chunk.range && chunk.range.first !== receivedBytes) throw outOfOrder(receivedBytes)
    const announced = chunk.length ?? lengthOf(chunk.range)
    const ledger = new RunningReservation(this.#database, upload, this.#options.defaultQuotaBytes)
    if (announced !== undefined) {
      await requireSpace(this.#database, this.#blobs, announced, this.#options)
      await this.#orEnd(upload, async () => await ledger.cover(receivedBytes + announced))
    }
    const hash = this.#hashes.begin(id, receivedBytes)
    const file = await this.#blobs.openIncoming(id)
    try {
      // What a broken chunk left behind is not part of the file.
      await file.truncate(receivedBytes)
      const source =
        announced === undefined ? this.#metered(upload, chunk.source, ledger) : chunk.source
      const limitBytes = announced ?? this.#options.maxImageBytes - receivedBytes
      const received = await receive(source, file, { offset: receivedBytes, limitBytes, hash })
      if (announced !== undefined && received !== announced) {
        throw invalid('upload', `The chunk has ${received} bytes instead of ${announced}.`)
      }
      await ledger.settle(receivedBytes + received)
      if (hash) this.#hashes.keep(id, hash, receivedBytes + received)
      return received
    } catch (error) {
      hash?.dispose()
      if (error instanceof Failure && error.kind === 'over-quota') await this.#end(upload)
      else await ledger.settle(receivedBytes)
      throw error
    } finally {
      await file.close()
    }
  }

  /** Takes more of the quota whenever the bytes outrun what was taken. */
  async *#metered(
    upload: BlobUploadRow,
    source: AsyncIterable<Buffer>,
    ledger: RunningReservation,
  ): AsyncGenerator<Buffer> {
    let position = upload.receivedBytes
    for await (const piece of source) {
      position += piece.length
      if (position > ledger.reservedBytes) {
        await requireSpace(this.#database, this.#blobs, stepBytes, this.#options)
        await ledger.coverInSteps(position)
      }
      yield piece
    }
  }

  async #check(file: FileHandle, id: string, size: number, digest: Digest): Promise<void> {
    const present = (await file.stat()).size
    if (present !== size) {
      // A crash may have taken bytes that were not yet flushed.
      throw invalid('digest', `Only ${present} of ${size} bytes are there: push the blob again.`)
    }
    const found = isSha256(digest)
      ? digestOfHex(await this.#hashes.finish(id, file, size))
      : await hashFile(file, 'sha512')
    if (found === digest) return
    throw invalid('digest', `The bytes have the digest ${found}, but ${digest} was announced.`)
  }

  async #adopt(
    actor: Actor,
    name: RepositoryName,
    upload: BlobUploadRow,
    digest: Digest,
    size: number,
  ): Promise<void> {
    const { id, entityId, repositoryId, accountId } = upload
    const place = { entityId, repositoryId }
    await this.#database.transaction(async (tx) => {
      await lockEntity(tx, entityId)
      await lockDigest(tx, digest)
      await this.#blobs.admit(id, digest)
      await insertBlob(tx, digest, size)
      const defaultQuota = this.#options.defaultQuotaBytes
      await link(tx, place, { digest, size }, { reservedBytes: size, defaultQuota })
      await deleteUpload(tx, id)
      await claimBlob(tx, repositoryId, digest, accountId)
      const target = `${name.path}@${digest}`
      await audit(tx, actor, { action: 'blob.push', target, details: { size } })
    })
  }

  /** Over the quota a session is of no more use: its bytes are given back at once. */
  async #orEnd(upload: BlobUploadRow, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (error instanceof Failure && error.kind === 'over-quota') await this.#end(upload)
      throw error
    }
  }

  /** Gives the bytes back: the row with its reservation first, then the file. */
  async #end(upload: BlobUploadRow): Promise<void> {
    await this.#database.transaction(async (tx) => {
      await lockEntity(tx, upload.entityId)
      const reserved = await reservedNow(tx, upload.id)
      if (reserved !== undefined && (await deleteUpload(tx, upload.id))) {
        await release(tx, upload.entityId, reserved)
      }
      await removeIfEmpty(tx, upload.repositoryId)
    })
    this.#hashes.forget(upload.id)
    await this.#blobs.removeIncoming(upload.id)
  }

  async #findOwn(actor: Actor, name: RepositoryName, id: string): Promise<BlobUploadRow> {
    const { accountId } = requireAccount(actor)
    const repository = await this.#registry.getRepository(actor, name)
    const upload = await findBlobUpload(this.#database, id)
    if (upload?.accountId === accountId && upload.repositoryId === repository.id) return upload
    throw notFound('upload', 'There is no such upload: it has ended or expired, begin another.')
  }

  /** Runs `work` as the only one on this upload. */
  async #use<Result>(
    actor: Actor,
    name: RepositoryName,
    id: string,
    work: (upload: BlobUploadRow) => Promise<Result>,
  ): Promise<Result> {
    return await this.#turns.alone(id, async () => {
      const upload = await this.#findOwn(actor, name, id)
      return await work(upload)
    })
  }
}

function lengthOf(range: Chunk['range']): number | undefined {
  return range && range.last - range.first + 1
}

/** The client is to ask where to go on, or begin anew. */
function outOfOrder(offset: number): Failure {
  return new Failure('range', 'upload', `The next chunk begins at byte ${offset}.`)
}

/** Whether asking again cannot help. */
function isFinal({ kind }: Failure): boolean {
  return kind === 'invalid' || kind === 'over-quota'
}
