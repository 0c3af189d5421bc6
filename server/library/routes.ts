/**
 * The Library API: entities, collections, containers, images, tags, search (protocol.md 5,
 * enterprise.md 8.3). References come with raw slashes or %2F, and with doubled ones from old clients.
 */
import type { Request, Router } from 'express'
import { z } from 'zod'

import {
  imageId,
  parseArch,
  parseCollectionPath,
  parseEntityName,
  parseImageReference,
  parseLibraryHash,
  parseNewRepository,
  parseRepository,
  parseTag,
} from '../content/names.ts'
import type { Arch, NameDefaults, RepositoryName } from '../content/names.ts'
import type { RepositoryRow } from '../content/places.ts'
import type { Registry } from '../content/registry.ts'
import { invalid } from '../failure.ts'
import { actorOf } from '../http/actor.ts'
import { flagOf, jsonBody, parse, queryOf, splat } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'
import {
  archTagsJson,
  collectionJson,
  containerJson,
  entityJson,
  imageJson,
  imageTagsJson,
  searchJson,
} from './json.ts'
import { wantedArch } from './query.ts'

// Clients send every member of their structures; the ones that mean something are read.
const newEntity = z.object({ name: z.string() })
const newCollection = z.object({
  name: z.string(),
  entity: z.string(),
  private: z.boolean().optional(),
})
const newContainer = z.object({
  name: z.string(),
  collection: z.string(),
  description: z.string().max(4096).nullish(),
})
const newImage = z.object({
  hash: z.string(),
  container: z.string(),
  description: z.string().max(4096).nullish(),
})
// Go clients send capitalised keys; clients up to 3.3 send {"<tag>":"<image ID>"}.
const archTag = z.object({ Arch: z.string(), Tag: z.string(), ImageID: z.string() })
const plainTag = z.object({ Tag: z.string(), ImageID: z.string() })
const tagMap = z.record(z.string(), z.string())

