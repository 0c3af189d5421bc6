/**
 * The verbs of the OCI registry on manifests, tags and stored blobs. They work on the rows that the
 * library's verbs work on (registry.ts): a SIF that comes in here is an image there, and the other
 * way round. The first act of each is the permission check; only verbs open transactions.
 */
import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'

import type { AccountActor, Actor } from '../accounts/actor.ts'
import { audit } from '../accounts/audit.ts'
import { allows, requireAccount, requirePermission, viewerOf } from '../accounts/permissions.ts'
import { sql } from '../database.ts'
import type { Database, Db } from '../database.ts'
import { Failure, invalid, notFound } from '../failure.ts'
import type { SifFacts } from '../sif/inspect.ts'
import { inspectFile } from './adoption.ts'
import { claimBlob, linkedAmong, linkedSize, settleClaims, unlinkUnneeded } from './blob-links.ts'
import type { BlobStore } from './blob-store.ts'
import { isDamaged } from './damage.ts'
import { imagesIn } from './images-of-manifest.ts'
import { findSifFacts, insertSifFacts, putImage } from './images.ts'
import { parseManifest, sifLayerOf } from './manifest-document.ts'
import type { ManifestDocument } from './manifest-document.ts'
import { removeManifests } from './manifest-removal.ts'
import { findManifest, insertManifest, listReferrers, lookUpManifest } from './manifests.ts'
import type { ManifestReference, ManifestRow, ReferrerRow } from './manifests.ts'
import { algorithmOf, parseDigest } from './names.ts'
import type { Digest, RepositoryName, RepositoryPath, Tag } from './names.ts'
import { findRepository, removeIfEmpty, repeatIfRemoved } from './places.ts'
import type { RepositoryRow } from './places.ts'
import { charge, lockEntity } from './quota.ts'
import type { Registry } from './registry.ts'
import { composeSifManifest } from './sif-manifest.ts'
import { listTagNames, removeTag, setWholeTag, tagsShowing } from './tags.ts'
import { tagsOfManifests } from './trash-rows.ts'

export interface PushedManifest {
  readonly bytes: Buffer
  readonly contentType: string | undefined
  /** For a reference by digest, besides it. */
  readonly tags: readonly Tag[]
}

export interface PutResult {
  readonly digest: Digest
  readonly subject: Digest | undefined
  /** The image that the manifest holds, where it holds one. */
  readonly sif: Digest | undefined
}

/** A blob as it can be sent: a file, or a configuration that is kept in the database. */
export type FoundBlob =
  | { readonly kind: 'file'; readonly size: number }
  | { readonly kind: 'inline'; readonly bytes: Buffer }

export class Artifacts {
  readonly #database: Database
  readonly #blobs: BlobStore
  readonly #registry: Registry
  readonly #defaultQuota: number

  constructor(
    database: Database,
    blobs: BlobStore,
    registry: Registry,
    options: { readonly defaultQuotaBytes: number },
  ) {
    this.#database = database
    this.#blobs = blobs
    this.#registry = registry
    this.#defaultQuota = options.defaultQuotaBytes
  }

  // Manifests

