/**
 * Random operations through the library and the registry, by owners, others and nobody, beside a
 * model of the rules: after each one both doors must say what the model says.
 * BERTH_TWO_DOORS sets how many (100 by default), BERTH_TWO_DOORS_SEED which ones.
 */
import assert from 'node:assert/strict'
import test, { after } from 'node:test'

import { libraryHash } from '../support/client.ts'
import type { Client, Reply } from '../support/client.ts'
import {
  digestOf,
  emptyConfig,
  imageManifest,
  indexManifest,
  putManifest,
  sessionPath,
  sifManifest,
} from '../support/oci-push.ts'
import type { Manifest } from '../support/oci-push.ts'
import { Random } from '../support/random.ts'
import { assertLedger, startServer } from '../support/server.ts'
import { makeSif } from '../support/sif.ts'
import { checkRepository, checkSite, Differences } from '../support/two-doors-check.ts'
import type { Watched } from '../support/two-doors-check.ts'
import { collectionOf, entityOf, Model } from '../support/two-doors-model.ts'
import type { KnownManifest, Who } from '../support/two-doors-model.ts'

const operationCount = Number(process.env['BERTH_TWO_DOORS'] ?? 100)
const seed = Number(process.env['BERTH_TWO_DOORS_SEED'] ?? 1)
const quota = 230_000

const server = await startServer({ after }, { settings: { quota: { default: quota } } })
const people = await Promise.all(
  ['anna', 'bert', 'carl'].map(async (name) => await server.user(name)),
)
const viewers = new Map<Who, Client>([
  ...people.map((client) => [client.name, client] as const),
  [undefined, server.anonymous],
])
const paths = ['anna/tools/one', 'anna/tools/two', 'anna/open/tools', 'bert/tools/one']
const tags = ['v1', 'v2', 'latest']
const archs = ['amd64', 'arm64', 'ppc64le'] as const

const sifs = [0, 1, 2, 3, 4].map((number) => {
  const arch = archs[number % archs.length] ?? 'amd64'
  return { arch, bytes: makeSif({ arch, seed: `doors${number}` }) }
})
const config = Buffer.from('{"architecture":"amd64","os":"linux"}')
const layers = [1, 2, 3].map((number) => Buffer.alloc(number * 3000, `layer${number}`))

/** A manifest to push: its bytes and what the model knows of it. */
interface Pushable {
  readonly manifest: Manifest
  readonly known: KnownManifest
}

const maker = await server.user('maker')
const own = new Map<string, Pushable>()
for (const { arch, bytes } of sifs) own.set(digestOf(bytes), await learnOwn(bytes, arch))

const images: readonly Pushable[] = [
  ...own.values(),
  ...sifs.flatMap(({ bytes }) =>
    [undefined, { 'org.opencontainers.image.title': 'tool.sif' }].map((annotations) => {
      const manifest = sifManifest(bytes, annotations)
      const sif = digestOf(bytes)
      const parts = { config: digestOf(emptyConfig), layers: [sif], sif }
      return { manifest, known: { ...sizeOf(manifest), ...parts } }
    }),
  ),
  ...[layers.slice(0, 1), layers.slice(0, 2), layers.slice(1)].map((parts) => {
    const manifest = imageManifest(config, parts)
    const known = { config: digestOf(config), layers: parts.map(digestOf) }
    return { manifest, known: { ...sizeOf(manifest), ...known } }
  }),
]

/** Of each kind of neighbours: two variants of one SIF, SIFs of two machines, a SIF and a docker image. */
const indexes: readonly Pushable[] = images
  .map((image, number) => [image, images[(number * 7 + 3) % images.length] ?? image])
  .concat(images.slice(0, 3).map((image) => [image]))
  .map((entries) => {
    const parts = [...new Set(entries)]
    const manifest = indexManifest(
      parts.map((part, number) => ({ manifest: part.manifest, arch: archs[number] ?? '' })),
    )
    const children = parts.map(({ known }) => known.digest)
    return { manifest, known: { ...sizeOf(manifest), children } }
  })

