/**
 * Names of the content model: parsed once at the edge, branded, printed here and nowhere else.
 * A digest has two spellings, `sha256:<hex>` (OCI, database) and `sha256.<hex>` (library).
 */
import { invalid } from '../failure.ts'
import type { Failure } from '../failure.ts'

declare const brand: unique symbol
type Branded<Name extends string> = string & { readonly [brand]: Name }

/** `sha256:` and 64, or `sha512:` and 128 lower-case hex digits. */
export type Digest = Branded<'Digest'>
/** `entity/collection/container`; a container of the registry may have slashes in its name. */
export type RepositoryPath = Branded<'RepositoryPath'>
export type Tag = Branded<'Tag'>
/** A Go architecture name: amd64, arm64, ppc64le, … */
export type Arch = Branded<'Arch'>

export interface RepositoryName {
  readonly entity: string
  readonly collection: string
  readonly container: string
  readonly path: RepositoryPath
}

/** What stands for the missing parts of `name` and `collection/name` (protocol.md 5.2). */
export interface NameDefaults {
  readonly entity: string
  readonly collection: string
}

export type ImageReference =
  | { readonly kind: 'tag'; readonly repository: RepositoryName; readonly tag: Tag }
  | { readonly kind: 'digest'; readonly repository: RepositoryName; readonly digest: Digest }
  | { readonly kind: 'uuid'; readonly repository: RepositoryName; readonly uuid: string }

// OCI distribution-spec, "name": also what the library clients check before a push.
const segment = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/
const digestPattern = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/
const libraryHash = /^sha256\.[0-9a-f]{64}$/
const sifUuid = /^sif\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/
const archPattern = /^[a-z0-9]{1,16}$/

const maxSegment = 128
const maxPath = 255

/** Fixed paths beside the repositories of one origin: `/v2/imagefile/…`, `/v2/tags/…`. */
const reservedEntities = new Set(['imagefile', 'tags'])

export function parseDigest(text: string): Digest {
  if (digestPattern.test(text)) return text as Digest
  throw invalid(
    'digest',
    `"${show(text)}" is not a digest: expected sha256: and 64, or sha512: and 128 hex digits.`,
  )
}

/** `sha256.<hex>` of the library protocol. */
export function parseLibraryHash(text: string): Digest {
  if (libraryHash.test(text)) return `sha256:${text.slice(7)}` as Digest
  throw invalid('digest', `"${show(text)}" is not an image hash: expected sha256.<64 hex digits>.`)
}

/** Whether a digest has the algorithm of the library, which knows no other. */
export function isSha256(digest: Digest): boolean {
  return digest.startsWith('sha256:')
}

export function libraryHashOf(digest: Digest): string {
  return `sha256.${hexOf(digest)}`
}

export function digestOfHex(hex: string): Digest {
  return parseDigest(`sha256:${hex}`)
}

export function hexOf(digest: Digest): string {
  return digest.slice(digest.indexOf(':') + 1)
}

export function algorithmOf(digest: Digest): 'sha256' | 'sha512' {
  return isSha256(digest) ? 'sha256' : 'sha512'
}

export function parseTag(text: string): Tag {
  if (!tagPattern.test(text)) {
    throw invalid(
      'tag',
      `"${show(text)}" is not a tag: use letters, digits, "_", "." and "-", at most 128 of them.`,
    )
  }
  if (libraryHash.test(text) || sifUuid.test(text)) {
    throw invalid('tag', `"${show(text)}" is a hash, which cannot be used as a tag.`)
  }
  return text as Tag
}

export function parseArch(text: string): Arch {
  if (archPattern.test(text)) return text as Arch
  throw invalid('request', `"${show(text)}" is not an architecture: expected amd64, arm64, …`)
}

export function parseEntityName(text: string): string {
  const name = parseSegment(text, 'entity')
  if (reservedEntities.has(name)) throw invalid('entity', `The name "${name}" is reserved.`)
  return name
}

/** `collection`, or `entity/collection`; an empty entity is the default one. */
export function parseCollectionPath(
  text: string,
  defaults: NameDefaults,
): { entity: string; collection: string } {
  const parts = splitPath(text)
  const [collection, entity = defaults.entity, ...rest] = parts.toReversed()
  if (collection === undefined || rest.length > 0) {
    throw invalid('collection', `"${show(text)}" is not a collection: expected entity/collection.`)
  }
  return {
    entity: parseEntityName(entity),
    collection: parseSegment(collection, 'collection'),
  }
}

