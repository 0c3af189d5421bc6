/**
 * Small valid SIFs made in memory. The layout is written down here a second time, from
 * protocol.md 9 and not from server/sif/layout.ts, so that a wrong offset there fails a test.
 */
import { createCipheriv, createHash } from 'node:crypto'

import type { ByteSource } from '../../server/sif/inspect.ts'

interface SifOptions {
  /** Go name; of the header and the primary partition. Default amd64. */
  readonly arch?: keyof typeof ARCH_CODES
  /** 36 characters; by default made from the seed. */
  readonly uuid?: string
  /** The primary partition's content, or its size in bytes: pseudo-random from the seed. */
  readonly payload?: Buffer | number
  /** An object of type 0x4001. */
  readonly definition?: string
  /** In a JSON object named inspect-metadata.json, as current builds write them. */
  readonly labels?: Readonly<Record<string, string>>
  /** One signature object each, which holds dsseEnvelope; `fingerprint` is 40 hexadecimal characters, or empty for DSSE. */
  readonly signatures?: readonly { readonly fingerprint: string }[]
  readonly encrypted?: boolean
  /** An OCI-SIF: root index, manifest, config and the payload as its layer; header arch 00. */
  readonly oci?: boolean
  /** Of the data objects, in bytes: 4096, or 65536 as on ppc64le. */
  readonly align?: number
  /** Images of different seeds have different digests. */
  readonly seed?: number | string
  /** Zero bytes after the last object. */
  readonly padding?: number
  /** Further objects, as they are. */
  readonly objects?: readonly SifObject[]
}

export interface SifObject {
  readonly dataType: number
  readonly content: Buffer | string
  readonly name?: string
  readonly extra?: Buffer
  /** By default 1; 0 for an object in no group. */
  readonly group?: number
}

const ARCH_CODES = { '386': '01', amd64: '02', arm64: '04', ppc64le: '06', riscv64: '12' }
const UNKNOWN_ARCH = '00'
const [SLOTS, SLOT_BYTES, TABLE_OFFSET, DATA_OFFSET] = [48, 585, 4096, 32_768]
const GROUP = 0xf000_0000
const CREATED = 1_600_000_000n

/** A valid SIF; the same options make the same bytes. At most 48 objects. */
export function makeSif(options: SifOptions = {}): Buffer {
  const arch = options.oci === true ? UNKNOWN_ARCH : ARCH_CODES[options.arch ?? 'amd64']
  const align = options.align ?? 4096
  const objects = describe(options, arch)
  if (objects.length > SLOTS) throw new Error(`makeSif has room for ${SLOTS} objects`)
  const head = Buffer.alloc(DATA_OFFSET)
  const chunks = [head]
  let end = DATA_OFFSET
  for (const [index, object] of objects.entries()) {
    const content = Buffer.from(object.content)
    const offset = Math.ceil(end / align) * align
    const slot = head.subarray(TABLE_OFFSET + index * SLOT_BYTES)
    slot.writeInt32LE(object.dataType, 0)
    slot.writeUInt8(1, 4)
    slot.writeUInt32LE(index + 1, 5)
    slot.writeUInt32LE(GROUP + (object.group ?? 1), 9)
    slot.writeBigInt64LE(BigInt(offset), 17)
    slot.writeBigInt64LE(BigInt(content.length), 25)
    slot.writeBigInt64LE(BigInt(offset - end + content.length), 33)
    slot.writeBigInt64LE(CREATED, 41)
    slot.writeBigInt64LE(CREATED, 49)
    slot.write(object.name ?? '', 73, 128, 'latin1')
    object.extra?.copy(slot, 201)
    chunks.push(Buffer.alloc(offset - end), content)
    end = offset + content.length
  }
  head.write('#!/usr/bin/env run-singularity\n', 0, 'latin1')
  head.write(`SIF_MAGIC\x0001\0${arch}\0`, 32, 'latin1')
  head.write(
    (options.uuid ?? seeded(options, 'uuid').toString('hex')).replaceAll('-', ''),
    48,
    'hex',
  )
  const fields = [
    CREATED,
    CREATED,
    SLOTS - objects.length,
    SLOTS,
    TABLE_OFFSET,
    SLOTS * SLOT_BYTES,
    DATA_OFFSET,
    end - DATA_OFFSET,
  ]
  for (const [index, field] of fields.entries()) head.writeBigInt64LE(BigInt(field), 64 + index * 8)
  return Buffer.concat([...chunks, Buffer.alloc(options.padding ?? 0)])
}