const bytesOfBlobs = new Map(
  [...sifs.map(({ bytes }) => bytes), config, emptyConfig, ...layers].map((bytes) => [
    digestOf(bytes),
    bytes,
  ]),
)
const archOf = new Map(sifs.map(({ arch, bytes }) => [digestOf(bytes), arch]))
const model = new Model(
  quota,
  [...bytesOfBlobs].map(([digest, { length: size }]) => {
    const arch = archOf.get(digest)
    return { digest, size, ...(arch === undefined ? {} : { arch }) }
  }),
  new Map([...own].map(([sif, { known }]) => [sif, known])),
)
const watched: Watched = {
  model,
  viewers,
  tags,
  archs,
  blobs: bytesOfBlobs,
  manifests: new Map([...images, ...indexes].map(({ known }) => [known.digest, known])),
}
const differences = new Differences()
const counts = new Map<string, number>()

interface Turn {
  readonly random: Random
  readonly who: Who
  readonly client: Client
  readonly path: string
}

type Operation = (turn: Turn) => Promise<void>

/** What a verb answered, beside what the model expected of it. */
function answered(verb: string, { status, body }: Reply, expected: number): void {
  const key = `${verb} ${expected}`
  counts.set(key, (counts.get(key) ?? 0) + 1)
  const text = status === expected ? '' : ` (${body.toString().slice(0, 200)})`
  differences.same(`${verb}${text}`, status, expected)
}

const library: readonly Operation[] = [
  libraryPush,
  libraryPush,
  async (turn) => {
    const { random, client, path } = turn
    const { bytes, arch } = random.of(sifs)
    await libraryTag(turn, bytes, random.chance(0.9) ? arch : random.of(archs))
    const unnamed = `/v1/tags/${path}`
    const tag = random.of(tags)
    const body = { [tag]: `${path}:${libraryHash(bytes)}` }
    const expected = model.libraryTag(turn.who, path, tag, digestOf(bytes))
    answered('tag without architecture', await client.post(unnamed, body), expected)
  },
  async ({ random, who, client, path }) => {
    const [tag, arch] = [random.of(tags), random.chance(0.5) ? random.of(archs) : undefined]
    const expected = model.libraryDelete(who, path, tag, arch)
    const query = arch === undefined ? '' : `?arch=${arch}`
    const reply = await client.delete(`/v1/images/${path}:${tag}${query}`)
    answered('delete by tag', reply, expected)
  },
  async ({ random, who, client, path }) => {
    const { bytes } = random.of(sifs)
    const expected = model.libraryDeleteHash(who, path, digestOf(bytes))
    const reply = await client.delete(`/v1/images/${path}:${libraryHash(bytes)}`)
    answered('delete by hash', reply, expected)
  },
  async ({ random, who, client, path }) => {
    const tag = random.of(tags)
    const expected = model.deleteTag('library', who, path, tag)
    answered('remove tag', await client.delete(`/v1/tags/${path}/${tag}`), expected)
  },
  async ({ random, who, client, path }) => {
    if (who === undefined) return
    const accounts = random.chance(0.5) ? ['carl'] : []
    const wanted = { private: random.chance(0.4), accounts, groups: [] }
    const collection = collectionOf(path)
    const access = { private: wanted.private, readers: accounts }
    const expected = model.setAccess(who, collection, access)
    const reply = await client.put(`/api/v1/collections/${collection}/access`, wanted)
    answered('access', reply, expected)
  },
]