/** A space, a collection or a container, told apart by their slashes; nothing is filled in. */
export function parsePlace(text: string): {
  entity: string
  collection: string | undefined
  container: string | undefined
} {
  const [entity = '', collection, ...rest] = splitPath(text)
  return {
    entity: parseEntityName(entity),
    collection: collection === undefined ? undefined : parseSegment(collection, 'collection'),
    container:
      rest.length === 0
        ? undefined
        : rest.map((part) => parseSegment(part, 'repository')).join('/'),
  }
}

/**
 * What the library protocol calls a container. Of one or two segments the missing ones are the
 * defaults, so `alpine` is `library/default/alpine`; with more than three, the container's own name
 * has slashes, as clients of the registry make them.
 */
export function parseRepository(text: string, defaults: NameDefaults): RepositoryName {
  const parts = splitPath(text)
  if (parts.length > 2) return makeRepository(parts)
  const [name, collection = defaults.collection] = parts.toReversed()
  if (name === undefined) throw notAPath(text)
  return makeRepository([defaults.entity, collection, name])
}

/** A container that the library's own verbs make: three segments at most. */
export function parseNewRepository(text: string, defaults: NameDefaults): RepositoryName {
  if (splitPath(text).length > 3) throw notAPath(text)
  return parseRepository(text, defaults)
}

/**
 * A repository name of the registry. The first segment is the entity, which owns it; of two, the
 * collection is the default one (`alice/bwa` is `alice/default/bwa`), and one alone is the default
 * entity's. What is one repository has one path, whichever way it was named.
 */
export function parseOciRepository(text: string, defaults: NameDefaults): RepositoryName {
  const parts = text.split('/')
  const [first = '', second = ''] = parts
  if (parts.length > 2) return makeRepository(parts)
  if (parts.length === 2) return makeRepository([first, defaults.collection, second])
  return makeRepository([defaults.entity, defaults.collection, first])
}

/** `path:tag`, `path:sha256.<hex>` or `path:sif.<uuid>`; without a colon the tag is `latest`. */
export function parseImageReference(text: string, defaults: NameDefaults): ImageReference {
  const colon = text.lastIndexOf(':')
  const repository = parseRepository(colon < 0 ? text : text.slice(0, colon), defaults)
  const suffix = colon < 0 ? 'latest' : text.slice(colon + 1)
  if (libraryHash.test(suffix)) {
    return { kind: 'digest', repository, digest: parseLibraryHash(suffix) }
  }
  const uuid = sifUuid.exec(suffix)?.[1]
  if (uuid !== undefined) return { kind: 'uuid', repository, uuid }
  return { kind: 'tag', repository, tag: parseTag(suffix) }
}

/** The identifier of an image in JSON: its path and hash. */
export function imageId(path: RepositoryPath, digest: Digest): string {
  return `${path}:${libraryHashOf(digest)}`
}

function notAPath(text: string): Failure {
  const expected = 'expected entity/collection/container.'
  return invalid('repository', `"${show(text)}" is not a container path: ${expected}`)
}

function makeRepository(parts: readonly string[]): RepositoryName {
  const [first = '', second = '', ...rest] = parts
  const entity = parseEntityName(first)
  const collection = parseSegment(second, 'collection')
  const container = rest.map((part) => parseSegment(part, 'repository')).join('/')
  const path = `${entity}/${collection}/${container}`
  if (path.length > maxPath) {
    throw invalid('repository', `The path is longer than ${maxPath} characters.`)
  }
  return { entity, collection, container, path: path as RepositoryPath }
}

/** Leading slashes stand for an empty entity or come doubled from old clients (protocol.md 5.2). */
function splitPath(text: string): string[] {
  const trimmed = text.replace(/^\/+/, '')
  return trimmed === '' ? [] : trimmed.split('/')
}

function parseSegment(text: string, subject: 'entity' | 'collection' | 'repository'): string {
  if (text.length <= maxSegment && segment.test(text)) return text
  const noun = subject === 'repository' ? 'container' : subject
  throw invalid(
    subject,
    `"${show(text)}" is not a valid ${noun} name: use lower-case letters and digits, with single ".", "_" or "-" between them.`,
  )
}

/** Input as it may appear in a message: short, and without control characters. */
function show(text: string): string {
  // oxlint-disable-next-line no-control-regex
  const clean = text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?')
  return clean.length > 80 ? `${clean.slice(0, 77)}...` : clean
}