export function libraryRoutes(registry: Registry, defaults: NameDefaults): Router {
  const router = newRouter()
  const body = jsonBody()
  const repositoryOf = (req: Request): RepositoryName =>
    parseRepository(splat(req, 'path'), defaults)

  // Entities

  router.get('/v1/entities', async (_req, res) => {
    const entities = await registry.listEntities()
    res.json({ data: entities.map((entity) => entityJson(entity)) })
  })
  router.post('/v1/entities', body, async (req, res) => {
    const { name } = parse(newEntity, req.body)
    const entity = await registry.ensureEntity(
      actorOf(req),
      parseEntityName(name || defaults.entity),
    )
    res.json({ data: entityJson(entity) })
  })
  router.get('/v1/entities/:entity/_collections', async (req, res) => {
    const collections = await registry.listCollections(
      actorOf(req),
      parseEntityName(req.params.entity),
    )
    res.json({ data: collections.map(collectionJson) })
  })
  // The empty name of clients up to 3.5 is the default entity; `/v1/entities` itself is the list.
  router.get('/v1/entities/{:entity}', async (req, res) => {
    const name = parseEntityName(req.params['entity'] ?? defaults.entity)
    const [entity, collections] = await Promise.all([
      registry.getEntity(name),
      registry.listCollections(actorOf(req), name),
    ])
    res.json({
      data: entityJson(
        entity,
        collections.map((one) => `${name}/${one.name}`),
      ),
    })
  })

  // Collections

  router.post('/v1/collections', body, async (req, res) => {
    const input = parse(newCollection, req.body)
    const path = parseCollectionPath(`${input.entity || defaults.entity}/${input.name}`, defaults)
    const options = input.private === true ? { private: true } : {}
    const made = await registry.ensureCollection(
      actorOf(req),
      path.entity,
      path.collection,
      options,
    )
    res.json({ data: collectionJson(made) })
  })
  router.get('/v1/collections/*path/_containers', async (req, res) => {
    const { entity, collection } = parseCollectionPath(splat(req, 'path'), defaults)
    const repositories = await registry.listRepositories(actorOf(req), entity, collection)
    res.json({ data: await Promise.all(repositories.map(async (one) => await describe(one))) })
  })
  router.get('/v1/collections/*path', async (req, res) => {
    const { entity, collection } = parseCollectionPath(splat(req, 'path'), defaults)
    res.json({
      data: collectionJson(await registry.getCollection(actorOf(req), entity, collection)),
    })
  })

  // Containers

  router.post('/v1/containers', body, async (req, res) => {
    const input = parse(newContainer, req.body)
    const name = parseNewRepository(`${input.collection}/${input.name}`, defaults)
    const description = meaningful(input.description)
    const made = await registry.ensureRepository(actorOf(req), name, { description })
    res.json({ data: await describe(made) })
  })
  router.get('/v1/containers/*path/_images', async (req, res) => {
    const images = await registry.listImages(actorOf(req), repositoryOf(req))
    res.json({ data: images.map(imageJson) })
  })
  router.get('/v1/containers/*path', async (req, res) => {
    res.json({
      data: await describe(await registry.getRepository(actorOf(req), repositoryOf(req))),
    })
  })

  // Images

  router.post('/v1/images', body, async (req, res) => {
    const input = parse(newImage, req.body)
    const name = parseNewRepository(input.container, defaults)
    const digest = parseLibraryHash(input.hash)
    const description = meaningful(input.description)
    const { image } = await registry.announceImage(actorOf(req), name, digest, description)
    const id = imageId(name.path, digest)
    const announced = { id, hash: input.hash, container: name.path, description, uploaded: false }
    res.json({ data: image === undefined ? announced : imageJson(image) })
  })
  router.get('/v1/images/*path', async (req, res) => {
    const reference = parseImageReference(splat(req, 'path'), defaults)
    const image = await registry.resolve(actorOf(req), reference, wantedArch(req))
    res.json({ data: { ...imageJson(image), uploaded: await registry.isStored(image) } })
  })
  // Exactly 200: clients report 204 as an error although the image is gone (protocol.md 5.8).
  router.delete('/v1/images/*path', async (req, res) => {
    const reference = parseImageReference(splat(req, 'path'), defaults)
    const image = await registry.deleteImage(actorOf(req), reference, wantedArch(req))
    res.json({ data: { ...imageJson(image), deleted: true } })
  })

  // Tags

  router.get('/v2/tags/*path', async (req, res) => {
    const name = repositoryOf(req)
    res.json({ data: archTagsJson(name.path, await registry.listTags(actorOf(req), name)) })
  })
  router.post('/v2/tags/*path', body, async (req, res) => {
    const input = parse(archTag, req.body)
    await setTag(req, input.Tag, input.ImageID, parseArch(input.Arch))
    const name = repositoryOf(req)
    res.json({ data: archTagsJson(name.path, await registry.listTags(actorOf(req), name)) })
  })
  router.get('/v1/tags/*path', async (req, res) => {
    const name = repositoryOf(req)
    res.json({ data: imageTagsJson(name.path, await registry.listTags(actorOf(req), name)) })
  })
  router.post('/v1/tags/*path', body, async (req, res) => {
    const named = plainTag.safeParse(req.body)
    const wanted = named.success
      ? [[named.data.Tag, named.data.ImageID] as const]
      : Object.entries(parse(tagMap, req.body))
    for (const [tag, image] of wanted) await setTag(req, tag, image, undefined)
    const name = repositoryOf(req)
    res.json({ data: imageTagsJson(name.path, await registry.listTags(actorOf(req), name)) })
  })
  router.delete('/v1/tags/*path/:tag', async (req, res) => {
    const name = repositoryOf(req)
    await registry.deleteTag(actorOf(req), name, parseTag(req.params.tag))
    res.json({ data: imageTagsJson(name.path, await registry.listTags(actorOf(req), name)) })
  })

  // Search

  router.get('/v1/search', async (req, res) => {
    const value = queryOf(req, 'value') ?? ''
    if (value.length < 3 || value.length > 200) {
      throw invalid('request', 'Search for at least three characters of a name.')
    }
    const archs = (queryOf(req, 'arch') ?? '').split(',').filter((arch) => arch !== '')
    const query = {
      value,
      archs: archs.map(parseArch),
      signed: flagOf(req, 'signed'),
      encrypted: flagOf(req, 'encrypted'),
    }
    res.json({ data: searchJson(await registry.search(actorOf(req), query)) })
  })

  // Answered, the client would push in sequential pieces of 5 MiB and print neither quota nor
  // address; with 404 it goes on with the routes above (protocol.md 6.1).
  router.get('/v1/oci-redirect', (_req, res) => {
    res.status(404).json({ error: { code: 404, message: 'Use the library routes.' } })
  })

  async function describe(repository: RepositoryRow): Promise<object> {
    const [images, tags] = await Promise.all([
      registry.imagesOf(repository),
      registry.tagsOf(repository),
    ])
    return containerJson(repository, images, tags)
  }

  async function setTag(
    req: Request,
    tag: string,
    image: string,
    arch: Arch | undefined,
  ): Promise<void> {
    const name = repositoryOf(req)
    const reference = parseImageReference(image, defaults)
    if (reference.kind !== 'digest' || reference.repository.path !== name.path) {
      throw invalid('image', `"ImageID" must be the ID of an image of ${name.path}.`)
    }
    await registry.setTag(actorOf(req), name, parseTag(tag), reference.digest, arch)
  }

  return router
}

/** What clients send when the user said nothing. */
function meaningful(description: string | null | undefined): string {
  const text = (description ?? '').replaceAll('\0', '')
  return text.toLowerCase() === 'no description' ? '' : text
}
