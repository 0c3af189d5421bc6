/**
 * An image whose hash nobody knows before it has arrived: one that a builder sends. Its bytes come as
 * those of a blob do, with the quota taken before the first one moves; then it is announced, and ends
 * like every upload of an image.
 */
import type { AccountActor } from '../accounts/actor.ts'
import { invalid } from '../failure.ts'
import type { BlobUploads } from './blob-uploads.ts'
import type { ImageRow } from './images.ts'
import { parseArch } from './names.ts'
import type { RepositoryName, Tag } from './names.ts'
import type { Registry } from './registry.ts'
import type { Uploads } from './uploads.ts'

export interface BuiltImage {
  readonly name: RepositoryName
  readonly tag: Tag
  /** The architecture that was asked for. */
  readonly arch: string
  readonly size: number
  readonly source: AsyncIterable<Buffer>
}

export class BuiltImages {
  readonly #registry: Registry
  readonly #uploads: Uploads
  readonly #blobUploads: BlobUploads

  constructor(registry: Registry, uploads: Uploads, blobUploads: BlobUploads) {
    this.#registry = registry
    this.#uploads = uploads
    this.#blobUploads = blobUploads
  }

  /** Throws what any push would: no right, over the quota, not a SIF, against the space's rule. */
  async push(actor: AccountActor, image: BuiltImage): Promise<ImageRow> {
    const { name, tag, source, size } = image
    const upload = await this.#blobUploads.open(actor, name)
    try {
      const chunk = { source, length: size, range: undefined }
      await this.#blobUploads.append(actor, name, upload, chunk)
      const digest = await this.#blobUploads.becomeImage(actor, name, upload)
      const pushed = await this.#uploads.completeWhole(actor, name, digest)
      if (pushed.arch !== '' && pushed.arch !== image.arch) {
        await this.#undo(actor, pushed)
        throw invalid('image', `The image is for ${pushed.arch}, and ${image.arch} was asked for.`)
      }
      const claimed = pushed.arch === '' ? parseArch(image.arch) : undefined
      await this.#registry.setTag(actor, name, tag, digest, claimed)
      return pushed
    } catch (error) {
      // Where it is an image's upload already, or has ended, this finds nothing.
      await this.#blobUploads.cancel(actor, name, upload).catch(() => {})
      throw error
    }
  }

  /** Takes away what was pushed for nothing, unless it was there before. */
  async #undo(actor: AccountActor, pushed: ImageRow): Promise<void> {
    if (pushed.tags.length > 0) return
    const [entity = '', collection = '', ...rest] = pushed.path.split('/')
    const repository = { entity, collection, container: rest.join('/'), path: pushed.path }
    const reference = { kind: 'digest', repository, digest: pushed.digest } as const
    await this.#registry.deleteImage(actor, reference, undefined, { final: true })
  }
}