  async getManifest(
    actor: Actor,
    name: RepositoryName,
    reference: ManifestReference,
  ): Promise<ManifestRow> {
    const found = await lookUpManifest(this.#database, name.path, reference, viewerOf(actor))
    if (found !== undefined) return found
    await this.#registry.getRepository(actor, name)
    throw noSuchManifest(name, reference)
  }

  /** An index is not counted: who follows it counts with the manifest of his architecture. */
  countDownload(manifest: ManifestRow): void {
    if (manifest.isIndex) return
    const { repositoryId, digest } = manifest
    this.#registry.countDownload({ repositoryId, manifestDigest: digest })
  }

  /**
   * `contentType` is the request's; a manifest that is pushed by its digest may get tags with it.
   * The repository appears with its first manifest or upload.
   */
  async putManifest(
    actor: Actor,
    name: RepositoryName,
    reference: ManifestReference,
    { bytes, contentType, tags }: PushedManifest,
  ): Promise<PutResult> {
    const account = requireAccount(actor)
    const document = parseManifest(bytes, contentType)
    const digest = digestOf(bytes, reference)
    await repeatIfRemoved(async () => {
      const repository = await this.#registry.ensureRepository(actor, name)
      requirePermission(actor, 'push', repository)
      await this.#put(account, name, reference, repository, { document, digest, bytes, tags })
    })
    return { digest, subject: document.subject, sif: sifLayerOf(document)?.digest }
  }

  async #put(
    account: AccountActor,
    name: RepositoryName,
    reference: ManifestReference,
    repository: RepositoryRow,
    manifest: {
      readonly document: ManifestDocument
      readonly digest: Digest
      readonly bytes: Buffer
      readonly tags: readonly Tag[]
    },
  ): Promise<void> {
    const { document, digest, bytes, tags } = manifest
    const sif = sifLayerOf(document)
    const place = { entityId: repository.entityId, repositoryId: repository.id }
    try {
      const facts = sif && (await this.#factsOf(repository, sif.digest))
      await this.#admit(repository, document, sif?.digest)
      await this.#database.transaction(async (tx) => {
        await lockEntity(tx, place.entityId)
        const config = await requireParts(tx, place.repositoryId, document, facts)
        const blobs = document.isIndex ? [] : blobsOf(document, config)
        const isNew = await insertManifest(tx, place.repositoryId, {
          digest,
          mediaType: document.mediaType,
          bytes,
          configDigest: document.config?.digest ?? null,
          config,
          sifDigest: sif?.digest ?? null,
          artifactType: document.artifactType ?? null,
          subject: document.subject ?? null,
          annotations: document.annotations,
          composed: false,
          chargedBytes: bytes.length,
          blobs,
          createdBy: account.accountId,
        })
        if (isNew) await charge(tx, place.entityId, bytes.length, this.#defaultQuota)
        if (sif && facts) {
          await insertSifFacts(tx, sif.digest, facts)
          const createdBy = account.accountId
          const image = { digest: sif.digest, manifestDigest: digest, createdBy }
          await putImage(tx, place.repositoryId, image)
        }
        await settleClaims(tx, place.repositoryId, account.accountId, blobs, { isNew })
        const names = reference.kind === 'tag' ? [reference.tag] : tags
        if (names.length > 0) {
          const images = await imagesIn(tx, place.repositoryId, digest, document)
          const manifest = { digest, images, isIndex: document.isIndex }
          for (const tag of names) {
            await setWholeTag(tx, place.repositoryId, tag, manifest, account.accountId)
          }
        }
        const target = printed(name, reference)
        const details = { digest, ...(tags.length === 0 ? {} : { tags }) }
        await audit(tx, account, { action: 'manifest.push', target, details })
      })
    } catch (error) {
      await this.#forgetIfEmpty(place)
      throw error
    }
  }

