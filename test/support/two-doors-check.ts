/** What both doors say, beside the model and beside each other; each difference is a line. */
import assert from 'node:assert/strict'

import type { Client, Reply } from './client.ts'
import { digestOf } from './oci-push.ts'
import { collectionOf, entityOf, keyOf } from './two-doors-model.ts'
import type { KnownManifest, Model, RepositoryModel, Who } from './two-doors-model.ts'

export interface Watched {
  readonly model: Model
  /** Everybody who looks: accounts, and nobody. */
  readonly viewers: ReadonlyMap<Who, Client>
  readonly tags: readonly string[]
  readonly archs: readonly string[]
  readonly blobs: ReadonlyMap<string, Buffer>
  readonly manifests: ReadonlyMap<string, KnownManifest>
}

export class Differences {
  readonly found: string[] = []
  compared = 0

  same(what: string, seen: unknown, expected: unknown): void {
    this.compared += 1
    const [is, should] = [JSON.stringify(seen), JSON.stringify(expected)]
    if (is !== should) this.found.push(`${what}: ${is} instead of ${should}`)
  }
}

/** One repository through both doors, as its owner, another account and nobody see it. */
export async function checkRepository(
  watched: Watched,
  path: string,
  differences: Differences,
): Promise<void> {
  const { model, viewers, tags } = watched
  const repository = model.repositories.get(path)
  await inTurns([...viewers], async ([who, client]) => {
    const [list, container] = await Promise.all([
      client.get(`/v2/${path}/tags/list`),
      client.get(`/v1/containers/${path}`),
    ])
    const as = `${path} as ${who ?? 'nobody'}`
    differences.same(`tags/list of ${as}`, list.status, model.readStatus('registry', who, path))
    differences.same(`containers ${as}`, container.status, model.readStatus('library', who, path))
    if (list.status === 200 && repository) {
      differences.same(`tags of ${as}`, list.json.tags, [...repository.tags.keys()].sort())
    }
    if (container.status === 200 && repository) {
      checkContainer(watched, path, repository, container, differences)
    }
  })
  if (repository === undefined) return
  const owner = viewers.get(entityOf(path))
  assert.ok(owner)
  await inTurns(tags, async (tag) => await checkTag(watched, path, owner, tag, differences))
  await checkContent(watched, path, owner, differences)
}

/** Spaces, the catalog and the search. */
export async function checkSite(watched: Watched, differences: Differences): Promise<void> {
  const { model, viewers } = watched
  const byPath = [...model.repositories].sort(([a], [b]) => (a < b ? -1 : 1))
  await inTurns([...viewers], async ([who, client]) => {
    const as = who ?? 'nobody'
    const [catalog, search] = await Promise.all([
      client.get('/v2/_catalog'),
      client.get('/v1/search?value=tools'),
    ])
    const readable = byPath.filter(([path]) => model.canRead(who, path))
    const full = readable.filter(([, { manifests }]) => manifests.size > 0)
    differences.same(
      `the catalog of ${as}`,
      catalog.json.repositories,
      full.map(([path]) => path),
    )
    const withImages = readable.filter(([, { images }]) => images.size > 0)
    const containers = search.json.data.container as { id: string; archTags: unknown }[]
    differences.same(
      `the search of ${as}`,
      containers.map(({ id, archTags }) => [id, sorted(archTags)]),
      withImages.map(([path]) => [path, sorted(archTagsOf(model, path))]),
    )
    const images = search.json.data.image as { id: string }[]
    differences.same(
      `images that ${as} finds`,
      images.map(({ id }) => id).sort(),
      withImages
        .flatMap(([path, repository]) => [...repository.images.keys()].map((one) => id(path, one)))
        .sort(),
    )
    const seen = [...model.collections.keys()].filter((name) => model.canRead(who, `${name}/x`))
    const collections = search.json.data.collection as { id: string }[]
    differences.same(
      `collections that ${as} finds`,
      collections.map((one) => one.id),
      seen.filter((name) => name.endsWith('/tools')).sort(),
    )
    if (who === undefined) return
    const usage = await client.get('/api/v1/usage')
    differences.same(`the usage of ${who}`, usage.json.data[0].usedBytes, model.used(who))
    differences.same(`what is reserved by ${who}`, usage.json.data[0].reservedBytes, 0)
    const entity = await client.get(`/v1/entities/${who}`)
    differences.same(`the entity ${who}`, entity.status, model.hasEntity(who) ? 200 : 404)
    if (entity.status === 200) {
      differences.same(`the size of ${who}`, entity.json.data.size, model.used(who))
    }
  })
}