const registry: readonly Operation[] = [
  pushImage,
  pushImage,
  async (turn) => await pushImage(turn, turn.random.of(images.filter((one) => one.known.sif))),
  async (turn) => {
    const index = turn.random.of(indexes)
    for (const child of index.known.children ?? []) {
      const there = model.repositories.get(turn.path)?.manifests.has(child)
      const image = images.find(({ known }) => known.digest === child)
      if (there !== true && image && turn.random.chance(0.9)) {
        await pushImage(turn, image, image.known.digest)
      }
    }
    await put(turn, index)
  },
  async (turn) => {
    // What the registry shows under a tag gets another one, as `oras tag` does it.
    const { client, path, random } = turn
    const face = await client.get(`/v2/${path}/manifests/${random.of(tags)}`)
    if (face.status !== 200) return
    const known = knownOf(face.body)
    const mediaType = String(face.headers['content-type'])
    await put(turn, { manifest: { ...known, bytes: face.body, mediaType }, known }, random.of(tags))
  },
  async ({ random, who, client, path }) => {
    const tag = random.of(tags)
    const expected = model.deleteTag('registry', who, path, tag)
    answered('delete tag', await client.delete(`/v2/${path}/manifests/${tag}`), expected)
  },
  async ({ random, who, client, path }) => {
    const there = [...(model.repositories.get(path)?.tags.keys() ?? [])]
    const shown = there.map((tag) => model.face(path, tag)?.digest ?? '').filter(Boolean)
    const digest = random.of([...shown, ...shown, random.of(images).known.digest])
    const expected = model.deleteManifest(who, path, digest)
    answered('delete manifest', await client.delete(`/v2/${path}/manifests/${digest}`), expected)
  },
  async ({ random, who, client, path }) => {
    const digest = random.of([...bytesOfBlobs.keys()])
    const expected = model.deleteBlob(who, path, digest)
    answered('delete blob', await client.delete(`/v2/${path}/blobs/${digest}`), expected)
  },
  async (turn) => await sendBlob(turn, turn.random.of([...bytesOfBlobs.keys()])),
]

test(`${operationCount} operations through both doors, seed ${seed}`, async (t) => {
  const random = new Random(seed)
  for (let turn = 0; turn < operationCount && differences.found.length === 0; turn += 1) {
    const path = random.of(paths)
    const [other] = random.of([...viewers])
    const who = random.chance(0.9) ? entityOf(path) : other
    const client = viewers.get(who)
    assert.ok(client)
    const door = random.chance(0.45) ? library : registry
    await random.of(door)({ random, who, client, path })
    // What is done to one repository shows in no other, which a look at all of them now and then proves.
    for (const one of turn % 10 === 9 ? paths : [path]) {
      await checkRepository(watched, one, differences)
    }
    await checkSite(watched, differences)
    if (differences.found.length > 0) {
      t.diagnostic(`operation ${turn + 1} at ${path} by ${who ?? 'nobody'}`)
    }
  }
  const told = [...counts].map(([what, count]) => `${what}: ${count}`).sort()
  t.diagnostic(`seed ${seed}, ${differences.compared} comparisons; ${told.join(', ')}`)
  assert.equal(differences.found.join('\n'), '')
  await assertLedger(server.db)
})

async function libraryPush(turn: Turn): Promise<void> {
  const { random, who, client, path } = turn
  const { bytes, arch } = random.of(sifs)
  const sif = digestOf(bytes)
  const expected = model.libraryPush(who, path, sif)
  const announced = await client.post('/v1/images', { hash: libraryHash(bytes), container: path })
  answered('announce', announced, expected.announce)
  if (announced.status !== 200) return
  const { id, uploaded } = announced.json.data as { id: string; uploaded: boolean }
  differences.same('whether the bytes are wanted', !uploaded, expected.open !== undefined)
  if (!uploaded) {
    const opened = await client.post(`/v2/imagefile/${id}`, { filesize: bytes.length })
    answered('open', opened, expected.open ?? 0)
    if (opened.status !== 200) return
    answered('send', await client.upload(opened.json.data.uploadURL, bytes), 200)
    answered('complete', await client.put(`/v2/imagefile/${id}/_complete`, {}), 200)
  }
  if (random.chance(0.8)) await libraryTag(turn, bytes, arch)
}

async function libraryTag(
  { random, who, client, path }: Turn,
  sif: Buffer,
  arch: string,
): Promise<void> {
  const tag = random.of(tags)
  const expected = model.libraryTag(who, path, tag, digestOf(sif), arch)
  const body = { Arch: arch, Tag: tag, ImageID: `${path}:${libraryHash(sif)}` }
  answered('tag', await client.post(`/v2/tags/${path}`, body), expected)
}

/** Blobs and manifest; sometimes a blob is left out, on purpose or because the quota is full. */
async function pushImage(turn: Turn, wanted?: Pushable, reference?: string): Promise<void> {
  const image = wanted ?? turn.random.of(images)
  const { config, layers = [] } = image.known
  const isSent = (digest: string | undefined) => digest !== undefined && bytesOfBlobs.has(digest)
  for (const digest of [config, ...layers].filter(isSent)) {
    if (digest !== undefined && turn.random.chance(0.95)) await sendBlob(turn, digest)
  }
  await put(turn, image, reference)
}