  /**
   * A tag goes alone, as the specification has it; a manifest takes its tags along. An index that
   * Berth composed for a library tag is that tag: its images go too, where no other tag has them.
   */
  async deleteManifest(
    actor: Actor,
    name: RepositoryName,
    reference: ManifestReference,
  ): Promise<void> {
    const repository = await this.#registry.getRepository(actor, name)
    requirePermission(actor, 'delete', repository)
    const place = { entityId: repository.entityId, repositoryId: repository.id }
    await this.#database.transaction(async (tx) => {
      await lockEntity(tx, place.entityId)
      const target = printed(name, reference)
      if (reference.kind === 'tag') {
        const removed = await removeTag(tx, place.repositoryId, reference.tag, undefined)
        if (removed === 0) throw noSuchManifest(name, reference)
        await audit(tx, actor, { action: 'tag.delete', target })
        return
      }
      const manifest = await findManifest(tx, place.repositoryId, reference.digest)
      if (manifest === undefined) throw noSuchManifest(name, reference)
      await this.#remove(tx, place, manifest, actor)
      await audit(tx, actor, { action: 'manifest.delete', target })
    })
  }

  async #remove(
    tx: Db,
    place: { readonly entityId: number; readonly repositoryId: number },
    manifest: ManifestRow,
    actor: Actor,
  ): Promise<void> {
    const { repositoryId, digest, composed } = manifest
    const deletion = { actor, reason: 'request' } as const
    if (!composed) {
      const tags = await tagsOfManifests(tx, repositoryId, [digest])
      await this.#registry.trash.keep(tx, place, [digest], tags, deletion)
      return await removeManifests(tx, place, [digest])
    }
    const children = parseManifest(manifest.bytes, undefined).parts
    const tags = await tagsOfManifests(
      tx,
      repositoryId,
      children.map((child) => child.digest),
    )
    for (const tag of await tagsShowing(tx, repositoryId, digest)) {
      await removeTag(tx, repositoryId, tag, undefined)
    }
    const untagged = await tx.query<{ digest: Digest }>(sql`
      select m.digest from manifests m
      where m.repository_id = ${repositoryId}
        and m.digest = any(${children.map((child) => child.digest)})
        and not exists (select 1 from tags t
          where t.repository_id = m.repository_id and t.manifest_digest = m.digest)`)
    const gone = untagged.map((child) => child.digest)
    await this.#registry.trash.keep(tx, place, gone, tags, deletion)
    await removeManifests(tx, place, gone)
  }

  // Tags, repositories, referrers

  /** After `last` in the order of bytes. */
  async listTags(
    actor: Actor,
    name: RepositoryName,
    page: { readonly last: string; readonly limit: number },
  ): Promise<Tag[]> {
    const repository = await this.#registry.getRepository(actor, name)
    return await listTagNames(this.#database, repository.id, page)
  }

  /** The repositories with content that the caller may read, after `last`. */
  async listRepositories(
    actor: Actor,
    page: { readonly last: string; readonly limit: number },
  ): Promise<RepositoryPath[]> {
    const { principals, isAdmin } = viewerOf(actor)
    const rows = await this.#database.query<{ path: RepositoryPath }>(sql`
      select r.path
      from repositories r join collection_details c on c.id = r.collection_id
      where r.path collate "C" > ${page.last}
        and readable_by(c.private, c."ownerId", c.readers, ${principals}, ${isAdmin})
        and exists (select 1 from manifests m where m.repository_id = r.id)
      order by r.path collate "C" limit ${page.limit}`)
    return rows.map(({ path }) => path)
  }

  /** None in a repository that is not there (yet): the specification knows no 404 here. */
  async listReferrers(actor: Actor, name: RepositoryName, subject: Digest): Promise<ReferrerRow[]> {
    const repository = await findRepository(this.#database, name.path)
    if (repository === undefined || !allows(actor, 'pull', repository)) {
      if (actor.kind === 'account') return []
      throw notFound('repository', `There is no container "${name.path}".`)
    }
    return await listReferrers(this.#database, repository.id, subject)
  }

  // Blobs

  /** A pusher who hears that a blob is there can rely on it until his manifest is. */
  async findBlob(actor: Actor, name: RepositoryName, digest: Digest): Promise<FoundBlob> {
    const repository = await this.#registry.getRepository(actor, name)
    const accountId = allows(actor, 'push', repository)
      ? requireAccount(actor).accountId
      : undefined
    const found = await (accountId === undefined
      ? this.#find(this.#database, repository.id, digest)
      : this.#database.transaction(async (tx) => {
          // Without the lock a deletion that looked for claims before would take the blob after.
          await lockEntity(tx, repository.entityId)
          const found = await this.#find(tx, repository.id, digest)
          if (found?.kind === 'file') await claimBlob(tx, repository.id, digest, accountId)
          return found
        }))
    if (found === undefined) throw noSuchBlob(name, digest)
    return found
  }

  /** For a download; whoever began one before a deletion reads to the end. */
  async readBlob(actor: Actor, name: RepositoryName, digest: Digest): Promise<FoundBlob> {
    const repository = await this.#registry.getRepository(actor, name)
    const found = await this.#find(this.#database, repository.id, digest)
    if (found === undefined) throw noSuchBlob(name, digest)
    return found
  }

  async openBlob(
    actor: Actor,
    name: RepositoryName,
    digest: Digest,
    size: number,
  ): Promise<FileHandle> {
    return await this.#blobs.openBlob(digest, size).catch(async (error: unknown) => {
      // Deleted and swept since it was found: then it is not here, which is no fault of the store.
      await this.readBlob(actor, name, digest)
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      return await this.#blobs.openBlob(digest, size)
    })
  }

  /** What a manifest of the repository needs cannot be deleted before that. */
  async deleteBlob(actor: Actor, name: RepositoryName, digest: Digest): Promise<void> {
    const repository = await this.#registry.getRepository(actor, name)
    requirePermission(actor, 'delete', repository)
    const place = { entityId: repository.entityId, repositoryId: repository.id }
    await this.#database.transaction(async (tx) => {
      await lockEntity(tx, place.entityId)
      if ((await linkedSize(tx, place.repositoryId, digest)) === undefined) {
        throw noSuchBlob(name, digest)
      }
      const [needed] = await tx.query<{ manifest: Digest }>(sql`
        select manifest_digest as "manifest" from manifest_blobs
        where repository_id = ${place.repositoryId} and blob_digest = ${digest} limit 1`)
      if (needed !== undefined) {
        const text = `The manifest ${needed.manifest} needs this blob: delete that first.`
        throw new Failure('conflict', 'blob', text)
      }
      await tx.query(sql`
        delete from blob_claims
        where repository_id = ${place.repositoryId} and digest = ${digest}`)
      await unlinkUnneeded(tx, place, [digest])
      await audit(tx, actor, { action: 'blob.delete', target: `${name.path}@${digest}` })
    })
    await this.#forgetIfEmpty(place)
  }

  async #find(db: Db, repositoryId: number, digest: Digest): Promise<FoundBlob | undefined> {
    const size = await linkedSize(db, repositoryId, digest)
    // One that the scrub put aside is to be pushed again, which a client does when it is not there.
    if (size !== undefined && (await isDamaged(db, digest))) return undefined
    if (size !== undefined) return { kind: 'file', size }
    const bytes = await findInlineConfig(db, repositoryId, digest)
    return bytes && { kind: 'inline', bytes }
  }

  /** Reads a SIF that came as a blob: what is no SIF must not be listed as one. */
  async #factsOf(repository: RepositoryRow, digest: Digest): Promise<SifFacts> {
    const size = await linkedSize(this.#database, repository.id, digest)
    if (size === undefined) throw unknownBlob(digest)
    const known = await findSifFacts(this.#database, digest)
    if (known !== undefined) return known
    const file = await this.#blobs.openBlob(digest, size).catch(async (error: unknown) => {
      const found = await linkedSize(this.#database, repository.id, digest)
      throw found === undefined ? unknownBlob(digest) : error
    })
    try {
      return await inspectFile(file, size)
    } finally {
      await file.close()
    }
  }

  /** An index holds nothing but manifests that were taken. */
  async #admit(
    repository: RepositoryRow,
    document: ManifestDocument,
    sif: Digest | undefined,
  ): Promise<void> {
    if (document.isIndex) return
    const { policy } = this.#registry
    if (sif === undefined) return await policy.admitOther(repository.entityId)
    const size = await linkedSize(this.#database, repository.id, sif)
    if (size === undefined) throw unknownBlob(sif)
    await policy.admitStored(repository.entityId, sif, size)
  }

  async #forgetIfEmpty(place: {
    readonly entityId: number
    readonly repositoryId: number
  }): Promise<void> {
    await this.#database.transaction(async (tx) => {
      await lockEntity(tx, place.entityId)
      await removeIfEmpty(tx, place.repositoryId)
    })
  }
}

async function findInlineConfig(
  db: Db,
  repositoryId: number,
  digest: Digest,
): Promise<Buffer | undefined> {
  const [row] = await db.query<{ bytes: Buffer }>(sql`
    select config as "bytes" from manifests
    where repository_id = ${repositoryId} and config_digest = ${digest} and config is not null
    limit 1`)
  return row?.bytes
}

/**
 * Everything that a manifest names must be in the repository. Returns the configuration where no
 * blob holds it: that of a manifest which Berth composed, pushed again with another manifest, or
 * with the same one after it was deleted.
 */
async function requireParts(
  tx: Db,
  repositoryId: number,
  document: ManifestDocument,
  facts: SifFacts | undefined,
): Promise<Buffer | null> {
  if (document.isIndex) {
    const wanted = document.parts.map(({ digest }) => digest)
    const rows = await tx.query<{ digest: Digest }>(sql`
      select digest from manifests
      where repository_id = ${repositoryId} and digest = any(${wanted})`)
    const there = new Set(rows.map(({ digest }) => digest))
    const missing = wanted.find((digest) => !there.has(digest))
    if (missing === undefined) return null
    throw invalid('blob', `The index names ${missing}, which is not here: push it first.`)
  }
  const layers = ownLayers(document)
  const wanted = document.config ? [document.config.digest, ...layers] : layers
  const there = await linkedAmong(tx, repositoryId, wanted)
  const missing = wanted.find((digest) => !there.has(digest))
  if (missing === undefined) return null
  if (missing !== document.config?.digest) throw unknownBlob(missing)
  const missingLayer = layers.find((digest) => !there.has(digest) && digest !== missing)
  const config =
    (await findInlineConfig(tx, repositoryId, missing)) ?? composedConfig(document, missing, facts)
  if (config === undefined || missingLayer !== undefined) throw unknownBlob(missingLayer ?? missing)
  return config
}

/** The configuration that Berth makes of the SIF, if it has this digest. */
function composedConfig(
  document: ManifestDocument,
  digest: Digest,
  facts: SifFacts | undefined,
): Buffer | undefined {
  const sif = sifLayerOf(document)
  if (sif === undefined || facts === undefined) return undefined
  const composed = composeSifManifest(sif.digest, sif.size, facts)
  return composed.configDigest === digest ? composed.config : undefined
}

function blobsOf(document: ManifestDocument, inlineConfig: Buffer | null): Digest[] {
  const layers = ownLayers(document)
  const config = document.config && inlineConfig === null ? [document.config.digest] : []
  return [...new Set([...config, ...layers])]
}

function ownLayers(document: ManifestDocument): Digest[] {
  return document.parts.filter(({ foreign }) => !foreign).map(({ digest }) => digest)
}

function digestOf(bytes: Buffer, reference: ManifestReference): Digest {
  const algorithm = reference.kind === 'digest' ? algorithmOf(reference.digest) : 'sha256'
  const hex = createHash(algorithm).update(bytes).digest('hex')
  const digest = parseDigest(`${algorithm}:${hex}`)
  if (reference.kind === 'digest' && reference.digest !== digest) {
    throw invalid('digest', `The manifest has the digest ${digest}, not ${reference.digest}.`)
  }
  return digest
}

function printed(name: RepositoryName, reference: ManifestReference): string {
  return reference.kind === 'tag'
    ? `${name.path}:${reference.tag}`
    : `${name.path}@${reference.digest}`
}

function noSuchManifest(name: RepositoryName, reference: ManifestReference): Failure {
  return notFound('manifest', `There is no ${printed(name, reference)}.`)
}

function noSuchBlob(name: RepositoryName, digest: Digest): Failure {
  return notFound('blob', `There is no blob ${digest} in ${name.path}.`)
}

function unknownBlob(digest: Digest): Failure {
  return invalid('blob', `The manifest names the blob ${digest}, which is not here: push it first.`)
}
