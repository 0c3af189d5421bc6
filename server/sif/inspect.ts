/**
 * What a SIF file says about itself, read from its header, its descriptor table and the few small
 * objects that describe it (protocol.md 9.3). Nothing here is proof: a signature is claimed, not
 * verified, and the labels are the author's words.
 *
 * Two kinds of fault, two answers. A file whose structure breaks a rule of protocol.md 9.4 is
 * refused. A descriptive object that cannot be understood (bad JSON, absurd size) is passed over,
 * because clients run such an image without looking at it.
 */
import {
  DataType,
  HEADER_BYTES,
  decodeDescriptors,
  decodeHeader,
  goArch,
  ociDigest,
  primaryPartition,
  signerFingerprint,
} from './layout.ts'
import type { Descriptor } from './layout.ts'

/** Random access to the bytes of a file of known size. */
export interface ByteSource {
  /** In bytes. */
  readonly size: number
  /** Exactly `length` bytes from `offset`; asked only for ranges inside the file. */
  read(offset: number, length: number): Promise<Buffer>
}

export interface SifFacts {
  /** Go name: `amd64`, …; undefined when the header says 00 (OCI-SIF, empty files) or an unlisted code. */
  readonly arch: string | undefined
  /** Lower-case, 36 characters; undefined when zero. Not unique: anybody may write any. */
  readonly uuid: string | undefined
  /** There is at least one signature, of whatever worth. */
  readonly signed: boolean
  /** Keys that the signatures name: distinct, sorted, 40 upper-case hexadecimal characters each. */
  readonly fingerprints: readonly string[]
  /** The primary partition is an encrypted squashfs. */
  readonly encrypted: boolean
  /** At most 1 MiB of UTF-8 without NUL; undefined when absent, empty or larger. */
  readonly definition: string | undefined
  /** At most 256 entries; keys and values at most 4 KiB of UTF-8 each, without NUL. */
  readonly labels: Readonly<Record<string, string>>
  /** Defined when the file is an OCI-SIF: it holds an OCI root index. */
  readonly oci: OciFacts | undefined
}

/** The image of an OCI-SIF. Members are undefined, or empty, where the index leads nowhere. */
interface OciFacts {
  /** `sha256:…` of the first manifest of the root index that is in the file. */
  readonly manifestDigest: string | undefined
  /** Go name as the image's config states it; the SIF header of an OCI-SIF says 00. */
  readonly architecture: string | undefined
  /** One for each layer, base first, at most 256: squashfs, ext3 overlay, tar. */
  readonly layerMediaTypes: readonly string[]
}

const MAX_DEFINITION_BYTES = 1024 * 1024
/** Real ones have 2 KiB. The worst of this size, all brackets, takes 20 ms to parse. */
const MAX_JSON_BYTES = 256 * 1024
const MAX_LABELS = 256
const MAX_LABEL_BYTES = 4096
const MAX_OCI_ENTRIES = 256
const MAX_OCI_NAME_BYTES = 255

/**
 * Reads what the file says about itself: at most 2.4 MB of table, a definition of 1 MiB and
 * five JSON objects of 256 KiB.
 * Throws Failure('invalid', 'image'), with a message for the pusher, for everything that
 * protocol.md 9.4 refuses. What the source throws passes through.
 */
export async function inspectSif(source: ByteSource): Promise<SifFacts> {
  const start = await source.read(0, Math.min(HEADER_BYTES, source.size))
  const header = decodeHeader(start, source.size)
  const table = await source.read(header.tableOffset, header.tableBytes)
  const objects = decodeDescriptors(table, header, source.size)
  const primary = primaryPartition(header, objects)
  const signatures = objects.filter(({ dataType }) => dataType === DataType.signature)
  return {
    arch: goArch(header.archCode),
    uuid: header.uuid,
    signed: signatures.length > 0,
    fingerprints: distinctFingerprints(signatures),
    encrypted: primary?.encrypted ?? false,
    ...(await readDescription(source, objects)),
    oci: await readOci(source, objects),
  }
}

function distinctFingerprints(signatures: readonly Descriptor[]): readonly string[] {
  const named = signatures.map(signerFingerprint).filter((key) => key !== undefined)
  return [...new Set(named)].sort()
}

/**
 * Older images hold the definition and the labels in objects of their own, newer ones in a JSON
 * object named inspect-metadata.json, and many hold the definition in both.
 */
