/**
 * The Singularity Image Format: where things are in a file and which files are refused
 * (protocol.md 9.1, 9.2 and 9.4; upstream: sylabs/sif pkg/sif/{sif,descriptor,arch,load}.go).
 * Pure functions on bytes. All integers are little-endian, and 64-bit ones stay BigInt until they
 * are known to lie inside the file, so that no sum of two of them can wrap or lose digits.
 */
import { invalid } from '../failure.ts'
import type { Failure } from '../failure.ts'

/** The global header's size in bytes; it begins the file. */
export const HEADER_BYTES = 128

/** Data types (the first field of a descriptor) that Berth looks into. */
export const DataType = {
  definition: 0x4001,
  labels: 0x4003,
  partition: 0x4004,
  signature: 0x4005,
  json: 0x4006,
  ociRootIndex: 0x400a,
  ociBlob: 0x400b,
} as const

const MAGIC = Buffer.from('SIF_MAGIC\0', 'latin1')
const VERSION = Buffer.from('01\0', 'latin1') // the only one that clients accept

/** Real writers make 48 slots; the limit only bounds what one file can make us read. */
const MAX_DESCRIPTORS = 4096n
const DESCRIPTOR_BYTES = 585n

const HEADER = {
  magic: 32,
  version: 42,
  arch: 45,
  uuid: 48,
  created: 64,
  free: 80,
  total: 88,
  tableOffset: 96,
  tableBytes: 104,
} as const

const DESCRIPTOR = {
  dataType: 0,
  used: 4,
  id: 5,
  group: 9,
  link: 13,
  offset: 17,
  size: 25,
  padded: 33,
  created: 41,
  modified: 49,
  owner: 57,
  name: 73,
  extra: 201,
} as const

/** Set in the number of every group, and in a link when it leads to a group. */
const GROUP_BITS = 0xf000_0000

const ENCRYPTED_SQUASHFS = 5
const PRIMARY_SYSTEM = 2
const FINGERPRINT_BYTES = 20 // OpenPGP v4; the entity field has room for 256

const GO_NAMES: ReadonlyMap<string, string> = new Map([
  ['01\0', '386'],
  ['02\0', 'amd64'],
  ['03\0', 'arm'],
  ['04\0', 'arm64'],
  ['05\0', 'ppc64'],
  ['06\0', 'ppc64le'],
  ['07\0', 'mips'],
  ['08\0', 'mipsle'],
  ['09\0', 'mips64'],
  ['10\0', 'mips64le'],
  ['11\0', 's390x'],
  ['12\0', 'riscv64'],
  ['13\0', 'loong64'],
])

export interface Header {
  /** Three bytes as text, `02\0`; see goArch. */
  readonly archCode: string
  /** Lower-case, 36 characters; undefined when all bytes are zero (deterministic builds). */
  readonly uuid: string | undefined
  /** Slots said to be in use: total − free. Not yet compared with the table. */
  readonly usedSlots: bigint
  /** Where the descriptor table is, in bytes; inside the file and behind the header. */
  readonly tableOffset: number
  readonly tableBytes: number
  /** What a signature covers of the header: all up to the times, without the architecture. */
  readonly signedBytes: Buffer
}

/** One used slot of the table. Its bytes [offset, offset + size) are inside the file. */
export interface Descriptor {
  readonly dataType: number
  /** Unique in what real writers make; nothing here relies on it. */
  readonly id: number
  /** As it is stored; see groupOf. */
  readonly groupField: number
  readonly offset: number
  readonly size: number
  readonly name: string
  /** 384 bytes whose meaning depends on the data type. */
  readonly extra: Buffer
  /** All 585 bytes as they are in the table. */
  readonly slot: Buffer
}

/**
 * Reads the global header from a file's first 128 bytes (fewer only when the file is shorter).
 * Throws Failure('invalid', 'image') when it is not a SIF header or its table cannot be read.
 */