async function put(turn: Turn, { manifest, known }: Pushable, wanted?: string): Promise<void> {
  const { random, who, client, path } = turn
  const reference = wanted ?? (random.chance(0.7) ? random.of(tags) : known.digest)
  const isDigest = reference.includes(':')
  const extra = isDigest && random.chance(0.3) ? [random.of(tags)] : []
  const query = extra.map((tag) => `?tag=${tag}`).join('')
  const expected = model.putManifest(who, path, known, isDigest ? extra : [reference])
  const reply = await putManifest(client, path, `${reference}${query}`, manifest)
  answered(`put ${known.children ? 'index' : known.sif ? 'SIF' : 'image'}`, reply, expected)
}

/** One of the ways in which clients bring a blob to a repository. */
async function sendBlob(turn: Turn, digest: string): Promise<void> {
  const { random, who, client, path } = turn
  const bytes = bytesOfBlobs.get(digest)
  assert.ok(bytes)
  const uploads = `/v2/${path}/blobs/uploads/`
  if (random.chance(0.4)) {
    const expected = model.headBlob(who, path, digest)
    answered('look for blob', await client.send('HEAD', `/v2/${path}/blobs/${digest}`), expected)
    if (expected === 200) return
  }
  if (random.chance(0.3)) {
    const from = random.of(paths)
    const expected = model.mount(who, path, digest, from)
    const mounted = await client.send('POST', `${uploads}?mount=${digest}&from=${from}`)
    answered('mount', mounted, expected)
    if (mounted.status !== 202) return
    model.cancelUpload(path)
    answered('cancel', await client.delete(sessionPath(mounted)), 204)
  }
  const expected = model.pushBlob(who, path, digest)
  if (random.chance(0.3)) {
    const sent = await client.send('POST', `${uploads}?digest=${digest}`, { body: bytes })
    return answered('blob at once', sent, expected)
  }
  const opened = await client.send('POST', uploads)
  const isOpen = expected === 201 || (expected === 403 && who === entityOf(path))
  answered('open blob', opened, isOpen ? 202 : expected)
  if (opened.status !== 202) return
  const end = `${sessionPath(opened)}?digest=${digest}`
  if (random.chance(0.5)) {
    return answered('blob', await client.send('PUT', end, { body: bytes }), expected)
  }
  const sent = await client.send('PATCH', sessionPath(opened), { body: bytes })
  answered('chunk', sent, expected === 201 ? 202 : expected)
  if (sent.status === 202) answered('end of chunks', await client.send('PUT', end), 201)
}

/** The manifest that the server makes of a SIF, from a container that is gone afterwards. */
async function learnOwn(bytes: Buffer, arch: string): Promise<Pushable> {
  const [path, sif] = ['maker/learn/own', digestOf(bytes)]
  await maker.push(path, undefined, bytes)
  await maker.tag(path, 'own', bytes, arch)
  const reply = await maker.get(`/v2/${path}/manifests/own`)
  const gone = await maker.delete(`/v1/images/${path}:${libraryHash(bytes)}`)
  assert.equal(gone.status, 200)
  assert.deepEqual(
    reply.json.layers.map((layer: { digest: string }) => layer.digest),
    [sif],
  )
  const { body: bytesOfManifest, json } = reply
  const digest = digestOf(bytesOfManifest)
  const manifest = { digest, bytes: bytesOfManifest, mediaType: json.mediaType as string }
  const config = json.config.digest as string
  return { manifest, known: { ...sizeOf(manifest), config, layers: [sif], sif } }
}

function sizeOf({ digest, bytes }: Manifest): { digest: string; size: number } {
  return { digest, size: bytes.length }
}

/** Of a manifest that came from the registry: one of ours, or an index that the server made. */
function knownOf(bytes: Buffer): KnownManifest {
  const digest = digestOf(bytes)
  const known = watched.manifests.get(digest)
  if (known !== undefined) return known
  const { manifests } = JSON.parse(bytes.toString()) as { manifests: { digest: string }[] }
  return { digest, size: bytes.length, children: manifests.map((entry) => entry.digest) }
}
