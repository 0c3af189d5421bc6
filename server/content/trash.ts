import { housekeeper } from '../accounts/accounts.ts'
/**
 * Deleted images that can be brought back. From the moment of its deletion an image is in no listing,
 * cannot be pulled and does not count towards the quota; its manifests, tags and blobs are kept for
 * the days that the site gives. Restoring charges the quota again, and asks the rule of the space.
 * A space's deleted images together may be as large as its quota: of more the oldest go at once, so
 * that nobody fills the disk by pushing and deleting.
 */
import type { Actor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
import {
  requireAdministrator,
  requireFullAccount,
  requirePermission,
} from '../accounts/permissions.ts'
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { Failure, notFound } from '../failure.ts'
import type { Place } from './blob-links.ts'
import type { BlobStore } from './blob-store.ts'
import type { ImagePolicy } from './image-policy.ts'
import { imagesIn } from './images-of-manifest.ts'
import { parseManifest } from './manifest-document.ts'
import { insertManifest } from './manifests.ts'
import type { Digest, Tag } from './names.ts'
import { charge, link, lockEntity } from './quota.ts'
import { setTagForArch, setWholeTag } from './tags.ts'
import {
  blobsOfDeleted,
  condemnSince,
  deleteDeleted,
  insertDeleted,
  manifestsOfDeleted,
  selectDeleted,
} from './trash-rows.ts'
import type { DeletedImageRow, DeletedManifestRow, DeletionReason, KeptTag } from './trash-rows.ts'

export interface TrashOptions {
  /** 0: what is deleted is gone. */
  readonly undeleteDays: number
  readonly defaultQuotaBytes: number
}

export interface DeletedImage {
  readonly id: number
  readonly path: string
  readonly digest: Digest
  readonly tags: readonly Tag[]
  readonly sizeBytes: number
  readonly deletedAt: Date
  /** From then on it cannot be restored. */
  readonly goneAt: Date
  readonly deletedBy: string | null
  readonly reason: DeletionReason
}

export interface Restored {
  readonly path: string
  readonly digest: Digest
  /** Tags that it has again. */
  readonly tags: readonly Tag[]
  /** Tags that somebody gave to another image meanwhile: they stay there. */
  readonly tagsTaken: readonly Tag[]
}

export interface Purged {
  readonly images: number
  readonly bytes: number
}

export class Trash {
  readonly #database: Database
  readonly #blobs: BlobStore
  readonly #policy: ImagePolicy
  readonly #options: TrashOptions

  constructor(database: Database, blobs: BlobStore, policy: ImagePolicy, options: TrashOptions) {
    this.#database = database
    this.#blobs = blobs
    this.#policy = policy
    this.#options = options
  }

  /**
   * Called with the transaction of a deletion, under the entity's lock, before the rows go. `tags`
   * are those of the manifests before anything was taken away (`tagsOfManifests`).
   */
  async keep(
    tx: Db,
    place: Place,
    digests: readonly Digest[],
    tags: ReadonlyMap<Digest, readonly KeptTag[]>,
    deletion: { readonly actor: Actor; readonly reason: DeletionReason },
  ): Promise<void> {
    if (this.#options.undeleteDays === 0 || digests.length === 0) return
    const { actor, reason } = deletion
    const who = actor.kind === 'account' ? actor : undefined
    await insertDeleted(tx, place, digests, {
      tags,
      reason,
      deletedBy: who?.accountId ?? null,
      deletedByName: who?.name ?? null,
    })
    await this.#dropOverflow(tx, place.entityId)
  }

  /** The deleted images of the caller's own spaces, or of one space that he may push to. */
  async list(actor: Actor, entity?: string): Promise<DeletedImage[]> {
    const account = requireFullAccount(actor)
    if (entity !== undefined) await this.#requireSpace(actor, entity)
    const principals = entity === undefined ? account.principals : undefined
    const keepDays = this.#options.undeleteDays
    const rows = await selectDeleted(this.#database, { keepDays, entity, principals })
    return rows.map((row) => this.#describe(row))
  }

  /** Everybody's, for the administrator of the host. */
  async listAll(): Promise<DeletedImage[]> {
    const keepDays = this.#options.undeleteDays
    const rows = await selectDeleted(this.#database, { keepDays })
    return rows.map((row) => this.#describe(row))
  }

  /** Failure `over-quota` where the space has no room for it any more. */
  async restore(actor: Actor, id: number, entity?: string): Promise<Restored> {
    const row = await this.#find(actor, { id, entity }, 'push')
    const blobs = await blobsOfDeleted(this.#database, id)
    await this.#admit(row, blobs)
    for (const { digest, size } of blobs) {
      if (await this.#blobs.hasBlob(digest, size)) continue
      const text =
        'Bytes of this image were lost on the disk: only pushing it again brings it back.'
      throw new Failure('conflict', 'image', text)
    }
    return await this.#database.transaction(async (tx) => {
      await lockEntity(tx, row.entityId)
      const manifests = await manifestsOfDeleted(tx, id)
      // Before anything is charged: of two who restore it, the second finds nothing.
      if (!(await deleteDeleted(tx, id))) throw noSuchImage(id)
      await this.#pay(tx, row, blobs)
      for (const manifest of manifests) await this.#putBack(tx, row, manifest)
      const tags = await this.#tagAgain(tx, row, manifests, actor)
      const details = { digest: row.digest, tags: tags.restored, deletedAt: row.deletedAt }
      await audit(tx, actor, {
        action: 'image.restore',
        target: `${row.path}@${row.digest}`,
        details,
      })
      const { path, digest } = row
      return { path, digest, tags: tags.restored, tagsTaken: tags.taken }
    })
  }

  /** Gives one up before its time. */
  async purge(actor: Actor, id: number, entity?: string): Promise<Purged> {
    const row = await this.#find(actor, { id, entity }, 'delete')
    return await this.#purgeAll([row], actor)
  }

  /** Gives up all that was deleted, of one space or of all, for a disk that is short of room. */
  async purgeEverything(actor: Actor, entity?: string): Promise<Purged> {
    if (entity === undefined) requireAdministrator(actor)
    else await this.#requireSpace(actor, entity)
    const keepDays = this.#options.undeleteDays
    return await this.#purgeAll(await selectDeleted(this.#database, { keepDays, entity }), actor)
  }

  /** Gives up what is past its time; for the sweep. */
  async expire(): Promise<Purged> {
    const rows = await this.#database.query<Expired>(sql`
      select d.id, d.digest, r.path, d.entity_id as "entityId", d.size_bytes as "sizeBytes",
        d.deleted_at as "deletedAt"
      from deleted_images d join repositories r on r.id = d.repository_id
      where d.deleted_at <= now() - make_interval(days => ${this.#options.undeleteDays})
      order by d.deleted_at`)
    return await this.#purgeAll(rows, housekeeper)
  }

  async #purgeAll(rows: readonly Expired[], actor: Actor): Promise<Purged> {
    let images = 0
    let bytes = 0
    for (const row of rows) {
      const blobs = await this.#database.transaction(async (tx) => {
        await lockEntity(tx, row.entityId)
        return await this.#giveUp(tx, row, actor)
      })
      if (blobs === undefined) continue
      images += 1
      bytes += row.sizeBytes
      for (const digest of blobs) await condemnSince(this.#database, digest, row.deletedAt)
    }
    return { images, bytes }
  }

  /** The blobs that it had; undefined when somebody was faster. */
  async #giveUp(tx: Db, row: Expired, actor: Actor): Promise<readonly Digest[] | undefined> {
    const blobs = await blobsOfDeleted(tx, row.id)
    if (!(await deleteDeleted(tx, row.id))) return undefined
    const target = `${row.path}@${row.digest}`
    const details = { deletedAt: row.deletedAt, size: row.sizeBytes }
    await audit(tx, actor, { action: 'image.purge', target, details })
    return blobs.map(({ digest }) => digest)
  }

  /** The newest stays whatever its size. */
  async #dropOverflow(tx: Db, entityId: number): Promise<void> {
    const rows = await tx.query<Expired>(sql`
      select d.id, d.digest, r.path, d.entity_id as "entityId", d.size_bytes as "sizeBytes",
        d.deleted_at as "deletedAt"
      from (select *, sum(size_bytes) over (order by deleted_at desc, id desc) as total,
          row_number() over (order by deleted_at desc, id desc) as place
        from deleted_images where entity_id = ${entityId}) d
        join repositories r on r.id = d.repository_id
        join entities e on e.id = d.entity_id
      where d.place > 1
        and d.total > greatest(e.quota_bytes, quota_of(null, ${this.#options.defaultQuotaBytes}))`)
    // Their blobs wait for the sweep as those of any deletion do.
    for (const row of rows) await this.#giveUp(tx, row, housekeeper)
  }

  async #find(
    actor: Actor,
    { id, entity }: { readonly id: number; readonly entity: string | undefined },
    action: 'push' | 'delete',
  ): Promise<DeletedImageRow> {
    const account = requireFullAccount(actor)
    const keepDays = this.#options.undeleteDays
    const [row] = await selectDeleted(this.#database, { keepDays, id, entity })
    if (row === undefined) throw noSuchImage(id)
    // What was deleted in a space of somebody else is nobody's business, public or not.
    const mayPush = account.isAdmin || account.principals.includes(row.ownerId ?? '')
    if (!mayPush) throw noSuchImage(id)
    requirePermission(actor, action, row)
    return row
  }

  async #requireSpace(actor: Actor, entity: string): Promise<void> {
    const [space] = await this.#database.query<{ ownerId: string | null }>(
      sql`select "ownerId" from entity_details where name = ${entity}`,
    )
    if (space === undefined) throw notFound('entity', `There is no entity "${entity}".`)
    requirePermission(actor, 'push', {
      entity,
      ownerId: space.ownerId,
      private: false,
      readers: [],
    })
  }

  /** As for a push: what the space does not take any more does not come back either. */
  async #admit(
    row: DeletedImageRow,
    blobs: readonly { readonly digest: Digest; readonly size: number }[],
  ): Promise<void> {
    const sif = row.isSif ? blobs.find(({ digest }) => digest === row.digest) : undefined
    if (sif !== undefined) {
      return await this.#policy.admitStored(row.entityId, sif.digest, sif.size)
    }
    // An index holds nothing but manifests that were taken.
    if (blobs.length > 0) await this.#policy.admitOther(row.entityId)
  }

  async #pay(
    tx: Db,
    { entityId, repositoryId, entity, sizeBytes }: DeletedImageRow,
    blobs: readonly { readonly digest: Digest; readonly size: number }[],
  ): Promise<void> {
    const defaultQuota = this.#options.defaultQuotaBytes
    try {
      for (const blob of blobs) {
        await link(tx, { entityId, repositoryId }, blob, { reservedBytes: 0, defaultQuota })
      }
    } catch (error) {
      if (!(error instanceof Failure) || error.kind !== 'over-quota') throw error
      const text = `The quota of "${entity}" has no room for these ${sizeBytes} bytes: delete other images first, or have the quota raised.`
      throw new Failure('over-quota', 'entity', text, { cause: error })
    }
  }

  async #putBack(tx: Db, row: DeletedImageRow, manifest: DeletedManifestRow): Promise<void> {
    const { entityId, repositoryId } = row
    const isNew = await insertManifest(tx, repositoryId, { ...manifest, composed: false })
    if (isNew && manifest.chargedBytes > 0) {
      await charge(tx, entityId, manifest.chargedBytes, this.#options.defaultQuotaBytes)
    }
    if (manifest.sifDigest === null) return
    // It arrives anew: a rule that counts or times images begins with it again.
    await tx.query(sql`
      insert into images
        (repository_id, digest, manifest_digest, description, uploaded_at, created_by)
      values (${repositoryId}, ${manifest.sifDigest}, ${manifest.digest}, ${row.description}, now(),
        ${row.createdBy})
      on conflict (repository_id, digest) do update
      set manifest_digest = coalesce(images.manifest_digest, excluded.manifest_digest),
        uploaded_at = coalesce(images.uploaded_at, excluded.uploaded_at)`)
  }

  /** A tag that somebody has set since stays what it is. */
  async #tagAgain(
    tx: Db,
    { repositoryId }: DeletedImageRow,
    manifests: readonly DeletedManifestRow[],
    actor: Actor,
  ): Promise<{ readonly restored: readonly Tag[]; readonly taken: readonly Tag[] }> {
    const by = actor.kind === 'account' ? actor.accountId : 'unknown'
    const restored = new Set<Tag>()
    const taken = new Set<Tag>()
    for (const manifest of manifests) {
      const { digest, bytes, mediaType } = manifest
      for (const { name, arch } of manifest.tags) {
        if (await isTaken(tx, repositoryId, name, arch)) {
          taken.add(name)
        } else if (arch === '') {
          const document = parseManifest(bytes, mediaType)
          const images = await imagesIn(tx, repositoryId, digest, document)
          const whole = { digest, images, isIndex: document.isIndex }
          await setWholeTag(tx, repositoryId, name, whole, by)
          restored.add(name)
        } else {
          await setTagForArch(tx, repositoryId, { name, arch, manifestDigest: digest }, by)
          restored.add(name)
        }
      }
    }
    return {
      restored: [...restored].sort(),
      taken: [...taken].filter((name) => !restored.has(name)).sort(),
    }
  }

  #describe(row: DeletedImageRow): DeletedImage {
    const { id, path, digest, tags, sizeBytes, deletedAt, deletedBy, reason } = row
    const goneAt = new Date(deletedAt.getTime() + this.#options.undeleteDays * 86_400_000)
    return { id, path, digest, tags, sizeBytes, deletedAt, goneAt, deletedBy, reason }
  }
}

interface Expired {
  readonly id: number
  readonly path: string
  readonly digest: Digest
  readonly entityId: number
  readonly sizeBytes: number
  readonly deletedAt: Date
}

/** A face that a client of the registry pushed stands for all architectures, and so does a bare one. */
async function isTaken(tx: Db, repositoryId: number, name: Tag, arch: string): Promise<boolean> {
  const rows = await tx.query(sql`
    select 1 from tags t join manifests m
      on m.repository_id = t.repository_id and m.digest = t.manifest_digest
    where t.repository_id = ${repositoryId} and t.name = ${name}
      and (${arch} = '' or t.arch = ${arch} or (t.arch = '' and not m.composed))
    limit 1`)
  return rows.length > 0
}

function noSuchImage(id: number): Failure {
  return notFound('image', `There is no deleted image with the number ${id} (any more).`)
}