export function decodeHeader(bytes: Buffer, fileBytes: number): Header {
  if (bytes.length < HEADER_BYTES || !bytes.subarray(HEADER.magic, HEADER.version).equals(MAGIC)) {
    throw invalid(
      'image',
      'This file is not a SIF image: it does not begin with a SIF header. ' +
        'Build it with `singularity build` and push the .sif file.',
    )
  }
  if (!bytes.subarray(HEADER.version, HEADER.arch).equals(VERSION)) {
    throw invalid(
      'image',
      'This SIF image has a format version other than 01, which no client can run. ' +
        'Build it again with a current `singularity build` and push the new file.',
    )
  }
  const total = bytes.readBigInt64LE(HEADER.total)
  if (total <= 0n || total > MAX_DESCRIPTORS) {
    throw damaged(`its header states ${total} descriptors, and 1 to ${MAX_DESCRIPTORS} are allowed`)
  }
  const tableBytes = bytes.readBigInt64LE(HEADER.tableBytes)
  if (tableBytes !== total * DESCRIPTOR_BYTES) {
    throw damaged('the size of its descriptor table does not fit the number of descriptors')
  }
  const tableOffset = bytes.readBigInt64LE(HEADER.tableOffset)
  if (tableOffset < BigInt(HEADER_BYTES) || tableOffset + tableBytes > BigInt(fileBytes)) {
    throw damaged('its descriptor table is not between the header and the end of the file')
  }
  return {
    archCode: bytes.toString('latin1', HEADER.arch, HEADER.uuid),
    uuid: uuidText(bytes.subarray(HEADER.uuid, HEADER.uuid + 16)),
    usedSlots: total - bytes.readBigInt64LE(HEADER.free),
    tableOffset: Number(tableOffset),
    tableBytes: Number(tableBytes),
    signedBytes: Buffer.concat([
      bytes.subarray(0, HEADER.arch),
      bytes.subarray(HEADER.uuid, HEADER.created),
    ]),
  }
}

/**
 * Reads the used slots of the descriptor table, in the table's order.
 * Throws Failure('invalid', 'image') when their count is not the header's, or when an object is
 * outside the file or on top of the header or the table.
 */
export function decodeDescriptors(
  table: Buffer,
  header: Header,
  fileBytes: number,
): readonly Descriptor[] {
  const descriptors: Descriptor[] = []
  for (let at = 0; at < header.tableBytes; at += Number(DESCRIPTOR_BYTES)) {
    const slot = table.subarray(at, at + Number(DESCRIPTOR_BYTES))
    // Everything but zero is "used": that is how Go reads a bool.
    if (slot.readUInt8(DESCRIPTOR.used) !== 0) descriptors.push(decode(slot, header, fileBytes))
  }
  if (BigInt(descriptors.length) !== header.usedSlots) {
    throw damaged('its header and its descriptor table disagree about the number of objects')
  }
  return descriptors
}

/**
 * The primary system partition, if there is one (OCI-SIF and data-only images have none).
 * Throws Failure('invalid', 'image') when there are several or its architecture is not the header's.
 */
export function primaryPartition(
  header: Header,
  descriptors: readonly Descriptor[],
): { readonly encrypted: boolean } | undefined {
  const [primary, second] = descriptors.filter(
    ({ dataType, extra }) =>
      dataType === DataType.partition && extra.readInt32LE(4) === PRIMARY_SYSTEM,
  )
  if (primary === undefined) return undefined
  if (second !== undefined) throw damaged('it has more than one primary system partition')
  const archCode = primary.extra.toString('latin1', 8, 11)
  if (archCode !== header.archCode) {
    const [inHeader, inPartition] = [header.archCode, archCode].map(
      (code) => goArch(code) ?? 'an unknown architecture',
    )
    throw damaged(`its header says ${inHeader} where its primary partition says ${inPartition}`)
  }
  return { encrypted: primary.extra.readInt32LE(0) === ENCRYPTED_SQUASHFS }
}

/** `02\0` → `amd64`; undefined for 00 and for codes that this table does not know (yet). */
export function goArch(code: string): string | undefined {
  return GO_NAMES.get(code)
}

/**
 * 40 upper-case hexadecimal characters: the key that a signature descriptor names. Undefined when
 * it names none, as DSSE/X.509 signatures do. Nothing here says that the signature is good.
 */