async function readDescription(
  source: ByteSource,
  objects: readonly Descriptor[],
): Promise<Pick<SifFacts, 'definition' | 'labels'>> {
  const ofType = (type: number): Descriptor | undefined =>
    objects.find(({ dataType }) => dataType === type)
  const inspection = await readJson(
    source,
    objects.find(
      ({ dataType, name }) => dataType === DataType.json && name === 'inspect-metadata.json',
    ),
  )
  const attributes = at(inspection, 'data', 'attributes')
  const definition = await readText(source, ofType(DataType.definition), MAX_DEFINITION_BYTES)
  const labels = labelsIn(await readJson(source, ofType(DataType.labels)))
  return {
    definition:
      storable(definition, MAX_DEFINITION_BYTES) ||
      storable(at(attributes, 'deffile'), MAX_DEFINITION_BYTES) ||
      undefined,
    labels: Object.keys(labels).length > 0 ? labels : labelsIn(at(attributes, 'labels')),
  }
}

/** Follows root index → manifest → config. An index inside the index is not followed. */
async function readOci(
  source: ByteSource,
  objects: readonly Descriptor[],
): Promise<OciFacts | undefined> {
  const rootIndex = objects.find(({ dataType }) => dataType === DataType.ociRootIndex)
  if (rootIndex === undefined) return undefined
  const blobs = new Map<unknown, Descriptor>()
  for (const object of objects) {
    const digest = object.dataType === DataType.ociBlob ? ociDigest(object) : undefined
    if (digest !== undefined) blobs.set(digest, object)
  }
  const manifestDigest = entries(await readJson(source, rootIndex), 'manifests')
    .map((entry) => at(entry, 'digest'))
    .find((digest): digest is string => blobs.has(digest))
  const manifest = await readJson(source, blobs.get(manifestDigest))
  const config = await readJson(source, blobs.get(at(manifest, 'config', 'digest')))
  return {
    manifestDigest,
    architecture: storable(at(config, 'architecture'), MAX_OCI_NAME_BYTES),
    layerMediaTypes: entries(manifest, 'layers')
      .map((layer) => storable(at(layer, 'mediaType'), MAX_OCI_NAME_BYTES))
      .filter((mediaType) => mediaType !== undefined),
  }
}

/** Entries that are not text, or too long, are left out; so are those beyond the first 256. */
function labelsIn(value: unknown): Readonly<Record<string, string>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return {}
  const labels = new Map<string, string>()
  const texts = Object.entries(value).filter(([, content]) => typeof content === 'string')
  for (const [name, content] of texts.slice(0, MAX_LABELS)) {
    const key = storable(name, MAX_LABEL_BYTES)
    const text = storable(content, MAX_LABEL_BYTES)
    // A label of this name would be a trap for every `labels[key] = …` further on.
    if (key !== undefined && text !== undefined && key !== '__proto__') labels.set(key, text)
  }
  return Object.fromEntries(labels)
}

/**
 * Text that PostgreSQL takes as text and as jsonb: no NUL, no half of a surrogate pair (JSON can
 * spell both). Undefined when it is not text or has more than `maxBytes` of UTF-8.
 */
function storable(value: unknown, maxBytes: number): string | undefined {
  if (typeof value !== 'string' || value.length > maxBytes) return undefined
  const text = value.replaceAll('\0', '').replace(/\p{Surrogate}/gu, '\u{fffd}')
  return Buffer.byteLength(text) <= maxBytes ? text : undefined
}

/**
 * The value at a path of own members; undefined where the path leaves the document. A schema
 * would refuse a whole document for one odd member and walk a million of them to say so.
 */
function at(document: unknown, ...path: readonly string[]): unknown {
  let value = document
  for (const name of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
    value = (value as Readonly<Record<string, unknown>>)[name]
  }
  return value
}

function entries(document: unknown, name: string): readonly unknown[] {
  const list = at(document, name)
  return Array.isArray(list) ? list.slice(0, MAX_OCI_ENTRIES) : []
}

async function readJson(source: ByteSource, object: Descriptor | undefined): Promise<unknown> {
  const text = await readText(source, object, MAX_JSON_BYTES)
  if (text === undefined) return undefined
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}

/** Invalid UTF-8 is replaced, a byte order mark removed. Undefined when absent or larger. */
async function readText(
  source: ByteSource,
  object: Descriptor | undefined,
  maxBytes: number,
): Promise<string | undefined> {
  if (object === undefined || object.size > maxBytes) return undefined
  return new TextDecoder().decode(await source.read(object.offset, object.size))
}
