/**
 * Whether what signatures state about an image is so (sylabs/sif pkg/integrity/verify.go and
 * metadata.go): the digests of the header, of descriptors and of contents, and that nothing of the
 * group is left out. Who signed is not asked here: a statement is to be given only when the
 * signature around it has been verified.
 */
import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'

import type { ByteSource } from './inspect.ts'
import { groupOf, signedDescriptorBytes } from './layout.ts'
import type { Descriptor } from './layout.ts'
import type { SignedImage } from './signatures.ts'
import { parseStatement } from './statement.ts'
import type { Digest, Statement } from './statement.ts'

/** What a signature is found to say about one group of an image. */
export type Coverage =
  /** Everything in the group is as it was signed. */
  | { readonly kind: 'whole' }
  /** What was signed is as it was, but these objects (IDs) of the group are signed by nobody. */
  | { readonly kind: 'part'; readonly unsigned: readonly number[] }
  /** `reason` is the end of a sentence for people. */
  | { readonly kind: 'broken'; readonly reason: string }

/** The content of a verified signature, with the group that its object is linked to. */
export interface SignedStatement {
  readonly group: number
  readonly signed: Buffer
}

/** Hashed at once: the event loop waits for no more than a millisecond. */
const PIECE_BYTES = 256 * 1024

/** The groups that hold objects, in rising order: each of them wants a signature of its own. */
export function groupsOf(objects: readonly Descriptor[]): readonly number[] {
  const groups = new Set(objects.map(groupOf))
  groups.delete(0)
  return [...groups].sort((a, b) => a - b)
}

/**
 * One answer for each statement, in their order. A content is read once, however many statements
 * and objects name it, so that at most `source.size` bytes are read, with one piece in memory.
 * What the source throws passes through.
 */
export async function checkStatements(
  image: SignedImage,
  statements: readonly SignedStatement[],
): Promise<readonly Coverage[]> {
  const checks: (Coverage | Pending)[] = []
  for (const statement of statements) {
    checks.push(compare(image, statement))
    await setImmediate() // a thousand objects take some milliseconds: others get their turn
  }
  const wanted = checks.flatMap((check) => ('pairs' in check ? check.pairs : []))
  const contents = await digestContents(image.source, wanted)
  return checks.map((check) => {
    if (!('pairs' in check)) return check
    if (contents === undefined) return broken('objects of the image overlap each other')
    const changed = check.pairs.find(
      ({ object, content }) => contents.get(place(object))?.get(content.algorithm) !== content.hex,
    )
    if (changed !== undefined) return changedObject(changed.object)
    return check.unsigned.length === 0
      ? { kind: 'whole' }
      : { kind: 'part', unsigned: check.unsigned }
  })
}

/** An object with the digest that was signed of its content. */
interface Pair {
  readonly object: Descriptor
  readonly content: Digest
}

/** Right as far as it goes without reading contents. */
interface Pending {
  readonly pairs: readonly Pair[]
  readonly unsigned: readonly number[]
}

/** All that can be said without reading contents. */
function compare(
  { header, objects }: SignedImage,
  { group, signed }: SignedStatement,
): Coverage | Pending {
  const statement = parseStatement(signed)
  if (statement === undefined) return broken('what it signs is no statement about an image')
  const members = objects.filter((object) => groupOf(object) === group)
  if (members.length === 0) return broken(`group ${group}, which it signs, is not in the image`)
  const stated = byId(statement, lowestId(members))
  const present = new Set(members.map(({ id }) => id))
  const missing = [...stated.keys()].find((id) => !present.has(id))
  if (missing !== undefined) return broken(`object ${missing}, which was signed, is not there`)
  if (digest(header.signedBytes, statement.header.algorithm) !== statement.header.hex) {
    return broken('the header of the image was changed after it was signed')
  }
  const lowest = lowestIds(objects)
  const pairs: Pair[] = []
  for (const object of members) {
    const claim = stated.get(object.id)
    if (claim === undefined) continue
    // Unsigned 32-bit, as clients count. The lowest ID is that of the group as it is stored.
    const relativeId = (object.id - (lowest.get(object.groupField) ?? 0)) >>> 0
    const descriptor = signedDescriptorBytes(object, relativeId)
    if (digest(descriptor, claim.descriptor.algorithm) !== claim.descriptor.hex) {
      return broken(`the description of object ${object.id} was changed after it was signed`)
    }
    pairs.push({ object, content: claim.content })
  }
  return { pairs, unsigned: [...present].filter((id) => !stated.has(id)) }
}

/** Of two entries about one object the first counts, as for clients. */
function byId(statement: Statement, lowest: number): Map<number, Statement['objects'][number]> {
  const found = new Map<number, Statement['objects'][number]>()
  for (const entry of statement.objects) {
    const id = (lowest + entry.relativeId) >>> 0
    if (!found.has(id)) found.set(id, entry)
  }
  return found
}

function lowestId(objects: readonly Descriptor[]): number {
  return objects.reduce((lowest, { id }) => Math.min(lowest, id), 0xffff_ffff)
}

function lowestIds(objects: readonly Descriptor[]): ReadonlyMap<number, number> {
  const lowest = new Map<number, number>()
  for (const { id, groupField } of objects) {
    lowest.set(groupField, Math.min(id, lowest.get(groupField) ?? id))
  }
  return lowest
}

/**
 * Place in the file → algorithm → digest. Undefined when the places add up to more than the file:
 * then some overlap, which no writer does, and reading all of them could take for ever.
 */
async function digestContents(
  source: ByteSource,
  pairs: readonly Pair[],
): Promise<ReadonlyMap<string, ReadonlyMap<string, string>> | undefined> {
  const places = new Map<string, { object: Descriptor; algorithms: Set<string> }>()
  for (const { object, content } of pairs) {
    const found = places.get(place(object)) ?? { object, algorithms: new Set() }
    found.algorithms.add(content.algorithm)
    places.set(place(object), found)
  }
  let bytes = 0
  for (const { object } of places.values()) bytes += object.size
  if (bytes > source.size) return undefined
  const digests = new Map<string, ReadonlyMap<string, string>>()
  for (const [name, { object, algorithms }] of places) {
    digests.set(name, await digestContent(source, object, algorithms))
  }
  return digests
}

async function digestContent(
  source: ByteSource,
  { offset, size }: Descriptor,
  algorithms: ReadonlySet<string>,
): Promise<ReadonlyMap<string, string>> {
  const hashes = [...algorithms].map((name) => [name, createHash(name)] as const)
  for (let at = 0; at < size; at += PIECE_BYTES) {
    const piece = await source.read(offset + at, Math.min(PIECE_BYTES, size - at))
    for (const [, hash] of hashes) hash.update(piece)
  }
  return new Map(hashes.map(([name, hash]) => [name, hash.digest('hex')]))
}

function place({ offset, size }: Descriptor): string {
  return `${offset}+${size}`
}

function digest(bytes: Buffer, algorithm: string): string {
  return createHash(algorithm).update(bytes).digest('hex')
}

function changedObject({ id }: Descriptor): Coverage {
  return broken(`object ${id} of the image was changed after it was signed`)
}

function broken(reason: string): Coverage {
  return { kind: 'broken', reason }
}
