/** What builds leave behind for a while: images that nobody named, output, contexts. */
import { hostOperator } from '../accounts/accounts.ts'
import type { AccountActor } from '../accounts/actor.ts'
import { parseImageReference } from '../content/names.ts'
import type { NameDefaults } from '../content/names.ts'
import type { Registry } from '../content/registry.ts'
import { sql } from '../database.ts'
import type { Database } from '../database.ts'
import { Failure } from '../failure.ts'
import type { BuildContexts } from './contexts.ts'
import type { OutputFiles } from './output-files.ts'

export interface ExpiryParts {
  readonly database: Database
  readonly registry: Registry
  readonly contexts: BuildContexts
  readonly files: OutputFiles
  readonly defaults: NameDefaults
  readonly keepEphemeralHours: number
  readonly keepOutputDays: number
}

export interface ExpiryResult {
  readonly imagesRemoved: number
  readonly outputsRemoved: number
  readonly contextsRemoved: number
}

const clock: AccountActor = { ...hostOperator, name: 'builder', address: 'builder' }

/** By the clock. What fails is tried again the next time. */
export async function expireBuilds(parts: ExpiryParts): Promise<ExpiryResult> {
  const imagesRemoved = await removeEphemeral(parts)
  const outputsRemoved = await removeOutputs(parts)
  const contextsRemoved = await parts.contexts.expire()
  return { imagesRemoved, outputsRemoved, contextsRemoved }
}

async function removeEphemeral(parts: ExpiryParts): Promise<number> {
  const { database, registry, defaults, keepEphemeralHours } = parts
  const due = await database.query<{ id: string; path: string; tag: string }>(sql`
    select id, target_path as "path", target_tag as "tag" from builds
    where ephemeral and attempts > 0 and image_removed_at is null
      and ended_at < now() - make_interval(secs => ${keepEphemeralHours * 3600})`)
  let removed = 0
  for (const { id, path, tag } of due) {
    const reference = parseImageReference(`${path}:${tag}`, defaults)
    try {
      await registry.deleteImage(clock, reference, undefined, { final: true })
      removed += 1
    } catch (error) {
      // Its owner may have deleted it before, and a build that failed has none.
      if (!(error instanceof Failure) || error.kind !== 'not-found') throw error
    }
    await database.query(sql`update builds set image_removed_at = now() where id = ${id}`)
  }
  return removed
}

async function removeOutputs({ database, files, keepOutputDays }: ExpiryParts): Promise<number> {
  const due = await database.query<{ id: string }>(sql`
    update builds set output_bytes = 0
    where output_bytes > 0 and ended_at < now() - make_interval(secs => ${keepOutputDays * 86_400})
    returning id`)
  for (const { id } of due) await files.remove(id)
  return due.length
}
