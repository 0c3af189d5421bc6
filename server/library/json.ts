/**
 * Library objects as JSON: the members of scs-library-client client/models.go, and those that the
 * enterprise plugin reads. Identifiers are paths; arrays are always present. What an image says of its
 * signatures beyond `signed` and `fingerprints` is Berth's own.
 */
import type { ImageRow, ImageSigner } from '../content/images.ts'
import { imageId } from '../content/names.ts'
import type { CollectionRow, EntityRow, RepositoryRow } from '../content/places.ts'
import type { SearchResult } from '../content/search.ts'
import type { TagRow } from '../content/tags.ts'

interface Base {
  readonly id: string
  readonly deleted: boolean
  readonly createdBy: string
  readonly createdAt: string
  readonly updatedAt: string
  readonly owner: string
  readonly description: string
}

export interface EntityJson extends Base {
  readonly name: string
  readonly collections: readonly string[]
  readonly size: number
  readonly quota: number
  readonly defaultPrivate: boolean
  readonly customData: string
}

export interface CollectionJson extends Base {
  readonly name: string
  readonly entity: string
  readonly entityName: string
  readonly containers: readonly string[]
  readonly size: number
  readonly private: boolean
  readonly customData: string
}

export interface ContainerJson extends Base {
  readonly name: string
  readonly fullDescription: string
  readonly entity: string
  readonly entityName: string
  readonly collection: string
  readonly collectionName: string
  readonly images: readonly string[]
  readonly imageTags: Readonly<Record<string, string>>
  readonly archTags: ArchTags
  readonly size: number
  readonly downloadCount: number
  readonly stars: number
  readonly private: boolean
  readonly readOnly: boolean
  readonly customData: string
}

export interface ImageJson extends Base {
  readonly hash: string
  readonly container: string
  readonly containerName: string
  readonly collection: string
  readonly collectionName: string
  readonly entity: string
  readonly entityName: string
  readonly size: number
  readonly uploaded: boolean
  readonly signed: boolean
  readonly verified: boolean
  readonly signatureState: string
  readonly signatureReason: string
  readonly signers: readonly ImageSigner[]
  readonly encrypted: boolean
  readonly arch: string
  readonly fingerprints: readonly string[]
  readonly tags: readonly string[]
  readonly containerDescription: string
  readonly containerStars: number
  readonly containerDownloads: number
  readonly customData: string
}

type ArchTags = Readonly<Record<string, Readonly<Record<string, string>>>>

export function entityJson(entity: EntityRow, collections: readonly string[] = []): EntityJson {
  return {
    ...base(entity.name, entity, entity.ownerId),
    name: entity.name,
    collections,
    size: entity.usedBytes,
    quota: entity.quotaBytes,
    defaultPrivate: false,
    customData: '',
  }
}

export function collectionJson(collection: CollectionRow): CollectionJson {
  return {
    ...base(`${collection.entity}/${collection.name}`, collection, collection.createdBy),
    name: collection.name,
    entity: collection.entity,
    entityName: collection.entity,
    containers: collection.repositories,
    size: collection.sizeBytes,
    private: collection.private,
    customData: '',
  }
}

export function containerJson(
  repository: RepositoryRow,
  images: readonly ImageRow[],
  tags: readonly TagRow[],
): ContainerJson {
  return {
    ...base(repository.path, repository, repository.createdBy),
    name: repository.name,
    fullDescription: repository.fullDescription,
    entity: repository.entity,
    entityName: repository.entity,
    collection: `${repository.entity}/${repository.collection}`,
    collectionName: repository.collection,
    images: images.map((image) => imageId(image.path, image.digest)),
    imageTags: imageTagsJson(repository.path, tags),
    archTags: archTagsJson(repository.path, tags),
    size: repository.sizeBytes,
    downloadCount: repository.downloadCount,
    stars: 0,
    private: repository.private,
    readOnly: false,
    customData: '',
  }
}

export function imageJson(image: ImageRow): ImageJson {
  const dates = { createdAt: image.createdAt, updatedAt: image.uploadedAt }
  return {
    ...base(imageId(image.path, image.digest), { ...image, ...dates }, image.createdBy),
    hash: `sha256.${image.digest.slice('sha256:'.length)}`,
    container: image.path,
    containerName: image.container,
    collection: `${image.entity}/${image.collection}`,
    collectionName: image.collection,
    entity: image.entity,
    entityName: image.entity,
    size: image.sizeBytes,
    uploaded: true,
    signed: image.signed,
    verified: image.signatureState === 'verified',
    signatureState: image.signatureState,
    signatureReason: image.signatureReason ?? '',
    signers: image.signers,
    encrypted: image.encrypted,
    arch: image.arch,
    fingerprints: image.fingerprints,
    tags: image.tags,
    containerDescription: image.containerDescription,
    containerStars: 0,
    containerDownloads: image.containerDownloads,
    customData: '',
  }
}

/** { tag: image }; of a tag with several architectures, what was tagged last. */
export function imageTagsJson(
  path: RepositoryRow['path'],
  tags: readonly TagRow[],
): Readonly<Record<string, string>> {
  return Object.fromEntries(tags.map((tag) => [tag.name, imageId(path, tag.imageDigest)]))
}

/** { arch: { tag: image } } */
export function archTagsJson(path: RepositoryRow['path'], tags: readonly TagRow[]): ArchTags {
  const archs = [...new Set(tags.map((tag) => tag.arch))]
  return Object.fromEntries(
    archs.map((arch) => [
      arch,
      imageTagsJson(
        path,
        tags.filter((tag) => tag.arch === arch),
      ),
    ]),
  )
}

/** Clients up to 3.6 list the first three, newer ones only `image`. */
export function searchJson(result: SearchResult): object {
  return {
    entity: result.entities.map(({ name, description }) => ({ id: name, name, description })),
    collection: result.collections.map((collection) => ({
      id: `${collection.entity}/${collection.name}`,
      name: collection.name,
      description: collection.description,
      entity: collection.entity,
      entityName: collection.entity,
      private: collection.private,
    })),
    container: result.repositories.map(({ repository, tags }) => ({
      id: repository.path,
      name: repository.name,
      description: repository.description,
      entity: repository.entity,
      entityName: repository.entity,
      collection: `${repository.entity}/${repository.collection}`,
      collectionName: repository.collection,
      imageTags: imageTagsJson(repository.path, tags),
      archTags: archTagsJson(repository.path, tags),
      downloadCount: repository.downloadCount,
      size: repository.sizeBytes,
    })),
    image: result.images.map(imageJson),
  }
}

function base(
  id: string,
  row: {
    readonly createdAt: Date
    readonly updatedAt: Date
    readonly ownerName: string | null
    readonly description: string
  },
  createdBy: string | null,
): Base {
  return {
    id,
    deleted: false,
    createdBy: createdBy ?? '',
    createdAt: row.createdAt.toISOString(),
    updatedAt: row.updatedAt.toISOString(),
    owner: row.ownerName ?? '',
    description: row.description,
  }
}
