/** What the services send, as far as it is shown; members are those of enterprise.md 4. */
import { z } from 'zod'

const text = z
  .string()
  .nullish()
  .transform((value) => value ?? '')
const flag = z
  .boolean()
  .nullish()
  .transform((value) => value ?? false)
const number = z
  .number()
  .nullish()
  .transform((value) => value ?? 0)
const texts = z
  .array(z.string())
  .nullish()
  .transform((value) => value ?? [])
const tags = z
  .record(z.string(), z.string())
  .nullish()
  .transform((value) => value ?? {})

export const entity = z.object({
  createdAt: text,
  defaultPrivate: flag,
  id: text,
  name: text,
  owner: text,
  updatedAt: text,
})

export const collection = z.object({
  containers: texts,
  entity: text,
  entityName: text,
  id: text,
  name: text,
})

export const container = z.object({
  archTags: z
    .record(z.string(), z.record(z.string(), z.string()))
    .nullish()
    .transform((value) => value ?? {}),
  collection: text,
  collectionName: text,
  createdAt: text,
  deleted: flag,
  description: text,
  downloadCount: number,
  entity: text,
  entityName: text,
  id: text,
  imageTags: tags,
  images: texts,
  name: text,
  size: number,
  updatedAt: text,
})

export const image = z.object({
  arch: text,
  collection: text,
  collectionName: text,
  container: text,
  containerName: text,
  deleted: flag,
  description: text,
  encrypted: flag,
  entity: text,
  entityName: text,
  hash: text,
  id: text,
  signed: flag,
  size: number,
  tags: texts,
  uploaded: flag,
})

export const token = z.object({
  expiration: text,
  id: text,
  isRevoked: flag,
  issuedAt: text,
  label: text,
  revokedAt: text,
  subject: text,
})

const quotas = z.object({
  maxBuildTime: number,
  maxBuildTimeCumulative: number,
  maxLibrarySize: number,
})

export const user = z.object({
  active: flag,
  allRoles: texts,
  createdAt: text,
  deactivatedAt: text,
  email: text,
  fullName: text,
  groups: texts,
  id: text,
  organizationIDs: texts,
  provider: text,
  providerID: text,
  quotas: quotas.nullish().transform((value) => value ?? quotas.parse({})),
  roles: texts,
  username: text,
})

export const build = z.object({
  buildRecipe: text,
  callbackURL: text,
  completeTime: text,
  createdBy: text,
  deleted: flag,
  id: text,
  imageChecksum: text,
  imageSize: number,
  isComplete: flag,
  libraryRef: text,
  libraryURL: text,
  startTime: text,
  status: text,
  submitTime: text,
  wsURL: text,
})

export const agent = z.object({
  addedAt: text,
  address: text,
  id: text,
  queue: text,
  taskID: text,
  taskedAt: text,
})

export type Build = z.infer<typeof build>
export type Agent = z.infer<typeof agent>
export type Entity = z.infer<typeof entity>
export type Collection = z.infer<typeof collection>
export type Container = z.infer<typeof container>
export type Image = z.infer<typeof image>
export type Token = z.infer<typeof token>
export type User = z.infer<typeof user>
