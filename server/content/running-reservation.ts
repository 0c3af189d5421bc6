/** What an upload of unknown length holds of its entity's quota while its bytes arrive. */
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { Failure, notFound } from '../failure.ts'
import { setReceived, setReserved } from './blob-upload-rows.ts'
import type { BlobUploadRow } from './blob-upload-rows.ts'
import { lockEntity, release, reserve } from './quota.ts'

/** Reserved at a time where the length is not known. */
export const stepBytes = 16 << 20

export class RunningReservation {
  readonly #database: Database
  readonly #upload: BlobUploadRow
  readonly #defaultQuota: number
  #reserved: number

  constructor(database: Database, upload: BlobUploadRow, defaultQuota: number) {
    this.#database = database
    this.#upload = upload
    this.#defaultQuota = defaultQuota
    this.#reserved = upload.reservedBytes
  }

  get reservedBytes(): number {
    return this.#reserved
  }

  /** Holds at least this much, or throws `over-quota`. */
  async cover(bytes: number): Promise<void> {
    if (bytes <= this.#reserved) return
    await this.#database.transaction(async (tx) => {
      const { id, entityId } = this.#upload
      await lockEntity(tx, entityId)
      const reserved = await reservedNow(tx, id)
      if (reserved === undefined) throw ended()
      await reserve(tx, entityId, bytes - reserved, this.#defaultQuota)
      await setReserved(tx, id, bytes)
    })
    this.#reserved = bytes
  }

  /** The same with a step to spare; close to the limit without one. */
  async coverInSteps(bytes: number): Promise<void> {
    await this.cover(bytes + stepBytes).catch(async (error: unknown) => {
      if (!(error instanceof Failure) || error.kind !== 'over-quota') throw error
      await this.cover(bytes)
    })
  }

  /** From now on the upload has these bytes and holds no more than them. */
  async settle(bytes: number): Promise<void> {
    await this.#database.transaction(async (tx) => {
      const { id, entityId } = this.#upload
      await lockEntity(tx, entityId)
      const reserved = await reservedNow(tx, id)
      if (reserved === undefined) throw ended()
      await release(tx, entityId, reserved - bytes)
      await setReserved(tx, id, bytes)
      await setReceived(tx, id, bytes)
    })
    this.#reserved = bytes
  }
}

/** What the row says at this moment, under its lock; undefined when the upload has ended. */
export async function reservedNow(tx: Db, uploadId: string): Promise<number | undefined> {
  const [row] = await tx.query<{ reserved: number }>(
    sql`select reserved_bytes as "reserved" from uploads where id = ${uploadId} for update`,
  )
  return row?.reserved
}

/** Whoever ended it has given its bytes back. */
function ended(): Failure {
  return notFound('upload', 'The upload has ended (expired or cancelled): begin another.')
}
