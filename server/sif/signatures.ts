import { readClearSigned } from './clear-sign.ts'
import type { ClearSigned } from './clear-sign.ts'
/**
 * The signature objects of a SIF: what each is and what it is linked to. Nothing is verified here
 * (sylabs/sif pkg/integrity/select.go and dsse.go say how clients tell the kinds apart).
 */
import type { ByteSource } from './inspect.ts'
import {
  DataType,
  HEADER_BYTES,
  decodeDescriptors,
  decodeHeader,
  hasSignatureHash,
  linkedGroup,
  signerFingerprint,
} from './layout.ts'
import type { Descriptor, Header } from './layout.ts'

export interface SignedImage {
  readonly source: ByteSource
  readonly header: Header
  /** All of them, the signatures included, in the table's order. */
  readonly objects: readonly Descriptor[]
  readonly signatures: readonly SignatureObject[]
}

export interface SignatureObject {
  /** Of the object in the file. */
  readonly id: number
  /** The group that it is linked to; undefined for none and for a single object (legacy). */
  readonly group: number | undefined
  /** The primary key's, as the descriptor claims it: 40 upper-case hex digits. DSSE has none. */
  readonly fingerprint: string | undefined
  readonly form: SignatureForm
}

type SignatureForm =
  | { readonly kind: 'clear-signed'; readonly message: ClearSigned }
  /** Before SIF 3.6: over the content of objects only, so that a header could be changed. */
  | { readonly kind: 'legacy' }
  /** An envelope for keys in PEM, without a name of the signer. */
  | { readonly kind: 'dsse' }
  | { readonly kind: 'unreadable'; readonly reason: string }

/** A statement about 700 objects with SHA-512; real ones have 2 KiB. */
const MAX_SIGNATURE_BYTES = 256 * 1024
/** Real files have room for 48 objects of all kinds. */
const MAX_SIGNATURES = 64
const DSSE_PAYLOAD = 'application/vnd.sylabs.sif-metadata+json'
const LEGACY_START = Buffer.from('SIFHASH:\r\n', 'latin1')

/**
 * Reads the header, the table and each signature: at most 2.4 MB and 64 times 256 KiB.
 * Throws Failure('invalid', 'image') for what inspectSif refuses of header and table.
 */
export async function readSignatures(source: ByteSource): Promise<SignedImage> {
  const start = await source.read(0, Math.min(HEADER_BYTES, source.size))
  const header = decodeHeader(start, source.size)
  const table = await source.read(header.tableOffset, header.tableBytes)
  const objects = decodeDescriptors(table, header, source.size)
  const signatures: SignatureObject[] = []
  for (const object of objects.filter(({ dataType }) => dataType === DataType.signature)) {
    signatures.push({
      id: object.id,
      group: linkedGroup(object),
      fingerprint: signerFingerprint(object),
      form:
        signatures.length < MAX_SIGNATURES
          ? await readForm(source, object)
          : unreadable(`only the first ${MAX_SIGNATURES} signatures of an image are checked`),
    })
  }
  return { source, header, objects, signatures }
}

async function readForm(source: ByteSource, object: Descriptor): Promise<SignatureForm> {
  if (object.size > MAX_SIGNATURE_BYTES) {
    return unreadable(`it is larger than the ${MAX_SIGNATURE_BYTES / 1024} KiB that are read`)
  }
  const bytes = await source.read(object.offset, object.size)
  if (isDsse(bytes)) return { kind: 'dsse' }
  const message = readClearSigned(bytes)
  if (message === undefined) return unreadable('it has neither of the two forms of a signature')
  if (isLegacy(message)) return { kind: 'legacy' }
  if (!hasSignatureHash(object)) return unreadable('its descriptor names no known hash')
  return { kind: 'clear-signed', message }
}

function unreadable(reason: string): SignatureForm {
  return { kind: 'unreadable', reason }
}

/** The text begins with the word on a line of its own. */
function isLegacy({ signed }: ClearSigned): boolean {
  return signed.subarray(0, LEGACY_START.length).equals(LEGACY_START)
}

function isDsse(bytes: Buffer): boolean {
  try {
    const envelope: unknown = JSON.parse(bytes.toString('utf8'))
    return (
      typeof envelope === 'object' &&
      envelope !== null &&
      'payloadType' in envelope &&
      envelope.payloadType === DSSE_PAYLOAD
    )
  } catch {
    return false
  }
}
