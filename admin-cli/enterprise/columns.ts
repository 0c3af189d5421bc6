/** The columns of each kind of object, short and long (enterprise.md 5). */
import { listCell, mapCell, shortCell, sizeCell, timeCell } from './cells.ts'
import type { Agent, Build, Collection, Container, Entity, Image, Token, User } from './objects.ts'

export interface Column<Row> {
  readonly title: string
  readonly cell: (row: Row) => string
  /** `both` unless it is in one form of the table only; csv has the long ones. */
  readonly in?: 'short' | 'long'
}

export const entityColumns: readonly Column<Entity>[] = [
  { title: 'ID', cell: (row) => row.id },
  { title: 'Name', cell: (row) => row.name },
  { title: 'Owner', cell: (row) => row.owner },
  { title: 'CreatedAt', cell: (row) => timeCell(row.createdAt), in: 'long' },
  { title: 'UpdatedAt', cell: (row) => timeCell(row.updatedAt), in: 'long' },
  { title: 'DefaultPrivate', cell: (row) => String(row.defaultPrivate), in: 'long' },
]

export const collectionColumns: readonly Column<Collection>[] = [
  { title: 'ID', cell: (row) => row.id },
  { title: 'Name', cell: (row) => row.name },
  { title: 'Entity', cell: (row) => row.entity, in: 'long' },
  { title: 'EntityName', cell: (row) => row.entityName, in: 'long' },
  { title: 'Num. Containers', cell: (row) => String(row.containers.length) },
  { title: 'Containers', cell: (row) => listCell(row.containers), in: 'long' },
]

export const containerColumns: readonly Column<Container>[] = [
  { title: 'ID', cell: (row) => row.id },
  { title: 'Name', cell: (row) => row.name },
  { title: 'Entity', cell: (row) => row.entity, in: 'long' },
  { title: 'EntityName', cell: (row) => row.entityName, in: 'long' },
  { title: 'Collection', cell: (row) => row.collection, in: 'long' },
  { title: 'CollectionName', cell: (row) => row.collectionName, in: 'long' },
  { title: 'Description', cell: (row) => shortCell(row.description) },
  { title: 'Images', cell: (row) => String(row.images.length) },
  { title: 'Tags', cell: (row) => String(Object.keys(row.imageTags).length) },
  { title: 'Size', cell: (row) => sizeCell(row.size) },
  { title: 'DownloadCount', cell: (row) => String(row.downloadCount) },
  { title: 'ImageTags', cell: (row) => mapCell(row.imageTags), in: 'long' },
  { title: 'CreatedAt', cell: (row) => timeCell(row.createdAt), in: 'long' },
  { title: 'UpdatedAt', cell: (row) => timeCell(row.updatedAt), in: 'long' },
  { title: 'Deleted', cell: (row) => String(row.deleted), in: 'long' },
]

export const imageColumns: readonly Column<Image>[] = [
  { title: 'ID', cell: (row) => row.id },
  { title: 'Entity', cell: (row) => row.entity, in: 'long' },
  { title: 'EntityName', cell: (row) => row.entityName, in: 'long' },
  { title: 'Collection', cell: (row) => row.collection, in: 'long' },
  { title: 'CollectionName', cell: (row) => row.collectionName, in: 'long' },
  { title: 'Container', cell: (row) => row.container, in: 'long' },
  { title: 'ContainerName', cell: (row) => row.containerName, in: 'long' },
  { title: 'Tags', cell: (row) => listCell(row.tags) },
  { title: 'Arch', cell: (row) => row.arch },
  { title: 'Description', cell: (row) => shortCell(row.description) },
  { title: 'Hash', cell: (row) => row.hash, in: 'long' },
  { title: 'Size', cell: (row) => sizeCell(row.size), in: 'short' },
  { title: 'Signed', cell: (row) => String(row.signed) },
  { title: 'Encrypted', cell: (row) => String(row.encrypted) },
  { title: 'Uploaded', cell: (row) => String(row.uploaded) },
  { title: 'Deleted', cell: (row) => String(row.deleted), in: 'long' },
]

/** `names`: of accounts by their IDs. */
export function buildColumns(names: ReadonlyMap<string, string>): readonly Column<Build>[] {
  return [
    { title: 'ID', cell: (row) => row.id },
    { title: 'CreatedBy', cell: (row) => names.get(row.createdBy) ?? 'UNKNOWN' },
    { title: 'IsComplete', cell: (row) => String(row.isComplete) },
    { title: 'SubmitTime', cell: (row) => timeCell(row.submitTime) },
    { title: 'StartTime', cell: (row) => timeCell(row.startTime), in: 'long' },
    { title: 'CompleteTime', cell: (row) => timeCell(row.completeTime) },
    { title: 'LibraryRef', cell: (row) => row.libraryRef },
    { title: 'LibraryURL', cell: (row) => row.libraryURL, in: 'long' },
    { title: 'ImageSize', cell: (row) => String(row.imageSize), in: 'long' },
    { title: 'ImageChecksum', cell: (row) => row.imageChecksum, in: 'long' },
  ]
}

/** The same in all tables. */
export const agentColumns: readonly Column<Agent>[] = [
  { title: 'ID', cell: (row) => row.id },
  { title: 'Queue', cell: (row) => row.queue },
  { title: 'AddedAt', cell: (row) => timeCell(row.addedAt) },
  { title: 'TaskID', cell: (row) => row.taskID },
]

/** `names`: of accounts by their IDs. */
export function tokenColumns(names: ReadonlyMap<string, string>): readonly Column<Token>[] {
  return [
    { title: 'ID', cell: (row) => row.id },
    { title: 'Subject', cell: (row) => names.get(row.subject) ?? 'UNKNOWN' },
    { title: 'Label', cell: (row) => shortCell(row.label) },
    { title: 'IssuedAt', cell: (row) => timeCell(row.issuedAt), in: 'long' },
    { title: 'Expiration', cell: (row) => timeCell(row.expiration) },
    { title: 'IsRevoked', cell: (row) => String(row.isRevoked) },
    { title: 'RevokedAt', cell: (row) => timeCell(row.revokedAt), in: 'long' },
  ]
}

export const userColumns: readonly Column<User>[] = [
  { title: 'ID', cell: (row) => row.id },
  { title: 'Username', cell: (row) => row.username },
  { title: 'Email', cell: (row) => row.email },
  { title: 'Provider', cell: (row) => row.provider },
  { title: 'ProviderID', cell: (row) => row.providerID, in: 'long' },
  { title: 'Active', cell: (row) => String(row.active) },
  { title: 'Groups', cell: (row) => listCell(row.groups) },
  { title: 'Roles', cell: (row) => listCell(row.roles), in: 'long' },
  { title: 'AllRoles', cell: (row) => listCell(row.allRoles) },
  { title: 'Quota.MaxBuildTime', cell: (row) => row.quotas.maxBuildTime.toFixed(0), in: 'long' },
  {
    title: 'Quota.MaxBuildTimeCumulative',
    cell: (row) => row.quotas.maxBuildTimeCumulative.toFixed(0),
    in: 'long',
  },
  // The figure is MiB; the plugin takes it for KiB, and so scripts know it.
  {
    title: 'Quota.MaxLibrarySize',
    cell: (row) => sizeCell(row.quotas.maxLibrarySize * 1024),
    in: 'long',
  },
  { title: 'CreatedAt', cell: (row) => timeCell(row.createdAt), in: 'long' },
  { title: 'DeactivatedAt', cell: (row) => timeCell(row.deactivatedAt), in: 'long' },
]