/** An envelope as `apptainer sign --key` writes it; its signature is none. */
export const dsseEnvelope = JSON.stringify({
  payloadType: 'application/vnd.sylabs.sif-metadata+json',
  payload: Buffer.from('{"version":1}').toString('base64'),
  signatures: [{ keyid: '', sig: 'AAAA' }],
})

export function memorySource(buffer: Buffer): ByteSource {
  return {
    size: buffer.length,
    read: (offset, length) => Promise.resolve(buffer.subarray(offset, offset + length)),
  }
}

/** A partition's extra field: file system, kind (2: primary system), two digits of architecture. */
export function partitionExtra(fileSystem: number, kind: number, arch: string): Buffer {
  const extra = Buffer.alloc(11)
  extra.writeInt32LE(fileSystem, 0)
  extra.writeInt32LE(kind, 4)
  extra.write(arch, 8, 'latin1')
  return extra
}

function describe(options: SifOptions, arch: string): readonly SifObject[] {
  const payload = payloadOf(options)
  const objects: SifObject[] = []
  if (options.definition !== undefined) {
    objects.push({ dataType: 0x4001, content: options.definition })
  }
  if (options.labels !== undefined) {
    const inspection = { data: { attributes: { labels: options.labels } }, type: 'container' }
    objects.push({
      dataType: 0x4006,
      name: 'inspect-metadata.json',
      content: JSON.stringify(inspection),
    })
  }
  if (options.oci === true) {
    objects.push(...ociObjects(payload))
  } else {
    const extra = partitionExtra(options.encrypted === true ? 5 : 1, 2, arch)
    objects.push({ dataType: 0x4004, name: 'squashfs', content: payload, extra })
  }
  for (const { fingerprint } of options.signatures ?? []) {
    const hashSha256 = Buffer.from([1, 0, 0, 0])
    const extra = Buffer.concat([hashSha256, Buffer.from(fingerprint, 'hex')])
    objects.push({ dataType: 0x4005, content: dsseEnvelope, extra })
  }
  return [...objects, ...(options.objects ?? [])]
}

function ociObjects(layer: Buffer): readonly SifObject[] {
  const squashfs = 'application/vnd.sylabs.image.layer.v1.squashfs'
  const oci = (kind: string): string => `application/vnd.oci.image.${kind}+json`
  const blob = (content: Buffer | string, dataType = 0x400b): SifObject => ({
    dataType,
    content,
    extra: Buffer.from(digestOf(content), 'latin1'),
  })
  const descriptor = (mediaType: string, content: Buffer | string): object => ({
    mediaType,
    digest: digestOf(content),
    size: Buffer.byteLength(content),
  })
  const config = JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers' } })
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: oci('manifest.v1'),
    config: descriptor(oci('config.v1'), config),
    layers: [descriptor(squashfs, layer)],
  })
  const rootIndex = JSON.stringify({
    schemaVersion: 2,
    mediaType: oci('index.v1'),
    manifests: [descriptor(oci('manifest.v1'), manifest)],
  })
  return [blob(layer), blob(config), blob(manifest), blob(rootIndex, 0x400a)]
}

function payloadOf(options: SifOptions): Buffer {
  if (Buffer.isBuffer(options.payload)) return options.payload
  // A cipher's key stream: as good as random, the same everywhere, and 70 MB of it are quick.
  const cipher = createCipheriv('aes-128-ctr', seeded(options, 'key'), Buffer.alloc(16))
  const payload = cipher.update(Buffer.alloc(options.payload ?? 4096))
  payload.write('hsqs', 'latin1')
  return payload
}

function seeded(options: SifOptions, purpose: string): Buffer {
  return createHash('sha256')
    .update(`${purpose} ${options.seed ?? 0}`)
    .digest()
    .subarray(0, 16)
}

function digestOf(content: Buffer | string): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`
}
