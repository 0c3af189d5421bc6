/**
 * The verbs on names, images and tags that every protocol calls. The first act of each is the
 * permission check; only verbs open transactions. Bytes arrive through uploads.ts.
 */
import type { FileHandle } from 'node:fs/promises'

import type { AccountActor, Actor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
import type { GroupSpaces } from '../accounts/group-spaces.ts'
import { findGroup } from '../accounts/groups.ts'
import { allows, requireAccount, requirePermission, viewerOf } from '../accounts/permissions.ts'
import type { Database, Db } from '../database.ts'
import { Failure, invalid, notFound } from '../failure.ts'
import type { BlobStore } from './blob-store.ts'
import { isDamaged } from './damage.ts'
import type { DownloadCounts } from './download-counts.ts'
import type { ImagePolicy } from './image-policy.ts'
import {
  announceImage,
  findReadableSif,
  lookUpImages,
  putSifManifest,
  selectImages,
  selectImagesSignedBy,
} from './images.ts'
import type { ImageRow } from './images.ts'
import { sifConfigType } from './manifest-document.ts'
import { removeManifests } from './manifest-removal.ts'
import { manifestsOfSif } from './manifests.ts'
import type { Arch, Digest, ImageReference, RepositoryName, Tag } from './names.ts'
import {
  findCollection,
  findEntity,
  findRepository,
  forgetPush,
  insertCollection,
  insertEntity,
  insertRepository,
  listCollections,
  listEntities,
  listRepositories,
  repeatIfRemoved,
} from './places.ts'
import type { CollectionRow, EntityOwner, EntityRow, RepositoryRow } from './places.ts'
import { defaultQuotaOf, link, lockEntity, readLedger, roomIn } from './quota.ts'
import type { Ledger } from './quota.ts'
import { searchPlaces } from './search.ts'
import type { SearchQuery, SearchResult } from './search.ts'
import { composeSifManifest } from './sif-manifest.ts'
import { findFace, isTagged, removeTag, selectTags, setTagForArch } from './tags.ts'
import type { TagRow } from './tags.ts'
import { tagsOfManifests } from './trash-rows.ts'
import type { Trash } from './trash.ts'
import { usageOf } from './usage.ts'
import type { SpaceUsage } from './usage.ts'

export interface RegistryOptions {
  readonly defaultQuotaBytes: number
  readonly groupSpaces: GroupSpaces
  readonly policy: ImagePolicy
  readonly downloads: DownloadCounts
  readonly trash: Trash
}

export class Registry {
  readonly #database: Database
  readonly #blobs: BlobStore
  readonly #defaultQuota: number
  readonly #groupSpaces: GroupSpaces
  readonly policy: ImagePolicy
  readonly trash: Trash
  readonly #downloads: DownloadCounts

  constructor(database: Database, blobs: BlobStore, options: RegistryOptions) {
    this.#database = database
    this.#blobs = blobs
    this.#defaultQuota = options.defaultQuotaBytes
    this.#groupSpaces = options.groupSpaces
    this.policy = options.policy
    this.#downloads = options.downloads
    this.trash = options.trash
  }

  // Entities, collections, repositories

  async listEntities(): Promise<EntityRow[]> {
    return await listEntities(this.#database, this.#defaultQuota)
  }

  async getEntity(name: string): Promise<EntityRow> {
    const entity = await findEntity(this.#database, name, this.#defaultQuota)
    if (entity === undefined) throw notFound('entity', `There is no entity "${name}".`)
    return entity
  }

  async getCollection(actor: Actor, entity: string, name: string): Promise<CollectionRow> {
    const collection = await findCollection(this.#database, entity, name)
    if (collection === undefined || !allows(actor, 'pull', collection)) {
      throw notFound('collection', `There is no collection "${entity}/${name}".`)
    }
    return collection
  }

  async listCollections(actor: Actor, entity: string): Promise<CollectionRow[]> {
    await this.getEntity(entity)
    return await listCollections(this.#database, entity, viewerOf(actor))
  }

  async getRepository(actor: Actor, name: RepositoryName): Promise<RepositoryRow> {
    const repository = await findRepository(this.#database, name.path)
    if (repository === undefined || !allows(actor, 'pull', repository)) {
      throw notFound('repository', `There is no container "${name.path}".`)
    }
    return repository
  }

  async listRepositories(
    actor: Actor,
    entity: string,
    collection: string,
  ): Promise<RepositoryRow[]> {
    const { id } = await this.getCollection(actor, entity, collection)
    return await listRepositories(this.#database, id)
  }

  /** Whether a push to the space would be let in; the space need not be there yet. */
  async mayPush(actor: Actor, entity: string): Promise<boolean> {
    if (actor.kind !== 'account') return false
    const existing = await findEntity(this.#database, entity, this.#defaultQuota)
    const owner = existing ? undefined : await this.#ownerOf(this.#database, actor, entity)
    const ownerId = existing ? existing.ownerId : (owner?.groupId ?? owner?.accountId ?? null)
    return allows(actor, 'push', { entity, ownerId, private: false, readers: [] })
  }

  /**
   * The bytes that a push to the space could bring now; the space need not be there yet. Only a
   * reservation holds them. Throws `over-quota` with the numbers when there are none.
   */
  async roomIn(entity: string): Promise<number> {
    const existing = await findEntity(this.#database, entity, this.#defaultQuota)
    const { quotaBytes, usedBytes, reservedBytes } = existing ?? {
      quotaBytes: await defaultQuotaOf(this.#database, this.#defaultQuota),
      usedBytes: 0,
      reservedBytes: 0,
    }
    return roomIn({ quotaBytes, usedBytes, reservedBytes })
  }

  /** An entity appears with its owner's first push; administrators may open others. */
  async ensureEntity(actor: Actor, name: string): Promise<EntityRow> {
    const account = requireAccount(actor)
    await repeatIfRemoved(async () => {
      await this.#database.transaction(async (tx) => await this.#ensureEntity(tx, account, name))
    })
    return await this.getEntity(name)
  }

  async ensureCollection(
    actor: Actor,
    entity: string,
    name: string,
    options: { private?: boolean } = {},
  ): Promise<CollectionRow> {
    const account = requireAccount(actor)
    await repeatIfRemoved(async () => {
      await this.#database.transaction(async (tx) => {
        await this.#ensureCollection(tx, account, entity, name, options)
      })
    })
    return await this.getCollection(actor, entity, name)
  }

  async ensureRepository(
    actor: Actor,
    name: RepositoryName,
    options: { description?: string } = {},
  ): Promise<RepositoryRow> {
    const account = requireAccount(actor)
    return await repeatIfRemoved(async () => {
      await this.#database.transaction(async (tx) => {
        await this.#ensureCollection(tx, account, name.entity, name.collection, {})
        const made = await insertRepository(tx, name, {
          description: options.description ?? '',
          createdBy: account.accountId,
        })
        if (made) await audit(tx, actor, { action: 'repository.create', target: name.path })
      })
      return await this.getRepository(actor, name)
    })
  }

  async #ensureEntity(tx: Db, account: AccountActor, name: string): Promise<EntityRow> {
    const existing = await findEntity(tx, name, this.#defaultQuota)
    if (existing === undefined) {
      const owner = await this.#ownerOf(tx, account, name)
      const ownerId = owner.groupId ?? owner.accountId
      requirePermission(account, 'push', { entity: name, ownerId, private: false, readers: [] })
      const made = await insertEntity(tx, name, owner)
      if (made) await audit(tx, account, { action: 'entity.create', target: name })
    }
    const entity = existing ?? (await findEntity(tx, name, this.#defaultQuota))
    if (entity === undefined) throw new Failure('conflict', 'entity', `"${name}" is being removed.`)
    const { ownerId } = entity
    requirePermission(account, 'push', { entity: name, ownerId, private: false, readers: [] })
    return entity
  }

  /** Of a space that is not there yet: a group of the directory, the account of that name, the site. */
  async #ownerOf(tx: Db, account: AccountActor, name: string): Promise<EntityOwner> {
    if (this.#groupSpaces.has(name)) {
      const group = await findGroup(tx, name)
      const quotaBytes = this.#groupSpaces.quotaOf(name)
      return { accountId: null, groupId: group?.id ?? null, quotaBytes }
    }
    const accountId = account.name === name ? account.accountId : null
    return { accountId, groupId: null, quotaBytes: null }
  }

  async #ensureCollection(
    tx: Db,
    account: AccountActor,
    entity: string,
    name: string,
    options: { private?: boolean },
  ): Promise<void> {
    await this.#ensureEntity(tx, account, entity)
    const made = await insertCollection(tx, entity, name, {
      private: options.private ?? false,
      createdBy: account.accountId,
    })
    if (!made) {
      if (options.private === true) await this.#requirePrivate(tx, entity, name)
      return
    }
    const details = { private: options.private ?? false }
    await audit(tx, account, { action: 'collection.create', target: `${entity}/${name}`, details })
  }

  /** Saying nothing would leave public what the caller believes to be private. */
  async #requirePrivate(tx: Db, entity: string, name: string): Promise<void> {
    const existing = await findCollection(tx, entity, name)
    if (existing?.private === true) return
    const text = `The collection "${entity}/${name}" exists already, and it is public.`
    throw new Failure('conflict', 'collection', text)
  }

  // Images

  /** The image that a reference names; `arch` matters for tags only (protocol.md 5.2). */
  async resolve(
    actor: Actor,
    reference: ImageReference,
    arch: Arch | undefined,
  ): Promise<ImageRow> {
    const [image, ...others] = await lookUpImages(this.#database, reference, arch)
    if (image === undefined) throw await this.#explainMissing(actor, reference)
    if (!allows(actor, 'pull', image)) throw noSuchImage(reference)
    if (others.length > 0) {
      throw new Failure('conflict', 'image', 'Several images have this identifier: use sha256.…')
    }
    return image
  }

  /**
   * SingularityCE goes on with its OCI pull when it reads the media type of an OCI configuration in
   * the text of an error that is not 404 (protocol.md 5.7).
   */
  async #explainMissing(actor: Actor, reference: ImageReference): Promise<Failure> {
    const { path } = reference.repository
    const repository = await findRepository(this.#database, path)
    if (repository && allows(actor, 'pull', repository) && reference.kind === 'tag') {
      const images = await selectTags(this.#database, repository.id, { name: reference.tag })
      const face = await findFace(this.#database, repository.id, reference.tag)
      // With images of other architectures it is theirs, and this one is simply not there.
      if (face !== undefined && images.length === 0) {
        return invalid(
          'image',
          `unexpected media type error (got application/vnd.oci.image.config.v1+json, want ${sifConfigType}): ${path}:${reference.tag} is an OCI image, use docker:// with the registry's address`,
        )
      }
    }
    return noSuchImage(reference)
  }

  /** False when the bytes were lost on the disk: the next push of the image is to bring them. */
  async isStored(image: ImageRow): Promise<boolean> {
    return await this.#blobs.hasBlob(image.digest, image.sizeBytes)
  }

  /** What a key has signed, as far as the caller may see it: whom it concerns when the key is lost. */
  async listSignedBy(actor: Actor, fingerprint: string, limit: number): Promise<ImageRow[]> {
    requireAccount(actor)
    return await selectImagesSignedBy(this.#database, fingerprint, viewerOf(actor), limit)
  }

  async listImages(actor: Actor, name: RepositoryName): Promise<ImageRow[]> {
    const { id } = await this.getRepository(actor, name)
    return await selectImages(this.#database, id)
  }

  /**
   * Announces an image before its bytes. Where the bytes are stored already and the caller may read
   * them, the image is there at once (and charged, if its entity did not have it): nothing is sent.
   */
  async announceImage(
    actor: Actor,
    name: RepositoryName,
    digest: Digest,
    description: string,
  ): Promise<{ readonly image: ImageRow | undefined; readonly repository: RepositoryRow }> {
    const account = requireAccount(actor)
    const repository = await repeatIfRemoved(async () => {
      const repository = await this.ensureRepository(actor, name)
      try {
        await this.#admitStored(account, repository, digest)
        await this.#announce(account, repository, digest, description)
      } catch (error) {
        await forgetPush(this.#database, repository, digest)
        throw error
      }
      return repository
    })
    const [image] = await selectImages(this.#database, repository.id, { digest })
    return { image, repository }
  }

  /** Bytes that need not be sent are judged here, others when they have arrived. */
  async #admitStored(actor: Actor, { entityId }: RepositoryRow, digest: Digest): Promise<void> {
    const stored = await findReadableSif(this.#database, digest, viewerOf(actor))
    if (stored === undefined || !(await this.#blobs.hasBlob(digest, stored.size))) return
    await this.policy.admitStored(entityId, digest, stored.size)
  }

  async #announce(
    account: AccountActor,
    repository: RepositoryRow,
    digest: Digest,
    description: string,
  ): Promise<void> {
    const place = { entityId: repository.entityId, repositoryId: repository.id }
    await this.#database.transaction(async (tx) => {
      const createdBy = account.accountId
      await lockEntity(tx, repository.entityId)
      await announceImage(tx, { repositoryId: repository.id, digest, description, createdBy })
      const stored = await findReadableSif(tx, digest, viewerOf(account))
      // Bytes that were lost on the disk are asked for again: that repairs every image with them.
      if (stored === undefined || !(await this.#blobs.hasBlob(digest, stored.size))) return
      await link(tx, place, stored, { reservedBytes: 0, defaultQuota: this.#defaultQuota })
      const manifest = composeSifManifest(digest, stored.size, stored.facts)
      await putSifManifest(tx, repository.id, digest, manifest, createdBy)
      await audit(tx, account, {
        action: 'image.push',
        target: `${repository.path}@${digest}`,
        details: { size: stored.size, sent: false },
      })
    })
  }

  /**
   * By tag: the tag goes (of one architecture, if one is named), and each image that has no tag left
   * goes with it. By hash: the image goes with all its tags. Running downloads end well; the bytes
   * are off the quota at once. The trash keeps it for a while, unless it is `final`.
   */
  async deleteImage(
    actor: Actor,
    reference: ImageReference,
    arch: Arch | undefined,
    options: { readonly final?: boolean } = {},
  ): Promise<ImageRow> {
    const repository = await this.getRepository(actor, reference.repository)
    requirePermission(actor, 'delete', repository)
    const place = { entityId: repository.entityId, repositoryId: repository.id }
    return await this.#database.transaction(async (tx) => {
      await lockEntity(tx, repository.entityId)
      const [image] = await lookUpImages(tx, reference, arch)
      if (image === undefined) throw noSuchImage(reference)
      const manifests = await manifestsOfSif(tx, repository.id, image.digest)
      const tags = await tagsOfManifests(tx, repository.id, manifests)
      if (reference.kind === 'tag') {
        await removeTag(tx, repository.id, reference.tag, arch ?? image.arch)
      }
      const gone = reference.kind !== 'tag' || !(await isTagged(tx, repository.id, image.digest))
      if (gone) {
        const deletion = { actor, reason: 'request' } as const
        if (options.final !== true) await this.trash.keep(tx, place, manifests, tags, deletion)
        await removeManifests(tx, place, manifests)
      }
      const target =
        reference.kind === 'tag'
          ? `${image.path}:${reference.tag}`
          : `${image.path}@${image.digest}`
      const details = { digest: image.digest, arch: image.arch, imageRemoved: gone }
      await audit(tx, actor, { action: 'image.delete', target, details })
      return image
    })
  }

  // Tags

  async listTags(actor: Actor, name: RepositoryName): Promise<TagRow[]> {
    const { id } = await this.getRepository(actor, name)
    return await selectTags(this.#database, id)
  }

  /** Tags of a repository that the caller has read already, for listings. */
  async tagsOf(repository: RepositoryRow): Promise<TagRow[]> {
    return await selectTags(this.#database, repository.id)
  }

  async imagesOf(repository: RepositoryRow): Promise<ImageRow[]> {
    return await selectImages(this.#database, repository.id)
  }

  /** Points a tag to an image of the same repository, for the architecture that its bytes name. */
  async setTag(
    actor: Actor,
    name: RepositoryName,
    tag: Tag,
    digest: Digest,
    claimedArch: Arch | undefined,
  ): Promise<void> {
    const account = requireAccount(actor)
    const repository = await this.getRepository(actor, name)
    requirePermission(actor, 'push', repository)
    await this.#database.transaction(async (tx) => {
      await lockEntity(tx, repository.entityId)
      const [image] = await selectImages(tx, repository.id, { digest })
      if (image === undefined) {
        throw notFound('image', `There is no image with this hash in ${name.path}: push it first.`)
      }
      if (claimedArch !== undefined && image.arch !== '' && claimedArch !== image.arch) {
        throw invalid('tag', `The image is for ${image.arch}, not for ${claimedArch}.`)
      }
      const arch = image.arch === '' ? (claimedArch ?? '') : image.arch
      const { manifestDigest } = image
      await setTagForArch(tx, repository.id, { name: tag, arch, manifestDigest }, account.accountId)
      const details = { digest, arch }
      await audit(tx, actor, { action: 'tag.set', target: `${name.path}:${tag}`, details })
    })
  }

  async deleteTag(actor: Actor, name: RepositoryName, tag: Tag): Promise<void> {
    const repository = await this.getRepository(actor, name)
    requirePermission(actor, 'delete', repository)
    await this.#database.transaction(async (tx) => {
      await lockEntity(tx, repository.entityId)
      const removed = await removeTag(tx, repository.id, tag, undefined)
      if (removed === 0) throw notFound('tag', `There is no tag "${tag}" in ${name.path}.`)
      await audit(tx, actor, { action: 'tag.delete', target: `${name.path}:${tag}` })
    })
  }

  // Reading

  async usageOf(account: AccountActor): Promise<SpaceUsage[]> {
    return await usageOf(this.#database, account, this.#defaultQuota)
  }

  async search(actor: Actor, query: SearchQuery): Promise<SearchResult> {
    return await searchPlaces(this.#database, query, viewerOf(actor))
  }

  /** Counts a download of the image; the bytes come from `openBlob`. */
  countDownload(image: { readonly repositoryId: number; readonly manifestDigest: Digest }): void {
    this.#downloads.add(image.repositoryId, image.manifestDigest)
  }

  /** Opens stored bytes for whoever was allowed to read them when the request or URL was made. */
  async openBlob(digest: Digest, sizeBytes: number): Promise<FileHandle> {
    return await this.#blobs.openBlob(digest, sizeBytes).catch(async (error: unknown) => {
      const { code } = error as NodeJS.ErrnoException
      if (code !== 'ENOENT' || !(await isDamaged(this.#database, digest))) throw error
      const text = 'The stored bytes of this image were found damaged: it has to be pushed again.'
      throw notFound('image', text)
    })
  }

  async ledgerOf(entityId: number): Promise<Ledger> {
    return await readLedger(this.#database, entityId, this.#defaultQuota)
  }
}

function noSuchImage(reference: ImageReference): Failure {
  return notFound('image', `There is no such image in ${reference.repository.path}.`)
}
