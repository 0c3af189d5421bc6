/**
 * What the library and the registry should say after each verb: a second account of the rules, in
 * plain maps, from ARCHITECTURE.md and the decisions on the registry, without a line of the server.
 * Verbs return the status that the caller should get. The two digests that the server makes itself
 * (of its own manifest for a SIF, and of the index of a tag with several architectures) are told.
 */
import assert from 'node:assert/strict'

/** The name of an account; undefined is nobody. */
export type Who = string | undefined

export interface KnownBlob {
  readonly digest: string
  readonly size: number
  /** Of a SIF. */
  readonly arch?: string
}

export interface KnownManifest {
  readonly digest: string
  readonly size: number
  /** Undefined: an index. */
  readonly config?: string
  readonly layers?: readonly string[]
  /** The SIF that it is of. */
  readonly sif?: string
  /** Of an index. */
  readonly children?: readonly string[]
}

interface StoredManifest {
  readonly known: KnownManifest
  readonly charged: number
  readonly blobs: readonly string[]
  /** The digest of a configuration that no blob holds. */
  readonly inline: string | undefined
}

interface TagModel {
  /** By architecture; `order` grows with each setting. */
  readonly rows: Map<string, { readonly manifest: string; readonly order: number }>
  /** What a client of the registry pushed under it, where that is no image of the library. */
  pushed: string | undefined
}

export class RepositoryModel {
  readonly manifests = new Map<string, StoredManifest>()
  /** SIF → the manifest that the library tags it by. */
  readonly images = new Map<string, string>()
  readonly tags = new Map<string, TagModel>()
  readonly links = new Set<string>()
  /** Account and digest → how often he was told that the blob is there. */
  readonly claims = new Map<string, number>()

  get isEmpty(): boolean {
    return this.links.size + this.manifests.size + this.images.size === 0
  }

  hasInline(digest: string): boolean {
    return [...this.manifests.values()].some(({ inline }) => inline === digest)
  }
}

export interface CollectionModel {
  private: boolean
  readers: readonly string[]
}

export type Door = 'library' | 'registry'

export class Model {
  readonly repositories = new Map<string, RepositoryModel>()
  readonly collections = new Map<string, CollectionModel>()
  /** Entries of an index that the server made → its digest. */
  readonly indexes = new Map<string, string>()
  /** SIF → the manifest that the server makes of it. */
  readonly own: ReadonlyMap<string, KnownManifest>
  readonly #quota: number
  readonly #blobs: ReadonlyMap<string, KnownBlob>
  #order = 0

  constructor(quota: number, blobs: readonly KnownBlob[], own: ReadonlyMap<string, KnownManifest>) {
    this.#quota = quota
    this.#blobs = new Map(blobs.map((blob) => [blob.digest, blob]))
    this.own = own
  }

  // Reading

  canRead(who: Who, path: string): boolean {
    const collection = this.collections.get(collectionOf(path))
    if (collection === undefined) return false
    if (!collection.private || who === entityOf(path)) return true
    return who !== undefined && collection.readers.includes(who)
  }

  /** Of a request that reads the repository. */
  readStatus(door: Door, who: Who, path: string): number {
    if (this.repositories.has(path) && this.canRead(who, path)) return 200
    return door === 'registry' && who === undefined ? 401 : 404
  }

  used(entity: string): number {
    const linked = new Set<string>()
    let manifests = 0
    for (const [path, repository] of this.repositories) {
      if (entityOf(path) !== entity) continue
      for (const digest of repository.links) linked.add(digest)
      for (const { charged } of repository.manifests.values()) manifests += charged
    }
    return manifests + this.sizeOf(linked)
  }

  sizeOf(blobs: Iterable<string>): number {
    return [...blobs].reduce((sum, digest) => sum + this.blob(digest).size, 0)
  }

  hasEntity(entity: string): boolean {
    return [...this.collections.keys()].some((name) => entityOf(name) === entity)
  }

  /** The manifest under a tag; for an index that the server makes, its entries until it is known. */
  face(path: string, tag: string): { digest?: string; key: string } | undefined {
    const found = this.repositories.get(path)?.tags.get(tag)
    return found && this.#faceOf(found)
  }