function checkContainer(
  { model }: Watched,
  path: string,
  { images, links }: RepositoryModel,
  { json }: Reply,
  differences: Differences,
): void {
  const { data } = json
  const ids = [...images.keys()].map((sif) => id(path, sif))
  differences.same(`images of ${path}`, data.images.toSorted(), ids.sort())
  differences.same(`tags of ${path}`, sorted(data.archTags), sorted(archTagsOf(model, path)))
  differences.same(`the size of ${path}`, data.size, model.sizeOf(links))
  const collection = model.collections.get(collectionOf(path))
  differences.same(`whether ${path} is private`, data.private, collection?.private)
}

/** A tag at the registry, and the images behind it in the library. */
async function checkTag(
  watched: Watched,
  path: string,
  owner: Client,
  tag: string,
  differences: Differences,
): Promise<void> {
  const { model, archs } = watched
  const manifest = await owner.get(`/v2/${path}/manifests/${tag}`)
  const face = model.face(path, tag)
  const at = `${path}:${tag}`
  differences.same(`the manifest ${at}`, manifest.status, face === undefined ? 404 : 200)
  if (face && manifest.status === 200) checkFace(watched, at, manifest, face, differences)
  const seen = new Map<string, string>()
  for (const arch of [undefined, ...archs]) {
    const query = arch === undefined ? '' : `?arch=${arch}`
    const image = await owner.get(`/v1/images/${path}:${tag}${query}`)
    const sif = model.imageAt(path, tag, arch)
    const isOther = face !== undefined && model.imageAt(path, tag) === undefined
    const status = sif !== undefined ? 200 : isOther ? 400 : 404
    const what = `the image ${at} for ${arch ?? 'any architecture'}`
    differences.same(what, image.status, status)
    if (image.status !== 200 || sif === undefined) continue
    differences.same(what, image.json.data.id, id(path, sif))
    if (arch !== undefined) seen.set(arch, image.json.data.hash as string)
  }
  if (manifest.status === 200 && seen.size > 0) {
    await checkDoors(path, at, owner, manifest, seen, differences)
  }
}

function checkFace(
  { model }: Watched,
  at: string,
  manifest: Reply,
  face: { readonly digest?: string; readonly key: string },
  differences: Differences,
): void {
  const digest = digestOf(manifest.body)
  differences.same(`the digest of ${at}`, manifest.headers['docker-content-digest'], digest)
  if (face.digest !== undefined) return differences.same(`what ${at} is`, digest, face.digest)
  const entries = manifest.json.manifests as {
    digest: string
    platform: { architecture: string }
  }[]
  const key = keyOf(entries.map((entry) => [entry.platform.architecture, entry.digest]))
  differences.same(`the entries of ${at}`, key, face.key)
  model.indexes.set(face.key, digest)
}

/** Whatever the model says: the registry's layers under a tag are the library's images of it. */
async function checkDoors(
  path: string,
  at: string,
  owner: Client,
  manifest: Reply,
  images: ReadonlyMap<string, string>,
  differences: Differences,
): Promise<void> {
  const { layers, manifests } = manifest.json as {
    layers?: { digest: string }[]
    manifests?: { digest: string }[]
  }
  const found = (layers ?? []).map((layer) => layer.digest)
  for (const entry of manifests ?? []) {
    const child = await owner.get(`/v2/${path}/manifests/${entry.digest}`)
    for (const layer of child.json.layers ?? []) found.push(layer.digest as string)
  }
  for (const hash of images.values()) {
    const isThere = found.includes(hash.replace('sha256.', 'sha256:'))
    differences.same(`${hash} behind ${at} at the registry`, isThere, true)
  }
}

