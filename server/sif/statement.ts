/**
 * What a signature of an image says: digests of the header and of objects, as JSON (sylabs/sif
 * pkg/integrity/metadata.go and digest.go). Pure. Clients read it more loosely (names in any case,
 * for example); every statement that they write is read here.
 */
import { z } from 'zod'

export interface Digest {
  /** As node:crypto calls it. */
  readonly algorithm: string
  /** Lower-case. */
  readonly hex: string
}

export interface Statement {
  readonly header: Digest
  readonly objects: readonly {
    /** The distance of the object's ID from the lowest one in its group. */
    readonly relativeId: number
    readonly descriptor: Digest
    readonly content: Digest
  }[]
}

/** Name in a statement → name in node:crypto, hexadecimal digits. SHA-1 is not among them. */
const ALGORITHMS: ReadonlyMap<string, readonly [name: string, digits: number]> = new Map([
  ['sha224', ['sha224', 56]],
  ['sha256', ['sha256', 64]],
  ['sha384', ['sha384', 96]],
  ['sha512', ['sha512', 128]],
  ['sha512_224', ['sha512-224', 56]],
  ['sha512_256', ['sha512-256', 64]],
])

const digest = z.string().transform((text, context): Digest => {
  const [, name = '', hex = ''] = /^([a-z0-9_]+):([0-9a-fA-F]+)$/.exec(text) ?? []
  const algorithm = ALGORITHMS.get(name)
  if (algorithm === undefined || algorithm[1] !== hex.length) {
    context.addIssue('not a digest that image signatures use')
    return z.NEVER
  }
  return { algorithm: algorithm[0], hex: hex.toLowerCase() }
})

const statement = z
  .object({
    header: z.object({ digest }),
    objects: z
      .array(
        z.object({
          relativeId: z.int().min(0).max(0xffff_ffff),
          descriptorDigest: digest,
          objectDigest: digest,
        }),
      )
      .max(4096),
  })
  .transform(({ header, objects }): Statement => ({
    header: header.digest,
    objects: objects.map(({ relativeId, descriptorDigest, objectDigest }) => ({
      relativeId,
      descriptor: descriptorDigest,
      content: objectDigest,
    })),
  }))

/** Undefined when the signed bytes are no statement about an image. */
export function parseStatement(signed: Buffer): Statement | undefined {
  let document: unknown
  try {
    document = JSON.parse(signed.toString('utf8'))
  } catch {
    return undefined
  }
  return statement.safeParse(document).data
}