export function signerFingerprint({ extra }: Descriptor): string | undefined {
  const fingerprint = extra.subarray(4, 4 + FINGERPRINT_BYTES)
  return isZero(fingerprint) ? undefined : fingerprint.toString('hex').toUpperCase()
}

/** The descriptor of a signature names a hash that clients know: one of SHA-2 or BLAKE2. */
export function hasSignatureHash({ extra }: Descriptor): boolean {
  const hash = extra.readInt32LE(0)
  return hash >= 1 && hash <= 5
}

/** The number of the group that the object is in; 0 when it is in none. */
export function groupOf({ groupField }: Pick<Descriptor, 'groupField'>): number {
  return groupField & ~GROUP_BITS
}

/** The number of the group that the object is linked to; undefined when it is linked to none. */
export function linkedGroup({ slot }: Descriptor): number | undefined {
  const link = slot.readUInt32LE(DESCRIPTOR.link)
  const group = link & ~GROUP_BITS
  return group > 0 && link === GROUP_BITS + group ? group : undefined
}

/**
 * What a signature covers of an object's descriptor (sylabs/sif pkg/sif/descriptor.go,
 * GetIntegrityReader): not where the object is nor when it was changed, so that an image may be
 * rearranged, and its ID only as the distance from the lowest one of its group.
 */
export function signedDescriptorBytes({ slot }: Descriptor, relativeId: number): Buffer {
  const numbers = Buffer.alloc(5)
  numbers.writeUInt8(1) // used; any byte but zero is that in the file
  numbers.writeUInt32LE(relativeId, 1)
  return Buffer.concat([
    slot.subarray(DESCRIPTOR.dataType, DESCRIPTOR.used),
    numbers,
    slot.subarray(DESCRIPTOR.link, DESCRIPTOR.offset),
    slot.subarray(DESCRIPTOR.size, DESCRIPTOR.padded),
    slot.subarray(DESCRIPTOR.created, DESCRIPTOR.modified),
    slot.subarray(DESCRIPTOR.owner),
  ])
}

/** The digest that an OCI object's descriptor states (`sha256:…`); undefined when it is no digest. */
export function ociDigest({ extra }: Descriptor): string | undefined {
  const digest = textUntilNul(extra)
  return /^sha256:[0-9a-f]{64}$/.test(digest) ? digest : undefined
}

function decode(slot: Buffer, header: Header, fileBytes: number): Descriptor {
  const id = slot.readUInt32LE(DESCRIPTOR.id)
  const offset = slot.readBigInt64LE(DESCRIPTOR.offset)
  const size = slot.readBigInt64LE(DESCRIPTOR.size)
  const end = offset + size
  if (offset < BigInt(HEADER_BYTES) || size < 0n || end > BigInt(fileBytes)) {
    throw damaged(
      `object ${id} is not between the header and the end of the file, which may be cut short`,
    )
  }
  const tableEnd = BigInt(header.tableOffset + header.tableBytes)
  if (size > 0n && offset < tableEnd && end > BigInt(header.tableOffset)) {
    throw damaged(`object ${id} overlaps the descriptor table`)
  }
  return {
    dataType: slot.readInt32LE(DESCRIPTOR.dataType),
    id,
    groupField: slot.readUInt32LE(DESCRIPTOR.group),
    offset: Number(offset),
    size: Number(size),
    name: textUntilNul(slot.subarray(DESCRIPTOR.name, DESCRIPTOR.extra)),
    extra: slot.subarray(DESCRIPTOR.extra),
    slot,
  }
}

/** The message quotes numbers but never text of the file: clients print it to a terminal. */
function damaged(what: string): Failure {
  return invalid(
    'image',
    `This SIF image is damaged: ${what}. Build or download it again and push the new file.`,
  )
}

function uuidText(bytes: Buffer): string | undefined {
  if (isZero(bytes)) return undefined
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

/** Names and digests are ASCII; a field without NUL is used whole. */
function textUntilNul(field: Buffer): string {
  const nul = field.indexOf(0)
  return field.toString('latin1', 0, nul === -1 ? field.length : nul)
}

function isZero(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0)
}