async function checkContent(
  { model, manifests, blobs, viewers }: Watched,
  path: string,
  owner: Client,
  differences: Differences,
): Promise<void> {
  const repository = model.repositories.get(path)
  const shown = new Set(
    [...(repository?.tags.keys() ?? [])].map((tag) => model.face(path, tag)?.digest),
  )
  const isThere = (digest: string) =>
    repository?.manifests.has(digest) === true || shown.has(digest)
  // Of the many that are not there some are asked for each time.
  const known = [...new Set([...manifests.keys(), ...model.indexes.values()])]
  const asked = known.filter(
    (digest, number) => isThere(digest) || (number + differences.compared) % 6 === 0,
  )
  await inTurns(asked, async (digest) => {
    const reply = await owner.send('HEAD', `/v2/${path}/manifests/${digest}`)
    const status = isThere(digest) ? 200 : 404
    differences.same(`the manifest ${path}@${digest}`, reply.status, status)
  })
  // Somebody who may not push: to the owner each answer would be a promise that the blob stays.
  const [, reader] =
    [...viewers].find(([who]) => who !== entityOf(path) && model.canRead(who, path)) ?? []
  const list = await owner.get(`/v1/containers/${path}/_images`)
  const isStored = (digest: string) =>
    repository?.links.has(digest) === true || repository?.hasInline(digest) === true
  await inTurns([...blobs], async ([digest, bytes]) => {
    const address = `/v2/${path}/blobs/${digest}`
    const reply = reader ? await reader.send('HEAD', address) : await owner.get(address)
    differences.same(`the blob ${path}@${digest}`, reply.status, isStored(digest) ? 200 : 404)
    if (reply.status !== 200) return
    const length = Number(reply.headers['content-length'])
    differences.same(`the length of ${digest}`, length, bytes.length)
    if (!reader) differences.same(`the bytes of ${digest}`, reply.body.equals(bytes), true)
  })
  const images = list.json.data as { id: string; tags: string[] }[]
  const expected = [...(repository?.images.keys() ?? [])].map((sif) => {
    const tags = [...(repository?.tags ?? [])].filter(([, { rows }]) =>
      [...rows.values()].some((row) => repository?.manifests.get(row.manifest)?.known.sif === sif),
    )
    return [id(path, sif), tags.map(([tag]) => tag).sort()] as const
  })
  differences.same(
    `tags of the images of ${path}`,
    images.map((image) => [image.id, image.tags] as const).sort(byFirst),
    expected.sort(byFirst),
  )
}

function archTagsOf(model: Model, path: string): Record<string, Record<string, string>> {
  const archTags: Record<string, Record<string, string>> = {}
  for (const [tag, { rows }] of model.repositories.get(path)?.tags ?? []) {
    for (const arch of rows.keys()) {
      const sif = model.imageAt(path, tag, arch)
      if (sif !== undefined) (archTags[arch] ??= {})[tag] = id(path, sif)
    }
  }
  return archTags
}

function id(path: string, sif: string): string {
  return `${path}:${sif.replace(':', '.')}`
}

/** The same members in one order, two levels deep. */
function sorted(archTags: unknown): unknown {
  return Object.entries(archTags as Record<string, Record<string, string>>)
    .map(([arch, tags]) => [arch, Object.entries(tags).sort(byFirst)] as const)
    .sort(byFirst)
}

function byFirst(a: readonly [string, unknown], b: readonly [string, unknown]): number {
  return a[0] < b[0] ? -1 : 1
}

/** A few at a time. */
async function inTurns<Item>(
  items: readonly Item[],
  look: (item: Item) => Promise<void>,
): Promise<void> {
  const left = items.values()
  const workers = Array.from({ length: 8 }, async () => {
    for (const item of left) await look(item)
  })
  await Promise.all(workers)
}
