/**
 * Which images a space takes: any, or only those whose signatures the keystore verifies. The rule is
 * asked at each push, before anything is stored; what was there before stays, and is listed.
 */
import type { Actor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
import { requireAdministrator, requirePermission } from '../accounts/permissions.ts'
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { denied, notFound } from '../failure.ts'
import type { ByteSource } from '../sif/inspect.ts'
import { sourceOf } from './adoption.ts'
import type { BlobStore } from './blob-store.ts'
import type { Digest } from './names.ts'

export type ImageRule = 'any' | 'verified'

/** The keystore's word on the bytes of an image (keystore/image-checks.ts). */
export interface VerifiesImages {
  verify(source: ByteSource): Promise<{
    readonly state: string
    /** For people; undefined when the image is verified. */
    readonly reason: string | undefined
  }>
}

export interface SpaceRule {
  readonly entity: string
  /** What holds for the next push. */
  readonly images: ImageRule
  /** What is set for this space; null: the site's rule holds. */
  readonly own: ImageRule | null
  readonly site: ImageRule
}

/** An image that a push would not bring in today. */
export interface Breach {
  readonly image: string
  readonly digest: Digest
  readonly tags: readonly string[]
  readonly uploadedBy: string | null
  readonly state: string
  readonly reason: string | null
}

interface Space {
  readonly id: number
  readonly name: string
  readonly ownerId: string | null
  readonly required: boolean | null
}

export class ImagePolicy {
  readonly #database: Database
  readonly #blobs: BlobStore
  readonly #signatures: VerifiesImages
  readonly #site: ImageRule

  constructor(database: Database, blobs: BlobStore, signatures: VerifiesImages, site: ImageRule) {
    this.#database = database
    this.#blobs = blobs
    this.#signatures = signatures
    this.#site = site
  }

  /** Reads the whole file where a known key has signed it. Failure `denied` says what is missing. */
  async admit(entityId: number, source: ByteSource): Promise<void> {
    const space = await this.#strict(entityId)
    if (space === undefined) return
    const { state, reason } = await this.#signatures.verify(source)
    if (state !== 'verified') throw refusal(space, reason ?? `It is ${state}.`)
  }

  /** The same for bytes that are in the store already. */
  async admitStored(entityId: number, digest: Digest, size: number): Promise<void> {
    if ((await this.#strict(entityId)) === undefined) return
    const file = await this.#blobs.openBlob(digest, size)
    try {
      await this.admit(entityId, sourceOf(file, size))
    } finally {
      await file.close()
    }
  }

  /** Images of other forms bear no signature that Berth could verify. */
  async admitOther(entityId: number): Promise<void> {
    const space = await this.#strict(entityId)
    if (space !== undefined) throw refusal(space, 'This one is no SIF.')
  }

  async read(actor: Actor, entity: string): Promise<SpaceRule> {
    return this.#describe(await this.#owned(this.#database, actor, entity))
  }

  /** null lets the site's rule hold. Owners may be stricter than the site, administrators laxer too. */
  async set(actor: Actor, entity: string, rule: ImageRule | null): Promise<SpaceRule> {
    if (rule === 'any' && this.#site === 'verified') requireAdministrator(actor)
    return await this.#database.transaction(async (tx) => {
      const space = await this.#owned(tx, actor, entity)
      const required = rule === null ? null : rule === 'verified'
      await tx.query(sql`update entities set require_verified = ${required} where id = ${space.id}`)
      const details = { images: rule ?? 'default', before: ruleOf(space.required) ?? 'default' }
      await audit(tx, actor, { action: 'policy.set', target: space.name, details })
      return this.#describe({ ...space, required })
    })
  }

  /** All spaces with what holds in them, by name. */
  async list(): Promise<SpaceRule[]> {
    const spaces = await this.#database.query<Space>(sql`
      select id, name, owner_id as "ownerId", require_verified as required
      from entities order by name`)
    return spaces.map((space) => this.#describe(space))
  }

  /** Stored images whose signatures do not hold, in one space or in those that ask for it. */
  async breaches(entity: string | undefined): Promise<Breach[]> {
    const strict = this.#site === 'verified'
    return await this.#database.query<Breach>(sql`
      select d.path as image, d.digest, d.tags, a.name as "uploadedBy",
        s."signatureState" as state, s."signatureReason" as reason
      from image_details d join image_signatures s on s.digest = d.digest
        join repositories r on r.id = d."repositoryId"
        join entities e on e.id = r.entity_id
        left join accounts a on a.id = d."createdBy"
      where s."signatureState" <> 'verified'
        and case when ${entity ?? null}::text is null then coalesce(e.require_verified, ${strict})
          else e.name = ${entity ?? null} end
      order by d.path, d.digest`)
  }

  async #strict(entityId: number): Promise<Space | undefined> {
    const [space] = await this.#database.query<Space>(sql`
      select id, name, owner_id as "ownerId", require_verified as required
      from entities where id = ${entityId}`)
    return space && this.#describe(space).images === 'verified' ? space : undefined
  }

  async #owned(db: Db, actor: Actor, entity: string): Promise<Space> {
    const [space] = await db.query<Space>(sql`
      select id, name, coalesce(owner_id, owner_group_id) as "ownerId", require_verified as required
      from entities where name = ${entity} for update`)
    if (space === undefined) throw notFound('entity', `There is no entity "${entity}".`)
    requirePermission(actor, 'push', {
      entity: space.name,
      ownerId: space.ownerId,
      private: false,
      readers: [],
    })
    return space
  }

  #describe({ name, required }: Space): SpaceRule {
    const own = ruleOf(required)
    return { entity: name, images: own ?? this.#site, own, site: this.#site }
  }
}

function ruleOf(required: boolean | null): ImageRule | null {
  if (required === null) return null
  return required ? 'verified' : 'any'
}

function refusal({ name }: Space, reason: string): Error {
  return denied(
    'image',
    `"${name}" takes only images that are signed with keys of this site's keystore. ${reason} Sign it with singularity sign, publish your key with singularity key push, and push again.`,
  )
}