  #faceOf({ rows, pushed }: TagModel): { digest?: string; key: string } {
    const key = keyOf([...rows].map(([arch, row]) => [arch, row.manifest]))
    const [only] = rows.values()
    const digest = pushed ?? (rows.size === 1 ? only?.manifest : this.indexes.get(key))
    return digest === undefined ? { key } : { digest, key }
  }

  /** The SIF under a tag, for an architecture or the one that was set last. */
  imageAt(path: string, tag: string, arch?: string): string | undefined {
    const repository = this.repositories.get(path)
    const rows = [...(repository?.tags.get(tag)?.rows ?? [])]
      .filter(([one]) => arch === undefined || one === arch)
      .sort(([, a], [, b]) => b.order - a.order)
    const manifest = rows[0]?.[1].manifest
    return manifest && repository?.manifests.get(manifest)?.known.sif
  }

  blob(digest: string): KnownBlob {
    const found = this.#blobs.get(digest)
    assert.ok(found, digest)
    return found
  }

  // The library

  /** Announcing says whether bytes are to be sent; then `open` is what opening the upload says. */
  libraryPush(who: Who, path: string, sif: string): { announce: number; open?: number } {
    const announce = this.#ensure(who, path)
    if (announce !== 200) return { announce }
    const repository = this.#at(path)
    const readable = [...this.repositories].some(
      ([other, { links }]) => links.has(sif) && this.canRead(who, other),
    )
    const charged = readable ? this.#newTo(path, sif) : this.blob(sif).size
    if (this.used(entityOf(path)) + charged > this.#quota) {
      this.#cleanUp(path)
      return readable ? { announce: 403 } : { announce: 200, open: 403 }
    }
    const own = this.own.get(sif)
    assert.ok(own)
    repository.links.add(sif)
    // One that the registry pushed is the image's manifest already.
    if (!repository.images.has(sif)) {
      const stored = { known: own, charged: 0, blobs: [sif], inline: own.config }
      if (!repository.manifests.has(own.digest)) repository.manifests.set(own.digest, stored)
      repository.images.set(sif, own.digest)
    }
    return readable ? { announce: 200 } : { announce: 200, open: 200 }
  }

  libraryTag(who: Who, path: string, tag: string, sif: string, arch?: string): number {
    const allowed = this.#mayChange('library', who, path)
    if (who === undefined || allowed !== 200) return who === undefined ? 401 : allowed
    const manifest = this.#at(path).images.get(sif)
    if (manifest === undefined) return 404
    const own = this.blob(sif).arch ?? ''
    if (arch !== undefined && arch !== own) return 400
    const found = this.#tag(path, tag)
    this.#setRow(found, own, manifest)
    found.pushed = undefined
    return 200
  }

  libraryDelete(who: Who, path: string, tag: string, arch?: string): number {
    const allowed = this.#mayChange('library', who, path)
    if (allowed !== 200) return allowed
    const sif = this.imageAt(path, tag, arch)
    if (sif === undefined) return 404
    const { tags, manifests } = this.#at(path)
    const found = this.#tag(path, tag)
    found.rows.delete(this.blob(sif).arch ?? '')
    found.pushed = undefined
    if (found.rows.size === 0) tags.delete(tag)
    const isTagged = [...tags.values()].some(({ rows }) =>
      [...rows.values()].some((row) => manifests.get(row.manifest)?.known.sif === sif),
    )
    if (!isTagged) this.#removeImage(path, sif)
    return 200
  }

  libraryDeleteHash(who: Who, path: string, sif: string): number {
    const allowed = this.#mayChange('library', who, path)
    if (allowed !== 200) return allowed
    if (!this.#at(path).images.has(sif)) return 404
    this.#removeImage(path, sif)
    return 200
  }

  deleteTag(door: Door, who: Who, path: string, tag: string): number {
    const allowed = this.#mayChange(door, who, path)
    if (allowed !== 200) return allowed
    if (!this.#at(path).tags.delete(tag)) return 404
    return door === 'library' ? 200 : 202
  }

  setAccess(who: string, collection: string, wanted: CollectionModel): number {
    const found = this.collections.get(collection)
    if (found === undefined || !this.canRead(who, `${collection}/x`)) return 404
    if (who !== entityOf(collection)) return 403
    found.private = wanted.private
    found.readers = wanted.readers
    return 200
  }

  // The registry

  pushBlob(who: Who, path: string, digest: string): number {
    const opened = this.#ensure(who, path)
    if (opened !== 200) return opened
    if (this.used(entityOf(path)) + this.blob(digest).size > this.#quota) {
      this.#cleanUp(path)
      return 403
    }
    this.#link(who, path, digest)
    return 201
  }

  /** To somebody who may push, finding it is a promise that it stays for his manifest. */
  headBlob(who: Who, path: string, digest: string): number {
    const status = this.readStatus('registry', who, path)
    if (status !== 200) return status
    const repository = this.#at(path)
    if (repository.links.has(digest)) {
      if (who === entityOf(path)) this.#link(who, path, digest)
      return 200
    }
    return repository.hasInline(digest) ? 200 : 404
  }

  /** 202: a session was opened instead. */
  mount(who: Who, path: string, digest: string, from: string): number {
    const source = this.repositories.get(from)
    const isThere = source?.links.has(digest) === true && this.canRead(who, from)
    const opened = this.#ensure(who, path)
    if (opened !== 200) return opened
    if (!isThere) return 202
    if (this.used(entityOf(path)) + this.#newTo(path, digest) > this.#quota) {
      this.#cleanUp(path)
      return 403
    }
    this.#link(who, path, digest)
    return 201
  }

  cancelUpload(path: string): void {
    this.#cleanUp(path)
  }

  putManifest(who: Who, path: string, known: KnownManifest, tags: readonly string[]): number {
    const opened = this.#ensure(who, path)
    if (opened !== 200) return opened
    const stored = this.#storable(path, known)
    const repository = this.#at(path)
    const isNew = !repository.manifests.has(known.digest)
    const charged = isNew ? known.size : 0
    if (stored === undefined || this.used(entityOf(path)) + charged > this.#quota) {
      this.#cleanUp(path)
      return stored === undefined ? 400 : 403
    }
    if (isNew) repository.manifests.set(known.digest, stored)
    if (known.sif !== undefined && !repository.images.has(known.sif)) {
      repository.images.set(known.sif, known.digest)
    }
    this.#settle(repository, who, stored.blobs, isNew)
    for (const tag of tags) {
      repository.tags.delete(tag)
      const set = this.#tag(path, tag)
      for (const one of known.children ?? [known.digest]) {
        const sif = repository.manifests.get(one)?.known.sif
        const arch = sif && this.blob(sif).arch
        if (arch !== undefined && !set.rows.has(arch)) this.#setRow(set, arch, one)
      }
      if (known.children !== undefined || set.rows.size === 0) set.pushed = known.digest
    }
    return 201
  }

  deleteManifest(who: Who, path: string, digest: string): number {
    const allowed = this.#mayChange('registry', who, path)
    if (allowed !== 200) return allowed
    const { manifests, tags } = this.#at(path)
    if (manifests.has(digest)) {
      this.#removeManifests(path, [digest])
      return 202
    }
    const shown = [...tags].filter(([, tag]) => this.#faceOf(tag).digest === digest)
    if (shown.length === 0) return 404
    const images = shown.flatMap(([, { rows }]) => [...rows.values()].map((row) => row.manifest))
    for (const [name] of shown) tags.delete(name)
    const tagged = new Set(
      [...tags.values()].flatMap(({ rows }) => [...rows.values()].map((row) => row.manifest)),
    )
    const gone = [...new Set(images)].filter((one) => !tagged.has(one))
    this.#removeManifests(path, gone)
    return 202
  }

  deleteBlob(who: Who, path: string, digest: string): number {
    const allowed = this.#mayChange('registry', who, path)
    if (allowed !== 200) return allowed
    const repository = this.#at(path)
    if (!repository.links.has(digest)) return 404
    if (isNeeded(repository, digest)) return 405
    for (const claim of repository.claims.keys()) {
      if (claim.endsWith(digest)) repository.claims.delete(claim)
    }
    repository.links.delete(digest)
    this.#cleanUp(path)
    return 202
  }

  // Shared

  /** Names appear with a push of their owner. */
  #ensure(who: Who, path: string): number {
    if (who === undefined) return 401
    if (who !== entityOf(path)) return 403
    if (!this.collections.has(collectionOf(path))) {
      this.collections.set(collectionOf(path), { private: false, readers: [] })
    }
    if (!this.repositories.has(path)) this.repositories.set(path, new RepositoryModel())
    return 200
  }

  /** What a refused push leaves is nothing; a private collection was made on purpose. */
  #cleanUp(path: string): void {
    if (!this.#at(path).isEmpty) return
    this.repositories.delete(path)
    const collection = collectionOf(path)
    const others = [...this.repositories.keys()].some((one) => collectionOf(one) === collection)
    if (!others && this.collections.get(collection)?.private === false) {
      this.collections.delete(collection)
    }
  }

  #mayChange(door: Door, who: Who, path: string): number {
    if (door === 'registry' && who === undefined) return 401
    if (!this.repositories.has(path) || !this.canRead(who, path)) return 404
    if (who === undefined) return 401
    return who === entityOf(path) ? 200 : 403
  }

  #at(path: string): RepositoryModel {
    const found = this.repositories.get(path)
    assert.ok(found, path)
    return found
  }

  #tag(path: string, tag: string): TagModel {
    const { tags } = this.#at(path)
    const found = tags.get(tag) ?? { rows: new Map(), pushed: undefined }
    tags.set(tag, found)
    return found
  }

  #setRow({ rows }: TagModel, arch: string, manifest: string): void {
    this.#order += 1
    rows.set(arch, { manifest, order: this.#order })
  }

  /** Bytes that the space is charged when this repository gets the blob. */
  #newTo(path: string, digest: string): number {
    const isThere = [...this.repositories].some(
      ([other, { links }]) => entityOf(other) === entityOf(path) && links.has(digest),
    )
    return isThere ? 0 : this.blob(digest).size
  }

  #link(who: Who, path: string, digest: string): void {
    const { links, claims } = this.#at(path)
    links.add(digest)
    const claim = `${String(who)} ${digest}`
    claims.set(claim, (claims.get(claim) ?? 0) + 1)
  }

  /** The manifest as it would be kept; undefined when something that it names is not here. */
  #storable(path: string, known: KnownManifest): StoredManifest | undefined {
    const repository = this.#at(path)
    const { config, layers = [], children, sif, size } = known
    if (children !== undefined) {
      if (!children.every((child) => repository.manifests.has(child))) return undefined
      return { known, charged: size, blobs: [], inline: undefined }
    }
    if (config === undefined || !layers.every((layer) => repository.links.has(layer)))
      return undefined
    if (repository.links.has(config)) {
      return { known, charged: size, blobs: [config, ...layers], inline: undefined }
    }
    const isOwn = sif !== undefined && this.own.get(sif)?.config === config
    if (!isOwn && !repository.hasInline(config)) return undefined
    return { known, charged: size, blobs: layers, inline: config }
  }

  /** Told twice, somebody may still be about to push; and who only tags was told nothing. */
  #settle({ claims }: RepositoryModel, who: Who, needed: readonly string[], isNew: boolean): void {
    const mine = [...new Set(needed)]
      .map((digest) => `${String(who)} ${digest}`)
      .filter((claim) => claims.has(claim))
    if (!isNew && mine.length < new Set(needed).size) return
    for (const claim of mine) if (claims.get(claim) === 1) claims.delete(claim)
  }

  #removeImage(path: string, sif: string): void {
    const held = [...this.#at(path).manifests.values()].filter(({ known }) => known.sif === sif)
    this.#removeManifests(
      path,
      held.map(({ known }) => known.digest),
    )
  }

  #removeManifests(path: string, digests: readonly string[]): void {
    const repository = this.#at(path)
    const unneeded = new Set<string>()
    for (const digest of digests) {
      const stored = repository.manifests.get(digest)
      assert.ok(stored)
      this.#untag(repository, digest)
      repository.manifests.delete(digest)
      for (const blob of stored.blobs) unneeded.add(blob)
      const { sif } = stored.known
      if (sif === undefined || repository.images.get(sif) !== digest) continue
      repository.images.delete(sif)
      const [next] = [...repository.manifests.values()].filter(({ known }) => known.sif === sif)
      if (next !== undefined) repository.images.set(sif, next.known.digest)
    }
    const claimed = new Set([...repository.claims.keys()].map((claim) => claim.split(' ')[1]))
    for (const blob of unneeded) {
      if (!isNeeded(repository, blob) && !claimed.has(blob)) repository.links.delete(blob)
    }
  }

  /** A tag that showed it goes; one that showed it among others shows the others, if any. */
  #untag({ tags }: RepositoryModel, digest: string): void {
    for (const [name, tag] of tags) {
      const isFace =
        (tag.pushed !== undefined || tag.rows.size > 1) && this.#faceOf(tag).digest === digest
      if (isFace) {
        tags.delete(name)
        continue
      }
      const held = [...tag.rows].filter(([, row]) => row.manifest === digest)
      if (held.length === 0) continue
      for (const [arch] of held) tag.rows.delete(arch)
      tag.pushed = undefined
      if (tag.rows.size === 0) tags.delete(name)
    }
  }
}

export function entityOf(path: string): string {
  return path.split('/')[0] ?? ''
}

export function collectionOf(path: string): string {
  return path.split('/').slice(0, 2).join('/')
}

/** The entries of an index, in one order. */
export function keyOf(entries: readonly (readonly [string, string])[]): string {
  return JSON.stringify(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

function isNeeded({ manifests }: RepositoryModel, blob: string): boolean {
  return [...manifests.values()].some(({ blobs }) => blobs.includes(blob))
}
