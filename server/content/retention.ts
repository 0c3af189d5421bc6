/**
 * Rules for what is kept. A rule is set by the owner of a space or an administrator, shows what it
 * would let go, and acts from when it was made active as it stands; changing it makes it inactive
 * again. What a rule lets go is deleted as a person would delete it: it can be restored for the days
 * of the trash. An image stays where either measure of its rule keeps it:
 *
 *   keepLast          it is among the last so many that came to the place of the rule (or, with
 *                     eachContainer, to its container)
 *   pulledWithinDays  it came, or was last pulled, within so many days
 *   keepTagged        it has a tag; without this its tags go with it
 */
import { housekeeper } from '../accounts/accounts.ts'
import type { Actor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
import { requireFullAccount, requirePermission } from '../accounts/permissions.ts'
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { Failure, invalid, notFound } from '../failure.ts'
import { removeManifests } from './manifest-removal.ts'
import { parsePlace } from './names.ts'
import type { Digest } from './names.ts'
import { lockEntity } from './quota.ts'
import { findPlace, selectDoomed, selectRules } from './retention-rows.ts'
import type { DoomedImage, RulePlace, RuleRow } from './retention-rows.ts'
import { tagsOfManifests } from './trash-rows.ts'
import type { Trash } from './trash.ts'

export interface RetentionMeasures {
  readonly keepLast: number | null
  readonly pulledWithinDays: number | null
  readonly keepTagged: boolean
  readonly eachContainer: boolean
}

export interface RetentionRule extends RetentionMeasures {
  /** entity, entity/collection or entity/collection/container. */
  readonly place: string
  readonly active: boolean
  readonly setAt: Date
}

export interface RetentionPreview {
  readonly rule: RetentionRule
  readonly images: readonly PreviewedImage[]
  readonly sizeBytes: number
}

interface PreviewedImage {
  readonly path: string
  readonly digest: Digest
  readonly tags: readonly string[]
  readonly sizeBytes: number
  readonly arrivedAt: Date
  readonly pulledAt: Date | null
}

export interface RetentionResult {
  readonly imagesDeleted: number
  readonly bytes: number
}

/** Images in one transaction, for which the space is locked. */
const batch = 50
const previewLimit = 100_000

export class Retention {
  readonly #database: Database
  readonly #trash: Trash

  constructor(database: Database, trash: Trash) {
    this.#database = database
    this.#trash = trash
  }

  /** The rules of the caller's spaces. */
  async list(actor: Actor): Promise<RetentionRule[]> {
    const { principals } = requireFullAccount(actor)
    return (await selectRules(this.#database, { principals })).map(describe)
  }

  /** Everybody's, for the administrator of the host. */
  async listAll(): Promise<RetentionRule[]> {
    return (await selectRules(this.#database)).map(describe)
  }

  async read(actor: Actor, place: string): Promise<RetentionRule> {
    const found = await this.#owned(this.#database, actor, place)
    return describe(await this.#ruleOf(this.#database, found, place))
  }

  /**
   * A new rule, or one with other measures, is inactive; `active` is for one that stands as it is
   * given here, whose preview somebody could have looked at.
   */
  async set(
    actor: Actor,
    place: string,
    wanted: RetentionMeasures & { readonly active: boolean },
  ): Promise<RetentionRule> {
    const { keepLast, pulledWithinDays, keepTagged, eachContainer, active } = wanted
    if (keepLast === null && pulledWithinDays === null) {
      throw invalid('rule', 'Say how many images are kept, or for how many days after a pull.')
    }
    return await this.#database.transaction(async (tx) => {
      const found = await this.#owned(tx, actor, place)
      await lockEntity(tx, found.entityId)
      const before = await this.#findRule(tx, found)
      const stands = before !== undefined && sameMeasures(before, wanted)
      if (active && !stands) {
        const text = `Set this rule for "${place}" first, look at what it would delete, and make it active then.`
        throw new Failure('conflict', 'rule', text)
      }
      await tx.query(sql`
        insert into retention_rules (entity_id, collection_id, repository_id, keep_last,
          pulled_within_days, keep_tagged, each_container, active, set_by)
        values (${found.entityId}, ${found.collectionId}, ${found.repositoryId}, ${keepLast},
          ${pulledWithinDays}, ${keepTagged}, ${eachContainer}, ${active},
          ${actor.kind === 'account' ? actor.accountId : null})
        on conflict (entity_id, coalesce(collection_id, 0), coalesce(repository_id, 0)) do update
        set keep_last = excluded.keep_last, pulled_within_days = excluded.pulled_within_days,
          keep_tagged = excluded.keep_tagged, each_container = excluded.each_container,
          active = excluded.active, set_by = excluded.set_by, set_at = now()`)
      const details = { ...measuresOf(wanted), active, before: before ? measuresOf(before) : null }
      await audit(tx, actor, { action: 'retention.set', target: place, details })
      return describe(await this.#ruleOf(tx, found, place))
    })
  }

  async remove(actor: Actor, place: string): Promise<void> {
    await this.#database.transaction(async (tx) => {
      const found = await this.#owned(tx, actor, place)
      const rule = await this.#ruleOf(tx, found, place)
      await tx.query(sql`delete from retention_rules where id = ${rule.id}`)
      const details = { ...measuresOf(rule) }
      await audit(tx, actor, { action: 'retention.remove', target: place, details })
    })
  }

  /** Exactly what the rule would delete if it acted now. */
  async preview(actor: Actor, place: string): Promise<RetentionPreview> {
    const found = await this.#owned(this.#database, actor, place)
    const rule = await this.#ruleOf(this.#database, found, place)
    const options = { including: rule.id, only: rule.id, limit: previewLimit }
    const doomed = await selectDoomed(this.#database, found.entityId, options)
    const images = doomed.map(({ path, digest, tags, sizeBytes, arrivedAt, pulledAt }) => {
      return { path, digest, tags, sizeBytes, arrivedAt, pulledAt }
    })
    const sizeBytes = images.reduce((sum, image) => sum + image.sizeBytes, 0)
    return { rule: describe(rule), images, sizeBytes }
  }

  /** By the clock: the active rules of all spaces. */
  async act(): Promise<RetentionResult> {
    const rules = (await selectRules(this.#database)).filter(({ active }) => active)
    let imagesDeleted = 0
    let bytes = 0
    for (const entityId of new Set(rules.map((rule) => rule.entityId))) {
      for (;;) {
        const gone = await this.#actOn(entityId)
        imagesDeleted += gone.length
        for (const { sizeBytes } of gone) bytes += sizeBytes
        if (gone.length < batch) break
      }
    }
    return { imagesDeleted, bytes }
  }

  /** What is doomed is asked under the lock under which it goes: a tag set before that counts. */
  async #actOn(entityId: number): Promise<readonly DoomedImage[]> {
    return await this.#database.transaction(async (tx) => {
      await lockEntity(tx, entityId)
      const doomed = await selectDoomed(tx, entityId, { limit: batch })
      for (const image of doomed) await this.#delete(tx, entityId, image)
      return doomed
    })
  }

  async #delete(tx: Db, entityId: number, image: DoomedImage): Promise<void> {
    const { repositoryId, path, digest, manifests } = image
    const place = { entityId, repositoryId }
    const tags = await tagsOfManifests(tx, repositoryId, manifests)
    const deletion = { actor: housekeeper, reason: 'retention' } as const
    await this.#trash.keep(tx, place, manifests, tags, deletion)
    await removeManifests(tx, place, manifests)
    const details = {
      digest,
      tags: image.tags,
      size: image.sizeBytes,
      arrivedAt: image.arrivedAt,
      pulledAt: image.pulledAt,
      reason: 'retention',
    }
    await audit(tx, housekeeper, { action: 'image.delete', target: `${path}@${digest}`, details })
  }

  async #owned(db: Db, actor: Actor, place: string): Promise<RulePlace> {
    const names = parsePlace(place)
    const { entity } = names
    const found = await findPlace(db, names)
    // Whose the space is decides first: what is in a space of somebody else is not told.
    const space =
      found ?? (await findPlace(db, { entity, collection: undefined, container: undefined }))
    if (space === undefined) throw notFound('entity', `There is no entity "${entity}".`)
    const { ownerId } = space
    requirePermission(actor, 'delete', { entity, ownerId, private: false, readers: [] })
    if (found === undefined) throw notFound('rule', `There is no "${place}".`)
    return found
  }

  async #ruleOf(db: Db, found: RulePlace, place: string): Promise<RuleRow> {
    const rule = await this.#findRule(db, found)
    if (rule === undefined) throw notFound('rule', `"${place}" has no rule of its own.`)
    return rule
  }

  async #findRule(db: Db, found: RulePlace): Promise<RuleRow | undefined> {
    const [row] = await db.query<{ id: number }>(sql`
      select id from retention_rules where entity_id = ${found.entityId}
        and collection_id is not distinct from ${found.collectionId}
        and repository_id is not distinct from ${found.repositoryId}`)
    const rules = await selectRules(db, { entityId: found.entityId })
    return rules.find(({ id }) => id === row?.id)
  }
}

function measuresOf(rule: RetentionMeasures): RetentionMeasures {
  const { keepLast, pulledWithinDays, keepTagged, eachContainer } = rule
  return { keepLast, pulledWithinDays, keepTagged, eachContainer }
}

function sameMeasures(one: RetentionMeasures, other: RetentionMeasures): boolean {
  return JSON.stringify(measuresOf(one)) === JSON.stringify(measuresOf(other))
}

function describe(row: RuleRow): RetentionRule {
  const { place, active, setAt } = row
  return { place, ...measuresOf(row), active, setAt }
}
