/**
 * What the text of an OCI manifest or index says: parsed once, with every list bounded, and refused
 * where two readers could understand different things (CVE-2021-41190). Pure.
 * OCI image-spec 1.1 manifest.md and image-index.md; Docker's schema 2 has the same members.
 */
import { z } from 'zod'

import { invalid } from '../failure.ts'
import { parseDigest } from './names.ts'
import type { Digest } from './names.ts'

export interface Descriptor {
  readonly mediaType: string
  readonly digest: Digest
  readonly size: number
  /** Its bytes are elsewhere on purpose (Windows base layers): the registry need not have them. */
  readonly foreign: boolean
}

export interface ManifestDocument {
  readonly mediaType: string
  readonly isIndex: boolean
  readonly config: Descriptor | undefined
  /** The layers of a manifest, or the entries of an index. */
  readonly parts: readonly Descriptor[]
  readonly subject: Digest | undefined
  readonly artifactType: string | undefined
  readonly annotations: Readonly<Record<string, string>>
}

export const maxManifestBytes = 4 << 20
const maxParts = 10_000

const manifestTypes = new Set([
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
])
const indexTypes = new Set([
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
])
export const sifConfigType = 'application/vnd.sylabs.sif.config.v1+json'
/** Prototypes of the oras push spelled it the second way (internal/pkg/client/oras). */
const sifLayerTypes = new Set([
  'application/vnd.sylabs.sif.layer.v1.sif',
  'appliciation/vnd.sylabs.sif.layer.tar',
])

const mediaType = z.string().min(1).max(255)
// The client of the Sylabs library writes 0 for the size of an entry in an index: sizes are not used.
const descriptor = z.looseObject({
  mediaType,
  digest: z.string().max(256),
  size: z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER),
})
const shared = {
  schemaVersion: z.literal(2),
  mediaType: mediaType.optional(),
  artifactType: mediaType.optional(),
  subject: descriptor.optional(),
  annotations: z.record(z.string(), z.string()).optional(),
}
const manifest = z.looseObject({
  ...shared,
  config: descriptor,
  layers: z.array(descriptor).max(maxParts),
  manifests: z.undefined().optional(),
})
const index = z.looseObject({
  ...shared,
  manifests: z.array(descriptor).max(maxParts),
  config: z.undefined().optional(),
  layers: z.undefined().optional(),
  fsLayers: z.undefined().optional(),
})

/** `contentType` is the header that it came with. Throws `invalid` for what is none or ambiguous. */
export function parseManifest(bytes: Buffer, contentType: string | undefined): ManifestDocument {
  const value = parseJson(bytes)
  const declared = contentType?.split(';', 1)[0]?.trim().toLowerCase()
  const inside = z.looseObject({ mediaType: z.string() }).safeParse(value)
  const type = declared || (inside.success ? inside.data.mediaType : undefined)
  if (type === undefined) throw bad('it has no media type: send a Content-Type')
  if (inside.success && inside.data.mediaType !== type) {
    throw bad(
      `the Content-Type says ${show(type)}, and the mediaType ${show(inside.data.mediaType)}`,
    )
  }
  if (manifestTypes.has(type)) return fromManifest(type, checked(manifest, value))
  if (indexTypes.has(type)) return fromIndex(type, checked(index, value))
  throw bad(`the media type ${show(type)} is not one of a manifest`)
}

/** The SIF of a manifest that holds one and nothing else. */
export function sifLayerOf(document: ManifestDocument): Descriptor | undefined {
  const [layer, ...others] = document.parts
  if (document.isIndex || layer === undefined || others.length > 0) return undefined
  return sifLayerTypes.has(layer.mediaType) ? layer : undefined
}

function fromManifest(type: string, value: z.infer<typeof manifest>): ManifestDocument {
  const config = described(value.config)
  return {
    mediaType: type,
    isIndex: false,
    config,
    parts: value.layers.map(described),
    subject: value.subject && parseDigest(value.subject.digest),
    // Without an artifactType the media type of the configuration stands for it (referrers API).
    artifactType: value.artifactType ?? config.mediaType,
    annotations: value.annotations ?? {},
  }
}

function fromIndex(type: string, value: z.infer<typeof index>): ManifestDocument {
  return {
    mediaType: type,
    isIndex: true,
    config: undefined,
    parts: value.manifests.map(described),
    subject: value.subject && parseDigest(value.subject.digest),
    artifactType: value.artifactType,
    annotations: value.annotations ?? {},
  }
}

function described(value: z.infer<typeof descriptor>): Descriptor {
  const { mediaType, digest, size } = value
  const foreign = /nondistributable|\.foreign\./.test(mediaType)
  return { mediaType, digest: parseDigest(digest), size, foreign }
}

function checked<Value>(schema: z.ZodType<Value>, value: unknown): Value {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw bad(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'wrong'}`)
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (error) {
    throw invalid('manifest', 'The manifest is not JSON.', error)
  }
}

function bad(why: string) {
  return invalid('manifest', `This is not a manifest that can be stored: ${why}.`)
}

function show(text: string): string {
  return `"${text.replace(/[^\x20-\x7e]/g, '?').slice(0, 80)}"`
}
